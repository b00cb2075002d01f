"""Pose models by name."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from softgate_ext.errors import InputError
from softgate_ext.models.base import PoseModel
from softgate_ext.models.hybrid import HybridNet


@dataclass(frozen=True)
class ModelDefaults:
    """What a model is made for.

    Attributes:
        input_size: usual side of the square input image in pixels.
        stride: image pixels per heatmap pixel.
        skeleton: name of the skeleton whose joints the model's default heatmaps are.
        kwargs: options given to the model's class; those it leaves out keep the class's defaults.
    """

    input_size: int = 256
    stride: int = 4
    skeleton: str = "mpii"
    kwargs: dict[str, Any] = field(default_factory=dict)


_models: dict[str, tuple[Callable[..., PoseModel], ModelDefaults]] = {}


def register_model(
    name: str, build: Callable[..., PoseModel], defaults: ModelDefaults | None = None
) -> None:
    """Adds a model.

    Args:
        name: what `create_model` will know it by.
        build: class or function that returns the model, with its `config`; its parameters are the
            model's options.
        defaults: what the model is made for, and the values of its options.

    Raises:
        InputError: if the name is taken.
    """
    if name in _models:
        raise InputError(f"name must be new, got {name!r}, which is registered already")
    _models[name] = (build, defaults or ModelDefaults())


def list_models() -> list[str]:
    """Names that `create_model` knows, in alphabetical order."""
    return sorted(_models)


def model_defaults(name: str) -> ModelDefaults:
    """What the named model is made for.

    Raises:
        InputError: for an unknown name.
    """
    return _find(name)[1]


def create_model(name: str, **kwargs: Any) -> PoseModel:
    """Builds a model with fresh weights.

    Args:
        name: one of `list_models()`.
        kwargs: options that replace the named model's own, such as `joints`, `width`, `stacks`,
            `depth`, `groups`, `fusion`, `gate` and `alpha_init` (see `HybridNet`).

    Returns:
        The model; its `config` is the name and all options, and rebuilds it.

    Raises:
        InputError: for an unknown name, option or value.
    """
    build, defaults = _find(name)
    options = inspect.signature(build).parameters
    unknown = [key for key in kwargs if key not in options]
    if unknown:
        raise InputError(f"{name} has no option {unknown[0]!r}; it takes {', '.join(options)}")
    model = build(**(defaults.kwargs | kwargs))
    model.config = {"name": name, "kwargs": model.config["kwargs"]}
    return model


def _find(name: str) -> tuple[Callable[..., PoseModel], ModelDefaults]:
    if name not in _models:
        raise InputError(f"model must be one of {', '.join(list_models())}, got {name!r}")
    return _models[name]


def _register_all() -> None:
    baseline = {"fusion": "add", "gate": "none", "block": "bottleneck", "inner_block": True}
    families: dict[str, tuple[str, dict[str, Any]]] = {
        "hybrid": ("1x32 1x48 1x144 2x48 2x64 2x144 4x144 8x144", {}),
        "hourglass": ("1x48 2x256 8x256", baseline),
    }
    for family, (sizes, options) in families.items():
        for size in sizes.split():
            stacks, width = map(int, size.split("x"))
            kwargs = {"width": width, "stacks": stacks, **options}
            register_model(f"{family}_{size}", HybridNet, ModelDefaults(kwargs=kwargs))


_register_all()
