"""Fused ops for soft-gated residual networks; see :mod:`softgate_ext.ops.functional`."""

from softgate_ext.ops.functional import (
    bn_relu,
    gated_residual,
    gated_residual_bn_relu,
    skip_merge,
    skip_merge_bn_relu,
)
from softgate_ext.ops.sync import sync_bn_relu

__all__ = [
    "bn_relu",
    "gated_residual",
    "gated_residual_bn_relu",
    "skip_merge",
    "skip_merge_bn_relu",
    "sync_bn_relu",
]
