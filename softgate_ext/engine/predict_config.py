"""What `predict`, `serve` and `gates` are told: dataclasses that are the command lines."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from softgate_ext.engine.config import Amp, Device

Output = Literal["overlay", "json", "csv"]


@dataclass
class PredictConfig:
    """Find the joints of people in pictures, videos or before a camera: drawings, JSON, CSV."""

    run: Positional[Path]
    """Folder that `softgate train` wrote, or the name of one in `runs`."""
    images: Positional[tuple[str, ...]]
    """Pictures, videos, folders of them, patterns such as 'photos/*.jpg', or a camera's number."""
    out: Path
    """Folder of what is written."""
    outputs: tuple[Output, ...] = ("overlay", "json")
    """`overlay` (PNG; MP4 of a video), `json` (predictions.json; JSON lines of a video's frames),
    `csv` (predictions.csv, a row a joint)."""
    box: tuple[float, float, float, float] | None = None
    """Box of the person as x y width height in pixels (default: the whole image)."""
    boxes: Path | None = None
    """JSON list of {"file", "bbox_xywh"}, one entry a person, in place of `box`."""
    detect: bool = False
    """Find the people first, in place of `box` (needs the extra `detect`)."""
    detect_score: float = 0.5
    """People whom the detector is less sure of, from 0 to 1, are left out."""
    max_frames: int | None = None
    """Stop a video or camera after this many frames (a camera also stops at Ctrl-C)."""
    batch_size: int = 16
    """People in a forward pass, from several pictures."""
    weights: Literal["last", "best"] = "last"
    """`last` weights of the run, or those that were `best` on the people it watched."""
    flip_test: bool = False
    """Average the heatmaps of the image and of its mirror image."""
    min_score: float = 0.1
    """Joints whose score is lower are left out of the drawing (never out of the figures)."""
    device: Device = "auto"
    """`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`."""
    amp: Amp = "off"
    """`bf16` autocast of convolutions; `auto` uses it where the device multiplies it natively."""


@dataclass
class ServeConfig:
    """Serve a page that shows the pose in a picture (needs the extra `serve`)."""

    run: Positional[Path]
    """Folder that `softgate train` wrote, or the name of one in `runs`."""
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 is every address of this machine."""
    port: int = 7860
    """Port to listen at (0: any that is free)."""
    weights: Literal["last", "best"] = "last"
    """`last` weights of the run, or those that were `best` on the people it watched."""
    flip_test: bool = False
    """Average the heatmaps of the image and of its mirror image."""
    max_megabytes: float = 10.0
    """Larger files are refused."""
    max_megapixels: float = 40.0
    """Pictures of more pixels are refused before they are decoded."""
    at_once: int = 2
    """Pictures worked on at the same time; the others wait in a queue."""
    waiting: int = 32
    """Pictures that may wait; further ones are refused."""
    detect: bool = False
    """Find the people of a picture first (needs the extra `detect`)."""
    device: Device = "auto"
    """`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`."""


@dataclass
class GatesConfig:
    """Show the gates of a run by block and depth, and remove those that are nearly closed."""

    run: Positional[Path]
    """Folder that `softgate train` wrote, or the name of one in `runs`."""
    weights: Literal["last", "best"] = "last"
    """`last` weights of the run, or those that were `best` on the people it watched."""
    eps: float = 0.01
    """Gates of a smaller magnitude count as nearly closed."""
    png: Path | None = None
    """Also draw the histogram of each block into this file, and of each depth into another."""
    json: Path | None = None
    """Also write the figures to this file."""
    prune: float | None = None
    """Set the gates of a smaller magnitude than this to exactly 0, and write a run to `out`."""
    out: Path | None = None
    """Folder of the pruned run."""
    data: Path | None = None
    """Folder in LSP's format: measure PCK@0.2 of its test half before and after."""
    device: Device = "auto"
    """`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`."""
