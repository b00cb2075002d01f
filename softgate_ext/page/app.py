"""The page itself, in Gradio."""

import json
import tempfile
from pathlib import Path
from typing import Any

import gradio

from softgate_ext.figures.gate_histograms import gate_histograms
from softgate_ext.files.png import write_png
from softgate_ext.page.answer import FORMATS, Limits, answer
from softgate_ext.page.guard import GATES
from softgate_ext.page.serve_config import ServeConfig
from softgate_ext.prediction.predictor import PosePredictor

TITLE = "softgate"
READY = "Drop a picture, or paste one."
STYLE = """
#heatmaps .grid-wrap {min-height: 0; max-height: none}
#heatmaps .grid-container img {padding-bottom: 20px}
#heatmaps .caption-label {
  left: 0; right: 0; bottom: 0; max-width: none; border: 0; border-radius: 0;
  text-align: center; font-size: 11px; padding: 2px; overflow: visible
}
"""
# Neither of them sends anything to anybody, as Gradio's button for sharing does.
SAVE: dict[str, Any] = {"buttons": ["download", "fullscreen"]}


def take_only_uploads(picture: gradio.Image, files: Path) -> None:
    """Makes a component give the path of an uploaded file, unopened, and nothing else.

    As it comes, it decodes the picture before its size is known, unpacks data that stands in place
    of a file, fetches an address in place of a path and, where the page is mounted, takes any path
    of the machine. (Not a subclass: Gradio writes a file beside the source of each.)
    """

    def preprocess(payload: Any) -> str | None:
        return payload.path if payload is not None and payload.path else None

    picture.preprocess = preprocess  # type: ignore[method-assign, assignment]
    take_as_it_lies(picture, files)


def take_as_it_lies(component: gradio.blocks.Block, files: Path) -> None:
    """Makes a component hand on files of `files` from where they lie, and no others.

    As it comes, it copies them to a place that follows from their contents, so that of two users
    with the same picture one is sent a file that is just being written for the other.
    """

    async def keep(url_or_file_path: str | Path | None) -> str | None:
        path = Path(url_or_file_path or "").resolve()
        if not path.is_relative_to(files.resolve()) or not path.is_file():
            raise gradio.Error("the picture is no uploaded file", print_exception=False)
        return str(path)

    component.async_move_resource_to_block_cache = keep  # type: ignore[method-assign, assignment]


def build(predictor: PosePredictor, config: ServeConfig, files: Path) -> gradio.Blocks:
    """The page.

    Args:
        predictor: the run.
        config: limits.
        files: folder for what is drawn.
    """
    limits = Limits(config.max_megabytes, config.max_megapixels)
    gates = predictor.gates()
    picture_of_gates = files / GATES
    if gates:
        gate_histograms(gates, picture_of_gates)
    kinds = ", ".join(FORMATS)

    def show(path: str | None) -> tuple[Any, ...]:
        if path is None:
            return READY, None, [], None, gradio.DownloadButton(interactive=False)
        given = answer(predictor, Path(path), limits)
        if given.people is None or given.drawing is None:
            return given.words, None, [], None, gradio.DownloadButton(interactive=False)
        folder = Path(tempfile.mkdtemp(dir=Path(path).parent))  # the same visitor's
        file = folder / "pose.json"
        file.write_text(json.dumps(given.people, indent=2) + "\n", encoding="utf-8")
        button = gradio.DownloadButton(value=str(file), interactive=True)
        drawing = folder / "pose.png"
        write_png(drawing, given.drawing)
        heatmaps = []
        for index, (heatmap, caption) in enumerate(given.heatmaps):
            write_png(folder / f"heatmap{index}.png", heatmap)
            heatmaps.append((str(folder / f"heatmap{index}.png"), caption))
        return given.words, str(drawing), heatmaps, given.people, button

    with gradio.Blocks(title=TITLE, analytics_enabled=False) as page:
        gradio.Markdown(
            f"# {TITLE}\n`{predictor.config.model['name']}` finds {len(predictor.skeleton)} joints. "
            f"Pictures: {kinds}; up to {limits.megabytes:g} MB and {limits.megapixels:g} "
            f"million pixels; removed within {1.5 * config.keep_minutes:g} minutes."
        )
        with gradio.Row():
            picture = gradio.Image(
                label="Picture",
                sources=["upload", "clipboard"],
                type="filepath",
                height=420,
                buttons=[],
                elem_id="picture",
            )
            take_only_uploads(picture, files)
            drawing = gradio.Image(
                label="Pose", interactive=False, format="png", height=420, elem_id="pose", **SAVE
            )
        with gradio.Row(equal_height=True):
            words = gradio.Markdown(READY, elem_id="words")
            download = gradio.DownloadButton(
                "Download JSON", interactive=False, elem_id="download", scale=0, min_width=200
            )
        gradio.Markdown("**Heatmaps** of the first person, each joint with its score")
        heatmaps = gradio.Gallery(
            show_label=False,
            columns=7,
            height="auto",
            object_fit="contain",
            format="png",
            interactive=False,
            elem_id="heatmaps",
            **SAVE,
        )
        with gradio.Row():
            if gates:
                with gradio.Column(scale=3, min_width=480):
                    gradio.Markdown("**Gates**: how far each skip connection is open, by block")
                    gradio.Image(
                        str(picture_of_gates),
                        show_label=False,
                        interactive=False,
                        buttons=[],
                        elem_id="gates",
                    )
            with gradio.Column(scale=2):
                gradio.Markdown("**Joints** in pixels of the picture")
                figures = gradio.JSON(show_label=False, max_height=420, elem_id="joints")
        for shown in (drawing, heatmaps, download):
            take_as_it_lies(shown, files)
        picture.input(
            show,
            picture,
            [words, drawing, heatmaps, figures, download],
            concurrency_limit=config.at_once,
            api_visibility="private",
        )
    page.queue(max_size=config.waiting, api_open=False)
    return page


def theme() -> gradio.Theme:
    """Gradio's plain theme, with the fonts of the visitor's machine: nothing is fetched."""
    return gradio.themes.Default(
        primary_hue="blue",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
