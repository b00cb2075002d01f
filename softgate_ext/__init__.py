"""Fused kernels for soft-gated residual networks, and the pose network they were made for."""

from softgate_ext._version import __version__
from softgate_ext.backend import info, use_backend
from softgate_ext.conversion import convert
from softgate_ext.errors import InputError
from softgate_ext.folding import fold
from softgate_ext.ops import (
    bn_relu,
    gated_residual,
    gated_residual_bn_relu,
    skip_merge,
    skip_merge_bn_relu,
)

__all__ = [
    "InputError",
    "__version__",
    "bn_relu",
    "convert",
    "fold",
    "gated_residual",
    "gated_residual_bn_relu",
    "info",
    "skip_merge",
    "skip_merge_bn_relu",
    "use_backend",
]
