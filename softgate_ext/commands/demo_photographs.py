"""What the shipped weights find in photographs, at the beginning of the demo."""

from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from softgate_ext.errors import InputError
from softgate_ext.files.console import say
from softgate_ext.prediction.predict import predict
from softgate_ext.prediction.predict_config import PredictConfig
from softgate_ext.prediction.sources import find_sources
from softgate_ext.pretrained.shipped import DEFAULT, list_pretrained

# Rear Admiral Grace Hopper, by the US Navy, in the public domain: it comes with Matplotlib.
PORTRAIT = Path("mpl-data", "sample_data", "grace_hopper.jpg")


def check_pictures_of(pictures: Path | None) -> None:
    """Raises InputError where a folder of pictures is named that has none."""
    if pictures is None:
        return
    found, lost = find_sources([str(pictures)])
    if lost or not found:
        raise InputError(f"pictures: got {pictures}; takes a folder with pictures of people")


def show_photographs(pictures: Path | None, out: Path, console: Console) -> list[Path]:
    """Draws what the shipped weights find, and says where; returns the drawings.

    Args:
        pictures: a folder of one's own; None takes the photograph that is installed.
        out: the folder of the drawings.
        console: where it is said.
    """
    if DEFAULT not in list_pretrained():
        say(console, f"no photographs: this package does not ship the weights {DEFAULT}")
        return []
    source = pictures or installed_portrait()
    if source is None:
        say(
            console,
            "no photographs: no installed package has one of a person; give your own with --pictures",
        )
        return []
    say(console, f"{DEFAULT}, which was trained on photographs, predicts {source}")
    if pictures is None:
        say(
            console,
            "it was trained on whole bodies and is wrong on a portrait of head and shoulders; give "
            "your own photographs with --pictures",
        )
    config = PredictConfig(Path(DEFAULT), (str(source),), out, outputs=("overlay",))
    written = predict(config, lambda sentence: say(console, sentence)).written
    drawings = [path for path in written if path.suffix in (".png", ".mp4")]
    for path in drawings:
        say(console, str(path))
    return drawings


def installed_portrait() -> Path | None:
    """A photograph of a person that lies in an installed package, or None."""
    matplotlib = find_spec("matplotlib")
    folders = (matplotlib.submodule_search_locations if matplotlib else None) or []
    return next((p for p in (Path(f) / PORTRAIT for f in folders) if p.is_file()), None)
