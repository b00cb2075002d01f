"""Fused kernels for soft-gated residual networks, and the pose network they were made for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from softgate_ext._version import __version__
from softgate_ext.conversion import convert
from softgate_ext.errors import InputError
from softgate_ext.folding import fold
from softgate_ext.ops import functional as _ops
from softgate_ext.ops.backend import info, use_backend
from softgate_ext.ops.functional import *  # noqa: F403

if TYPE_CHECKING:
    from softgate_ext.engine.person import Person
    from softgate_ext.engine.predictor import PosePredictor

__all__ = [
    "InputError",
    "Person",
    "PosePredictor",
    "__version__",
    "convert",
    "fold",
    "info",
    "use_backend",
]
__all__ += _ops.__all__

# What needs OpenCV, Pillow and safetensors is imported when it is first asked for.
_LATER = {
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
