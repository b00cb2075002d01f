"""Networks for inference alone: `folded = fold(model)`."""

from softgate_ext.folding.fold import Folded, fold
from softgate_ext.folding.norm import ScaleShift

__all__ = ["Folded", "ScaleShift", "fold"]
