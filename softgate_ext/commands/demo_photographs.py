"""What the shipped weights find in photographs, at the beginning of the demo."""

from pathlib import Path

from rich.console import Console

from softgate_ext.errors import InputError
from softgate_ext.files.console import say
from softgate_ext.prediction.predict import predict
from softgate_ext.prediction.predict_config import PredictConfig
from softgate_ext.prediction.sources import find_sources
from softgate_ext.pretrained import shipped
from softgate_ext.pretrained.shipped import DEFAULT, list_pretrained

PHOTOGRAPH = Path(shipped.__file__).with_name("photographer.jpg")
"""By Lav Varshney, who put it into the public domain (CC0); scikit-image has it as `camera`."""
PERSON = (0.0, 68.0, 300.0, 444.0)
"""The box of the person in it, as `--detect` finds it: x, y, width and height in pixels."""


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
        pictures: a folder of one's own; None takes the photograph in the package.
        out: the folder of the drawings.
        console: where it is said.
    """
    if DEFAULT not in list_pretrained():
        say(console, f"no photographs: this package does not ship the weights {DEFAULT}")
        return []
    source = pictures or PHOTOGRAPH
    say(console, f"{DEFAULT}, which was trained on photographs, predicts {source}")
    box = PERSON if pictures is None else None
    config = PredictConfig(Path(DEFAULT), (str(source),), out, box=box, outputs=("overlay",))
    written = predict(config, lambda sentence: say(console, sentence)).written
    drawings = [path for path in written if path.suffix in (".png", ".mp4")]
    for path in drawings:
        say(console, str(path))
    return drawings
