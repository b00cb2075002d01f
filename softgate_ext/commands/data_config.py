"""The options of `softgate data check` and `softgate data cache`."""

from dataclasses import dataclass
from pathlib import Path

from softgate_ext.runs.options import Positional


@dataclass
class DataCheckConfig:
    """Say which dataset it is and which pictures are missing or broken, and draw some samples.

    LSP, LSP-extended, MPII and FLIC as they were unpacked, MPII's annotations as JSON, and key points in
    COCO's or YOLO's form are recognised. The exit code is 2 if a picture is missing, broken or
    of another size than the dataset states.
    """

    path: Positional[Path]
    """Folder of the dataset, or its annotation file."""
    train_folder: Path | None = None
    """Folder or annotation file, in `path` or elsewhere, that is the train part."""
    test_folder: Path | None = None
    """Folder or annotation file, in `path` or elsewhere, that is the test part."""
    allow_outside: bool = False
    """Let annotation files name pictures outside of their dataset."""
    sheet: Path | None = Path("contact_sheet.png")
    """Contact sheet to write: crops as the network gets them, with the joints drawn in."""
    swap: tuple[str, ...] = ()
    """As in `softgate train`: joints that change places in a mirror image, pair by pair."""
    people: int = 24
    """Samples on the sheet: first those in pictures of another size than stated, then others."""
    json: Path | None = None
    """Also write the findings to this file, with every missing or broken picture."""


@dataclass
class DataCacheConfig:
    """Make the crops that `softgate train --cache` would make, and say how fast they load."""

    path: Positional[Path]
    """Folder of the dataset, or its annotation file."""
    cache: Path
    """Folder of the crops; several datasets and trainings may share it."""
    train_folder: Path | None = None
    """Folder or annotation file to make crops of instead of the train part, as in `softgate train`."""
    allow_outside: bool = False
    """Let annotation files name pictures outside of their dataset."""
    image_size: int = 256
    """Side of the network's crop in pixels."""
    scale: float = 0.25
    """As in `softgate train`; the crops are large enough for this scaling."""
    rotation: float = 30.0
    """As in `softgate train`; the crops are large enough for this rotation."""
    batch_size: int = 16
    """Samples in a batch, for the measurement."""
    workers: int = 2
    """Processes that load, for the measurement."""
    seconds: float = 5.0
    """Length of each of the two measurements, from the crops and from the pictures."""
