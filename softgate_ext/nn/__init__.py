"""Drop-in modules that call the fused ops."""

from softgate_ext.nn.block import Gate, SoftGatedBlock, make_gate
from softgate_ext.nn.convolution import Conv, WinogradConv2d, use_conv
from softgate_ext.nn.layers import GatedResidualBNReLU, MergeMode, SkipMerge, gated_residual_bn_relu
from softgate_ext.nn.norm import SyncBatchNorm2d, bn_relu

__all__ = [
    "Conv",
    "Gate",
    "GatedResidualBNReLU",
    "MergeMode",
    "SkipMerge",
    "SoftGatedBlock",
    "SyncBatchNorm2d",
    "WinogradConv2d",
    "bn_relu",
    "gated_residual_bn_relu",
    "make_gate",
    "use_conv",
]
