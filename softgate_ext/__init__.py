"""Fused kernels for soft-gated residual networks, and the pose network they were made for.

Every public name is imported at its first use, so that `import softgate_ext` stays fast. Importing
`softgate_ext.ops` registers the ops with PyTorch (`torch.ops.softgate`). If PyTorch is already
imported, importing this package registers them too.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from softgate_ext._version import __version__
from softgate_ext.errors import InputError

if TYPE_CHECKING:
    from softgate_ext.compiler import convert, explain
    from softgate_ext.inference.fold import fold
    from softgate_ext.ops import (
        bn_relu,
        gated_residual,
        gated_residual_bn_relu,
        recompute,
        skip_merge,
        skip_merge_bn_relu,
    )
    from softgate_ext.ops.backend import info, use_backend
    from softgate_ext.prediction.person import Person
    from softgate_ext.prediction.predictor import PosePredictor

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
    "recompute",
    "skip_merge",
    "skip_merge_bn_relu",
    "use_backend",
]

_WHERE = {
    "Person": "prediction.person",
    "PosePredictor": "prediction.predictor",
    "convert": "compiler",
    "explain": "compiler",
    "fold": "inference.fold",
    "info": "ops.backend",
    "use_backend": "ops.backend",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_WHERE.get(name, 'ops')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if "torch" in sys.modules:
    import_module("softgate_ext.ops")
