"""The registry of pose models: names, their default options, and how to build them."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from softgate_ext.errors import InputError
from softgate_ext.models.architecture import check_architecture
from softgate_ext.models.base import PoseModel
from softgate_ext.models.deeppose import DeepPose
from softgate_ext.models.hybrid import HybridNet
from softgate_ext.pretrained.shipped import list_pretrained, read_card, read_pretrained


@dataclass(frozen=True)
class ModelDefaults:
    """The defaults of a named model.

    Attributes:
        input_size: usual side of the square input image in pixels.
        stride: image pixels per heatmap pixel, if the model gives heatmaps.
        skeleton: name of the skeleton whose joints are the model's default outputs.
        kwargs: options of the model's class; the others keep the defaults of the class.
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
        name: the name that `create_model` takes.
        build: a class or function that returns the model. The model has a `config`. The parameters of
            `build` are the model's options.
        defaults: the defaults of the model.

    Raises:
        InputError: the name is taken.
    """
    if name in _models:
        raise InputError(f"name must be new, got {name!r}, which is registered already")
    _models[name] = (build, defaults or ModelDefaults())


def list_models(pretrained: bool = False) -> list[str]:
    """The names that `create_model` takes, in alphabetical order.

    Args:
        pretrained: whether to list only the models for which the package ships weights.
    """
    return sorted(_models.keys() & _shipped() if pretrained else _models)


def model_defaults(name: str) -> ModelDefaults:
    """The defaults of the named model.

    Raises:
        InputError: the name is unknown.
    """
    return _find(name)[1]


def create_model(name: str, pretrained: bool | str = False, **kwargs: Any) -> PoseModel:
    """Builds a model with newly initialised weights, or with weights that the package ships.

    Args:
        name: one of `list_models()`.
        pretrained: True loads the shipped weights of this network. A text loads the weights of that
            name, one of `list_pretrained()`. The options are then those of the weights: their joints
            are those of the training, in the order of their card.
        kwargs: options that replace the named model's own, such as `joints`, `width`, `stacks`,
            `depth`, `groups`, `fusion`, `gate` and `alpha_init` (see `HybridNet`).

    Returns:
        The model, float32 and in training mode. Its `config` holds the name and all options.

    Raises:
        InputError: a name, option or value is unknown; or there are no such weights, they are
            damaged, or their options differ from `kwargs`.
    """
    if not pretrained:
        return build_model(name, kwargs)
    return _pretrained_model(name, pretrained, kwargs)


def build_model(name: str, options: Mapping[str, Any]) -> PoseModel:
    """As `create_model`, without shipped weights, with the options as a mapping."""
    build, defaults = _find(name)
    _check_options(name, options)
    model = build(**{**defaults.kwargs, **options})
    model.config = {"name": name, "kwargs": model.config["kwargs"]}
    return model


def rebuild(config: Any, source: str) -> PoseModel:
    """Builds a model, with newly initialised weights, from a `config` that was stored as JSON.

    Args:
        config: the stored `config` of a model.
        source: the file that stored it, for the message.

    Raises:
        InputError: no model has that config.
    """
    for key, kind in (("name", str), ("kwargs", dict)):
        if key not in config:
            raise InputError(f"{source}: {key!r} is missing")
        if not isinstance(config[key], kind):
            raise InputError(f"{source}: {key}: expected {kind.__name__}, got {config[key]!r:.80}")
    try:
        return build_model(config["name"], config["kwargs"])
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError(
            f"{source}: no network has the options {config['kwargs']!s:.400}"
        ) from error


def _pretrained_model(name: str, pretrained: str | bool, kwargs: dict[str, Any]) -> PoseModel:
    _check_options(name, kwargs)
    weights = pretrained if isinstance(pretrained, str) else _shipped().get(name)
    if weights is None:
        takes = " or ".join(list_models(pretrained=True)) or "False, since no weights are shipped"
        raise InputError(f"pretrained: there are no weights of {name}; takes {takes}")
    stored, about = read_pretrained(weights)
    config = about["config"]["model"]
    model = rebuild(config, f"pretrained: {weights}")
    if config["name"] != name:
        raise InputError(f"pretrained: {weights} are weights of {config['name']}, got {name}")
    theirs = model.config["kwargs"]
    for key, value in kwargs.items():
        if (list(value) if isinstance(value, tuple) else value) != theirs.get(key):
            raise InputError(
                f"{key}: got {value!r}, where the weights {weights} have {theirs.get(key)!r}; leave "
                f"it out, or start a training with `--init {weights}`, which takes what fits"
            )
    check_architecture(f"pretrained: {weights}", stored, model, "its header")
    model.load_state_dict(stored)
    return model


def _shipped() -> dict[str, str]:
    """The names of shipped weights by their networks; of several, the alphabetically first."""
    return {read_card(weights)["model"]: weights for weights in reversed(list_pretrained())}


def _find(name: str) -> tuple[Callable[..., PoseModel], ModelDefaults]:
    if name not in _models:
        raise InputError(f"model must be one of {', '.join(list_models())}, got {name!r}")
    return _models[name]


def _check_options(name: str, options: Mapping[str, Any]) -> None:
    known = inspect.signature(_find(name)[0]).parameters
    if unknown := [key for key in options if key not in known]:
        raise InputError(f"{name} has no option {unknown[0]!r}; it takes {', '.join(known)}")


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
    for size in ["1x48", "3x48", "3x96"]:
        stages, width = map(int, size.split("x"))
        kwargs = {"width": width, "stages": stages}
        register_model(f"deeppose_{size}", DeepPose, ModelDefaults(kwargs=kwargs))


_register_all()
