"""The options of `softgate export`: a dataclass from which the command line is made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from softgate_ext.runs.options import Positional


@dataclass
class ExportConfig:
    """Write a run's network as one file for another runtime, with any batch size."""

    run: Positional[Path]
    """Folder that `softgate train` wrote, the name of one in `runs`, or the name of shipped weights."""
    out: Path
    """File to write."""
    format: Literal["onnx", "torch", "aoti"] = "onnx"
    """`onnx`, `torch` (a torch.export program) or `aoti` (compiled for this machine's CPU)."""
    decode: Literal["none", "argmax", "quarter", "dark", "softargmax"] = "none"
    """`none` gives heatmaps; the others give joints in crop pixels and their scores. Leave it out for a
    network that regresses joints: it always gives joints."""
    weights: Literal["last", "best"] = "last"
    """`last` weights of the run, or those that were `best` on the samples that it watched."""
