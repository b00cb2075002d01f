"""Fused kernels for soft-gated residual networks, and the pose network they were made for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from softgate_ext._version import __version__
from softgate_ext.backend import info, use_backend
from softgate_ext.errors import InputError
from softgate_ext.ops import (
    bn_relu,
    gated_residual,
    gated_residual_bn_relu,
    skip_merge,
    skip_merge_bn_relu,
)

if TYPE_CHECKING:
    from softgate_ext.compiler import convert, explain
    from softgate_ext.engine.person import Person
    from softgate_ext.engine.predictor import PosePredictor
    from softgate_ext.folding import fold

__all__ = [
    "InputError",
    "Person",
    "PosePredictor",
    "__version__",
    "bn_relu",
    "convert",
    "explain",
    "fold",
    "gated_residual",
    "gated_residual_bn_relu",
    "info",
    "skip_merge",
    "skip_merge_bn_relu",
    "use_backend",
]

# What needs Dynamo, OpenCV, Pillow and safetensors is imported when it is first asked for.
_LATER = {
    "convert": "softgate_ext.compiler",
    "explain": "softgate_ext.compiler",
    "fold": "softgate_ext.folding",
    "Person": "softgate_ext.engine.person",
    "PosePredictor": "softgate_ext.engine.predictor",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LATER[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
