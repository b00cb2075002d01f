"""The questions of `softgate study`: what the variants of a network differ in."""

from collections.abc import Callable
from functools import cache, partial
from itertools import count
from typing import Any, NamedTuple

import torch

from softgate_ext.commands.study_config import StudyName
from softgate_ext.models import create_model
from softgate_ext.models.registry import build_model

Options = dict[str, Any]


class Variant(NamedTuple):
    """Options of the network, as `create_model` takes them, and of the training, as `softgate train` does.

    `model` is the network that has these options, if it is not that of the study.
    """

    network: Options
    training: Options = {}
    model: str | None = None


HOURGLASS: Options = {"fusion": "add", "gate": "none", "block": "bottleneck", "inner_block": True}


def variants_of(study: StudyName, model: str, image_size: int) -> dict[str, Variant]:
    """The variants' names, and the options in which each differs from the network `model`.

    Raises:
        InputError: there is no such network, or it is none that has these options or takes images
            of that size.
    """
    variants = STUDIES[study](model)
    for options, training, other in variants.values():
        with torch.device("meta"):
            build_model(other or model, options).check_image_size(
                training.get("image_size", image_size)
            )
    return variants


def network(model: str, options: Options) -> Options:
    """All options of a variant, but for the joints, which are the data's."""
    with torch.device("meta"):
        built = build_model(model, options)
    return {name: value for name, value in built.config["kwargs"].items() if name != "joints"}


def _each(option: str, values: dict[str, Any], model: str) -> dict[str, Variant]:
    return {name: Variant({option: value}) for name, value in values.items()}


def _fusion(model: str) -> dict[str, Variant]:
    grouped = {f"concat, {n} group{'s'[: n > 1]}": n for n in (1, 2, 4, 8)}
    joined = {name: Variant({"fusion": "concat", "groups": n}) for name, n in grouped.items()}
    return {"add": Variant({"fusion": "add"}), **joined}


@cache  # the search builds a network for each width
def _architecture(model: str) -> dict[str, Variant]:
    """The hybrid network, and the hourglass at as many parameters and at three times as many."""
    size = _parameters(model, {})
    sizes: dict[int, int] = {}  # widths are multiples of 8: sizes are the nearest, not the same
    for width in count(8, 8):
        sizes[width] = _parameters(model, {"width": width, **HOURGLASS})
        if sizes[width] > 3 * size:
            break

    def hourglass(times: int) -> Variant:
        width = min(sizes, key=lambda width: abs(sizes[width] - times * size))
        return Variant({"width": width, **HOURGLASS})

    return {
        "hybrid": Variant({}),
        "hourglass, equal size": hourglass(1),
        "hourglass, 3 x the size": hourglass(3),
    }


def _parameters(model: str, options: Options) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in create_model(model, **options).parameters())


def _recipe(model: str) -> dict[str, Variant]:
    """What learns most in as many epochs: one recipe, and what each of its parts does."""
    gates = {"alpha_init": 1.0}
    recipe = {"lr": 1e-2, "batch_size": 8, "sigma": 0.5}
    parts: dict[str, Options] = {
        "lr 0.002": {"lr": 2e-3},
        "lr 0.005": {"lr": 5e-3},
        "lr 0.02": {"lr": 2e-2},
        "batch 16": {"batch_size": 16},
        "sigma 0.7": {"sigma": 0.7},
        "sigma 1": {"sigma": 1.0},
        "RMSprop, lr 0.00025": {"optimizer": "rmsprop", "lr": 2.5e-4},
        "mean of weights 0.99": {"ema": 0.99},
        "crops alike": {"scale": 0.0, "rotation": 0.0},
        "bfloat16": {"amp": "bf16"},
        "128 x 128": {"image_size": 128},
    }
    each = {name: Variant(gates, {**recipe, **part}) for name, part in parts.items()}
    return {"the recipe": Variant(gates, recipe), "alpha 0": Variant({}, recipe), **each}


def _regression(model: str) -> dict[str, Variant]:
    """Heatmaps with and without gates, and DeepPose of the same width without and with a cascade."""
    width = {"width": network(model, {}).get("width", 48)}
    return {
        "heatmaps": Variant({}),
        "heatmaps, no gates": Variant({"gate": "none"}),
        "DeepPose, 1 stage": Variant(width, model="deeppose_1x48"),
        "DeepPose, 3 stages": Variant(width, model="deeppose_3x48"),
    }


STUDIES: dict[StudyName, Callable[[str], dict[str, Variant]]] = {
    "gates": partial(_each, "gate", {"none": "none", "a block": "block", "a channel": "channel"}),
    "alpha": partial(_each, "alpha_init", {"0": 0.0, "0.5": 0.5, "1": 1.0}),
    "fusion": _fusion,
    "architecture": _architecture,
    "recipe": _recipe,
    "regression": _regression,
    "stacks": partial(_each, "stacks", {"1": 1, "2": 2, "4": 4}),
}
