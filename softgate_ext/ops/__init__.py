"""Fused ops for soft-gated residual networks; see :mod:`softgate_ext.ops.functional`."""

from softgate_ext.ops import functional
from softgate_ext.ops.functional import *  # noqa: F403
from softgate_ext.ops.recipes import recompute
from softgate_ext.ops.sync import sync_bn_relu

__all__ = ["recompute", "sync_bn_relu"]
__all__ += functional.__all__
