"""The output path of each source's drawing: all different, and none of them an input file."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from softgate_ext.errors import InputError
from softgate_ext.files.paths import real_path
from softgate_ext.prediction.sources import Source
from softgate_ext.prediction.summary import SUMMARIES


def name_targets(sources: Sequence[Source], out: Path) -> dict[Source, Path]:
    """The path of each source's drawing in the folder `out`: PNG for an image, else MP4."""
    targets: dict[Source, Path] = {}
    for source in sources:
        suffix = ".png" if source.kind == "picture" else ".mp4"
        targets[source] = _free_name(out / f"{source.stem}{suffix}", targets.values())
    return targets


def keep_inputs(targets: Mapping[Source, Path], boxes: Path | None) -> None:
    """Raises InputError if an output file is also an input: a source, or the file of boxes.

    Args:
        targets: the result of `name_targets`. JSON lines and summaries are written beside them.
        boxes: the file of boxes, or None.
    """
    places = (source.place for source in targets)
    inputs = {real_path(place) for place in places if isinstance(place, Path)}
    if boxes is not None:
        inputs.add(real_path(boxes))
    folders = {target.parent for target in targets.values()}
    written = [*targets.values(), *(out / name for out in folders for name in SUMMARIES)]
    written += [t.with_suffix(".jsonl") for t in targets.values() if t.suffix == ".mp4"]
    for path in written:
        if real_path(path) in inputs:
            raise InputError(f"out: {path} would overwrite an input; give another folder")


def _free_name(path: Path, taken: Collection[Path]) -> Path:
    """`path`, or with -2, -3, ... added to the stem if another source has the same name."""
    name, number = path, 1
    while name in taken:
        number += 1
        name = path.with_stem(f"{path.stem}-{number}")
    return name
