"""The options of `softgate predict`: a dataclass from which the command line is made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from softgate_ext.errors import InputError
from softgate_ext.files.folders import check_folder
from softgate_ext.files.paths import real_path
from softgate_ext.ranges import check_ranges
from softgate_ext.runs.options import Amp, Device, Positional

Output = Literal["overlay", "json", "csv"]


@dataclass
class PredictConfig:
    """Find the joints of people in pictures, videos or the frames of a camera; write drawings, JSON, CSV.

    `predict RUN IMAGES` uses the weights of a run, `predict IMAGES` the weights in the package.
    """

    run: Positional[Path | None] = None
    """Folder that `softgate train` wrote, the name of one in `runs`, or the name of shipped weights
    (default: softgate-small)."""
    images: Positional[tuple[str, ...]] = ()
    """Pictures, videos, folders of them, patterns such as 'photos/*.jpg', or a camera's number."""
    out: Path = Path("poses")
    """Folder to write into."""
    outputs: tuple[Output, ...] = ("overlay", "json")
    """`overlay` (PNG; MP4 of a video), `json` (predictions.json; JSON lines of a video's frames),
    `csv` (predictions.csv, one row for each joint)."""
    box: tuple[float, float, float, float] | None = None
    """Box of the person as x y width height in pixels (default: the whole image)."""
    boxes: Path | None = None
    """Instead of `box`: a JSON list of {"file", "bbox_xywh"} with one entry for each person, or detection
    results or annotations in COCO's form."""
    detect: bool = False
    """Find the people first, instead of taking boxes (needs the packages of docs/prediction.md)."""
    detect_score: float = 0.5
    """Lowest score, from 0 to 1, of a box of the detector or in `boxes`; people in other boxes are left out."""
    min_box: float = 40.0
    """Smallest length, in pixels, of the longer side of a box of the detector; people in smaller boxes are
    left out."""
    smooth: bool = False
    """Smooth the joints of videos and cameras over time (One-Euro filter)."""
    max_frames: int | None = None
    """Stop a video or camera after this many frames (a camera also stops at Ctrl-C)."""
    batch_size: int = 16
    """People in a forward pass; they may come from several pictures."""
    weights: Literal["last", "best"] = "last"
    """`last` weights of the run, or those that were `best` on the samples that it watched."""
    flip_test: bool = False
    """Average the heatmaps of the image and of its mirror image."""
    min_score: float = 0.3
    """Joints whose score is lower, and those outside the picture, are left out of the drawing; in
    JSON they have `"shown": false`."""
    device: Device = "auto"
    """`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`."""
    amp: Amp = "off"
    """`bf16` autocast of convolutions; `auto` uses it where the device has native
    bf16 arithmetic."""

    def check(self) -> None:
        """Checks everything that can be checked without reading a file.

        Raises:
            InputError: options exclude each other, or one is out of range.
        """
        if sum((self.box is not None, self.boxes is not None, self.detect)) > 1:
            raise InputError("box, boxes and detect: got more than one; give one of them")
        if self.box is not None:
            from softgate_ext.prediction.person import read_box  # loads NumPy, --help does not

            read_box(self.box)
        check_ranges(self)
        kinds = get_args(Output)
        known = bool(self.outputs) and set(self.outputs) <= set(kinds)
        if not known:
            got = " ".join(self.outputs) or "none"
            raise InputError(f"outputs: got {got}; takes one or more of {', '.join(kinds)}")
        searched = self.detect or self.boxes is not None
        if self.detect_score != type(self).detect_score and not searched:
            raise InputError(
                f"detect_score: got {self.detect_score:g} without detect or boxes; it chooses "
                "among their boxes, so give one of them too"
            )
        if self.min_box != type(self).min_box and not self.detect:
            raise InputError(
                f"min_box: got {self.min_box:g} without detect; it chooses among its boxes, so give detect too"
            )
        check_folder(self.out)

    def check_folders(self) -> None:
        """Raises InputError if drawings would be written into a folder whose images are read.

        The next prediction of that folder would read the drawings as images.
        """
        for word in self.images:
            if Path(word).is_dir() and real_path(Path(word)) == real_path(self.out):
                raise InputError(
                    f"out: got {self.out}, the folder whose pictures are read; takes another folder, such as "
                    f"{self.out / 'poses'}"
                )
