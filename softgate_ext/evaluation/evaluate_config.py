"""The options of `softgate evaluate`: a dataclass from which the command line is made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from softgate_ext.runs.options import Alone, Amp, Device, Positional

STDOUT = Path("-")


JsonTarget = Annotated[
    Path | None, Alone(STDOUT, "at most one file; give it after the other arguments")
]


@dataclass
class EvalConfig:
    """Measure a run, or joints that another program predicted, by the dataset's own metric or another.

    `evaluate RUN DATA` measures a run. `evaluate DATA --predictions FILE` measures joints in a file.
    `evaluate --reference FILE` measures published predictions in one file with their ground truth.
    """

    run: Positional[Path | None] = None
    """Folder that `softgate train` wrote, the name of one in `runs`, or the name of shipped weights."""
    data: Positional[Path | None] = None
    """Folder of a dataset as it was released (LSP: joints.mat and images/)."""
    reference: Path | None = None
    """.npz with ground truth and arrays pred_NAME; each of these is scored."""
    predictions: Path | None = None
    """Joints to measure instead of a run's: .npz, .mat, .h5, .json, .jsonl or .csv. They are matched by
    the pictures or ids that the file names, or else by the order of the data."""
    origin: Literal[0, 1] | None = None
    """Coordinate of the first pixel in `predictions` (default: 1 in .mat and .h5, else 0)."""
    split: Literal["test", "train", "all"] = "test"
    """Part of the data that is measured."""
    train_folder: Path | None = None
    """Folder or annotation file, in `data` or elsewhere, that is the train part."""
    test_folder: Path | None = None
    """Folder or annotation file, in `data` or elsewhere, that is the test part."""
    allow_outside: bool = False
    """Let annotation files name pictures outside of their dataset."""
    labels: Literal["pc", "oc"] | None = None
    """Left and right as seen by the person (`pc`, the default) or in the picture (`oc`). With `oc`,
    truth and predictions are both renamed as if every person faced the camera. For a
    reference file with both kinds of labels, it chooses the kind."""
    metric: str = "auto"
    """`auto` (the benchmark's own; torso, or box where there is none), `torso` or `box` (PCK@0.2 by
    the torso's diagonal or the longer side of the person's box), `oks` (COCO's AP), or two joints
    with a comma between them, whose distance is the reference length of PCK@0.2."""
    oks_sigmas: tuple[float, ...] = ()
    """For `oks`: one number for each joint, in the data's order (default: COCO's, by the joints'
    names)."""
    weights: Literal["last", "best"] = "last"
    """`last` weights of the run, or those that were `best` on the samples that it watched. Without
    `--holdout` those samples are the test part itself: the result is then better than on new samples."""
    flip_test: bool = False
    """Average the heatmaps of the image and of its mirror image."""
    scales: tuple[float, ...] = (1.0,)
    """Average the heatmaps of crops of these sizes, such as 1 0.8 1.25 (1: the size of the training)."""
    decoder: Literal["argmax", "quarter", "dark", "softargmax"] = "dark"
    """How joints are read from heatmaps."""
    batch_size: int = 32
    """Samples in a forward pass."""
    workers: int = 1
    """Processes that read and crop images (0: the process of the network does it)."""
    device: Device = "auto"
    """`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`."""
    amp: Amp = "off"
    """`bf16` autocast of convolutions; `auto` uses it where the device has native
    bf16 arithmetic."""
    json: JsonTarget = None
    """Print JSON instead of the table. With a file name, print the table and write the JSON to that file."""
    save_predictions: Path | None = None
    """Also write the joints to this file: .npz, .mat, .h5 or .json."""
    submission: Path | None = None
    """Measure nothing; write the joints of MPII's test samples to this file, in the form that the benchmark takes."""
