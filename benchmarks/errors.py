"""Compares the rounding errors of the kernels with those of eager PyTorch: `python -m benchmarks.errors`.

An error is the largest difference from the exact result, divided by the eps of the dtype and by the
largest absolute value of the exact result. The exact result is computed in `numpy.longdouble` (80 bits)
from the same inputs. In it, y is rounded to the dtype before the norm, since kernels and eager store it so.
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import options
from softgate_ext import ops, use_backend
from softgate_ext.errors import InputError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "emulator"))

WIDE = np.longdouble
SIZES = ((2, 8, 8, 8), (8, 12, 16, 16), (4, 24, 32, 32), (2, 4, 64, 64), (3, 5, 10, 14))
AXES = (0, 2, 3)
EPS, MOMENTUM = 1e-5, 0.1
KERNELS = ("cpu", "emulated")
CLOSE = 1e-4  # with a pre-activation this near to 0, rounding may decide whether ReLU passes it


@dataclass(frozen=True)
class Case:
    """A gated residual ("residual") or a merge ("add", "concat"), with its norm in training."""

    kind: str
    size: tuple[int, int, int, int]
    channels_last: bool
    mean: float  # of the values, in units of their standard deviation
    seed: int


def cases(means: tuple[float, ...], seeds: int) -> Iterator[Case]:
    kinds = ("residual", "add", "concat")
    for kind, size, last, mean, seed in product(kinds, SIZES, (False, True), means, range(seeds)):
        yield Case(kind, size, last, mean, seed)


def inputs_of(case: Case) -> dict[str, Tensor]:
    """The float32 arguments of the op by name, with the gradients of y and z as "dy" and "dz"."""
    gen = torch.Generator().manual_seed(case.seed)
    n, c, h, w = case.size
    total = 2 * c if case.kind == "concat" else c
    layout = torch.channels_last if case.channels_last else torch.contiguous_format

    def activation(channels: int, shrink: int = 1, mean: float = 0.0) -> Tensor:
        t = torch.randn(n, channels, h // shrink, w // shrink, generator=gen) + mean
        return t.contiguous(memory_format=layout)

    def vector(size: int, low: float, high: float) -> Tensor:
        return torch.rand(size, generator=gen) * (high - low) + low

    given = {"x": activation(c, mean=case.mean), "alpha": vector(c, 0.5, 1.5)}
    if case.kind == "residual":
        given["f"] = activation(c, mean=case.mean)
    else:
        given["low"] = activation(c, 2, case.mean)
    given |= {"weight": vector(total, 0.5, 1.5), "bias": vector(total, -0.5, 0.5)}
    given |= {"running_mean": vector(total, -1, 1), "running_var": vector(total, 0.5, 2)}
    return given | {"dy": activation(total), "dz": activation(total)}


def emulated(variant: str, case: Case, given: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """The results of the CUDA kernels, run by the emulator. None where the variant does not fit."""
    import emulator_build
    from emulator_calls import Machine
    from emulator_checks import served
    from emulator_ops import LAYOUTS, Tensors, update_running
    from emulator_ops import Case as Call
    from emulator_structs import Device

    n, c, h, w = case.size
    layout = "channels_last" if case.channels_last else "contiguous"
    widths, low = ((c,), 0) if case.kind == "residual" else ((), c)
    call = Call(case.kind, widths, (n, h, w), low, layout=layout, skip_channels=c)
    tensors = Tensors(call, emulator_build.build())
    tensors.skip, tensors.low = given["x"], given.get("low")
    tensors.branches = [given["f"]] if case.kind == "residual" else []
    tensors.alpha, tensors.weight, tensors.bias = given["alpha"], given["weight"], given["bias"]
    # With few multiprocessors, each thread sums as many values as it would in a large tensor.
    machine = Machine(variant, Device(4, 50 << 20, 227 << 10, 8))
    forward = served(tensors.forward, machine)
    if forward is None:
        return None
    batch = [forward.values["mean"], forward.values["var"]]
    kept = LAYOUTS[layout]
    gradients = [given[name].contiguous(memory_format=kept) for name in ("dy", "dz")]
    backward = served(tensors.backward, machine, forward.values["y"], *batch, *gradients)
    if backward is None:
        return None
    running = [given["running_mean"].clone(), given["running_var"].clone()]
    update_running(tensors.library, running, batch, None, MOMENTUM, n * h * w, machine)
    names = {"dskip": "dx", "dbranch0": "df"}
    results = {names.get(name, name): t for name, t in backward.values.items()}
    results |= {"running_mean": running[0], "running_var": running[1]}
    return {"y": forward.values["y"], "z": forward.values["z"], **results}


def rounded(case: Case, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """The results of the ops of the backend in use, gradients included, by name."""
    own = {name: t.clone() for name, t in given.items()}
    running = own["running_mean"], own["running_var"]
    leaves = {
        n: own[n].requires_grad_() for n in ("x", "f", "low", "alpha", "weight", "bias") if n in own
    }
    norm = (*running, leaves["weight"], leaves["bias"])
    settings: dict[str, Any] = {"training": True, "momentum": MOMENTUM, "eps": EPS}
    if case.kind == "residual":
        y, z = ops.gated_residual_bn_relu(
            leaves["x"], leaves["f"], leaves["alpha"], *norm, **settings
        )
    else:
        y, z = ops.skip_merge_bn_relu(
            leaves["x"], leaves["low"], leaves["alpha"], *norm, mode=case.kind, **settings
        )
    gradients = torch.autograd.grad((y, z), [*leaves.values()], (given["dy"], given["dz"]))
    named = {f"d{name}": g for name, g in zip(leaves, gradients, strict=True)}
    results = {"y": y, "z": z, "running_mean": running[0], "running_var": running[1], **named}
    return {name: t.detach() for name, t in results.items()}


def exact(case: Case, given: dict[str, Tensor], stored: Tensor) -> dict[str, np.ndarray]:
    """The results in 80-bit floats by name. `stored` is y, rounded to the dtype by the op."""
    wide = {name: t.numpy().astype(WIDE) for name, t in given.items()}

    def along(v: np.ndarray) -> np.ndarray:
        return v.reshape(1, -1, 1, 1)

    def upsample(t: np.ndarray) -> np.ndarray:
        return t.repeat(2, axis=2).repeat(2, axis=3)

    gated = along(wide["alpha"]) * wide["x"]
    c = wide["x"].shape[1]
    if case.kind == "residual":
        sums = gated + wide["f"]
    elif case.kind == "add":
        sums = gated + upsample(wide["low"])
    else:
        sums = np.concatenate([gated, upsample(wide["low"])], axis=1)
    y = stored.numpy().astype(WIDE)
    count = y.size // y.shape[1]
    mean, var = y.mean(AXES), y.var(AXES)
    std = np.sqrt(var + WIDE(EPS))
    normal = (y - along(mean)) / along(std)
    pre = normal * along(wide["weight"]) + along(wide["bias"])
    g = np.where(pre > 0, wide["dz"], WIDE(0))
    dbias, dweight = g.sum(AXES), (g * normal).sum(AXES)
    back = g - along(dbias) / count - normal * along(dweight) / count
    d = wide["dy"] + back * along(wide["weight"] / std)
    keep = WIDE(1) - WIDE(MOMENTUM)
    results = {
        "y": sums,
        "z": np.maximum(pre, 0),
        "running_mean": keep * wide["running_mean"] + WIDE(MOMENTUM) * mean,
        "running_var": keep * wide["running_var"] + WIDE(MOMENTUM) * var * count / (count - 1),
        "dx": along(wide["alpha"]) * d[:, :c],
        "dalpha": (wide["x"] * d[:, :c]).sum(AXES),
        "dweight": dweight,
        "dbias": dbias,
    }
    if case.kind == "residual":
        return results | {"df": d}
    part = d if case.kind == "add" else d[:, c:]
    n, channels, h, w = part.shape
    return results | {"dlow": part.reshape(n, channels, h // 2, 2, w // 2, 2).sum((3, 5))}


def errors(got: dict[str, Tensor], want: dict[str, np.ndarray]) -> dict[str, float]:
    """The error of each result, as the docstring of this module defines it."""
    eps = float(torch.finfo(torch.float32).eps)
    found = {}
    for name, value in want.items():
        away = np.abs(got[name].numpy().astype(WIDE) - value).max()
        found[name] = float(away / (eps * np.abs(value).max()))
    return found


def with_clear_signs(case: Case, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns `given` with a gradient of 0 where the pre-activation of z is too near to 0."""
    with use_backend("reference"), torch.no_grad():
        args = {n: t.double() for n, t in given.items()}
        if case.kind == "residual":
            y = args["alpha"].view(1, -1, 1, 1) * args["x"] + args["f"]
        else:
            y = ops.skip_merge(args["x"], args["low"], args["alpha"], mode=case.kind)
        pre = ops.bn_relu(y, None, None, args["weight"], args["bias"], training=True, relu=False)
    near = pre.abs() < CLOSE * max(1.0, abs(case.mean))
    return given | {"dz": given["dz"].masked_fill(near, 0.0)}


def why_not_emulated() -> str | None:
    import emulator_build

    return emulator_build.why_not()


def by_backend(backend: str, case: Case, given: dict[str, Tensor]) -> dict[str, Tensor]:
    with use_backend(backend):
        return rounded(case, given)


def ways_of(kernels: str) -> list[Callable[[Case, dict[str, Tensor]], dict[str, Tensor] | None]]:
    """The functions that compute a case with these kernels. The CUDA kernels have three variants."""
    if kernels == "emulated":
        return [partial(emulated, variant) for variant in ("two_pass", "sliced", "resident")]
    return [partial(by_backend, kernels)]


def measure(
    means: tuple[float, ...], seeds: int, kernels: str = "cpu"
) -> dict[tuple[str, float], np.ndarray]:
    """The errors of all cases, by the name of the result and the mean of the inputs.

    Each array has one row per case, with the error of the kernels and the error of eager PyTorch.
    """
    found: dict[tuple[str, float], list[tuple[float, float]]] = defaultdict(list)
    for case in cases(means, seeds):
        given = with_clear_signs(case, inputs_of(case))
        got = by_backend("reference", case, given)
        theirs = errors(got, exact(case, given, got["y"]))
        for way in ways_of(kernels):
            mine = way(case, given)
            if mine is None:
                continue
            for name, error in errors(mine, exact(case, given, mine["y"])).items():
                found[name, case.mean].append((error, theirs[name]))
    return {key: np.array(pairs) for key, pairs in found.items()}


def main(
    means: tuple[float, ...] = (0.0, 1.0, 30.0, 1000.0), seeds: int = 5, kernels: str = "cpu"
) -> None:
    """Prints one line for each result and mean, with the errors of the kernels and of eager PyTorch.

    The last column is the share of cases in which the error of the kernels is larger by a tenth.

    Args:
        means: means of the input values, in units of their standard deviation.
        seeds: how many random inputs each kind, size and layout gets.
        kernels: "cpu", or "emulated" for all variants of the CUDA kernels in the tests' emulator.

    Raises:
        InputError: `seeds` is less than 1, `kernels` is unknown, or the emulator cannot be built.
    """
    if kernels not in KERNELS:
        raise InputError(f"kernels must be one of {', '.join(KERNELS)}, got {kernels!r}")
    if kernels == "emulated" and (reason := why_not_emulated()):
        raise InputError(f"kernels: the emulator {reason}")
    if seeds < 1:
        raise InputError(f"seeds must be 1 or more, got {seeds}")
    print(
        "| result | mean / std | ours, largest | eager, largest | ours, median | eager, median | larger by a tenth |"
    )
    print("|---|---|---:|---:|---:|---:|---:|")
    for (name, mean), pairs in sorted(measure(means, seeds, kernels).items()):
        mine, theirs = pairs.T
        # An error below half an eps is as good as rounding the exact result.
        larger = np.mean(mine > np.maximum(1.1 * theirs, 0.5))
        print(
            f"| {name} | {mean:g} | {mine.max():.2f} | {theirs.max():.2f} | {np.median(mine):.2f} "
            f"| {np.median(theirs):.2f} | {larger:.0%} |"
        )


if __name__ == "__main__":
    options.run(main)
