"""Drop-in modules over the fused ops."""

from softgate_ext.nn.block import Gate, SoftGatedBlock, make_gate
from softgate_ext.nn.layers import GatedResidualBNReLU, MergeMode, SkipMerge
from softgate_ext.nn.norm import SyncBatchNorm2d, bn_relu, with_batch_norm

__all__ = [
    "Gate",
    "GatedResidualBNReLU",
    "MergeMode",
    "SkipMerge",
    "SoftGatedBlock",
    "SyncBatchNorm2d",
    "bn_relu",
    "make_gate",
    "with_batch_norm",
]
