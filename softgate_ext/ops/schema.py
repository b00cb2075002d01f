"""The schemas of the dispatcher ops and their fake kernels.

Each op exists twice, from one schema: in ``softgate`` with the compiled kernels, and in
``softgate_triton`` with the Triton kernels. The name of an op says which kernels it calls, so that
the two can be had side by side and a compiled graph keeps the ones that it was traced with.

Declared once, here in Python, so that the ops exist with and without a compiler; the compiled
extension adds its kernels with ``TORCH_LIBRARY_IMPL``. The ops are functional: they return the
batch statistics (``mean`` and biased ``var``, float32, or float64 beside float64; empty in
evaluation), and the public functions update the running ones. No argument has a default: the
dispatcher drops arguments equal to one, and autograd would then see another number of inputs. A
backward op returns the wanted gradients only, as one list in the order of ``needs``.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from softgate_ext.ops import checks
from softgate_ext.ops.backward_checks import checked

NAMESPACE = "softgate"
TRITON_NAMESPACE = "softgate_triton"

_NORM = (
    "Tensor? running_mean, Tensor? running_var, Tensor? weight, Tensor? bias, "
    "bool training, float eps, bool relu"
)
_NORM_SAVED = (
    "Tensor mean, Tensor var, Tensor? weight, Tensor? bias, bool training, float eps, bool relu"
)

SCHEMAS = {
    "gated_residual": "(Tensor x, Tensor[] branches, Tensor? alpha) -> Tensor",
    # needs: x, branches, alpha
    "gated_residual_backward": (
        "(Tensor dy, Tensor? x, Tensor? alpha, SymInt[] split, bool[] needs) -> Tensor[]"
    ),
    "gated_residual_bn_relu": (
        f"(Tensor x, Tensor[] branches, Tensor? alpha, {_NORM}) -> (Tensor, Tensor, Tensor, Tensor)"
    ),
    # needs: x, branches, alpha, weight, bias
    "gated_residual_bn_relu_backward": (
        f"(Tensor? dy, Tensor dz, Tensor y, Tensor? x, Tensor? alpha, {_NORM_SAVED}, "
        "SymInt[] split, bool[] needs) -> Tensor[]"
    ),
    "bn_relu": f"(Tensor x, {_NORM}) -> (Tensor, Tensor, Tensor)",
    # needs: x, weight, bias
    "bn_relu_backward": f"(Tensor dz, Tensor x, {_NORM_SAVED}, bool[] needs) -> Tensor[]",
    "skip_merge": (
        "(Tensor skip, Tensor[] branches, Tensor low, Tensor? alpha, str mode) -> Tensor"
    ),
    # needs: skip, branches, low, alpha
    "skip_merge_backward": (
        "(Tensor dmerged, Tensor? skip, Tensor? alpha, SymInt channels, str mode, "
        "SymInt[] split, bool[] needs) -> Tensor[]"
    ),
    "skip_merge_bn_relu": (
        f"(Tensor skip, Tensor[] branches, Tensor low, Tensor? alpha, {_NORM}, str mode)"
        " -> (Tensor, Tensor, Tensor, Tensor)"
    ),
    # needs: skip, branches, low, alpha, weight, bias
    "skip_merge_bn_relu_backward": (
        "(Tensor? dmerged, Tensor dz, Tensor merged, Tensor? skip, Tensor? alpha, "
        f"{_NORM_SAVED}, SymInt channels, str mode, SymInt[] split, bool[] needs) -> Tensor[]"
    ),
}

library = torch.library.Library(NAMESPACE, "DEF")
triton_library = torch.library.Library(TRITON_NAMESPACE, "DEF")
LIBRARIES = {NAMESPACE: library, TRITON_NAMESPACE: triton_library}
for _library in LIBRARIES.values():
    for _name, _schema in SCHEMAS.items():
        _library.define(_name + _schema, tags=(torch.Tag.pt2_compliant_tag,))


def layout_of(t: Tensor) -> torch.memory_format:
    """The layout of an op's outputs: channels_last where the tensor is, else contiguous."""
    return torch._prims_common.suggest_memory_format(t)


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """The dtype of statistics and sums beside activations of ``dtype``."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def empty(like: Tensor, size: Sequence[int], layout: torch.memory_format) -> Tensor:
    """An activation of ``size`` with the dtype and device of ``like``."""
    return torch.empty(tuple(size), dtype=like.dtype, device=like.device, memory_format=layout)


def _statistics(like: Tensor, channels: int, training: bool) -> tuple[Tensor, Tensor]:
    dtype, channels = accumulator(like.dtype), channels if training else 0
    return like.new_empty((channels,), dtype=dtype), like.new_empty((channels,), dtype=dtype)


def _fake(name: str) -> Callable:
    def register(kernel: Callable) -> Callable:
        for namespace, lib in LIBRARIES.items():
            torch.library.register_fake(f"{namespace}::{name}", checked(kernel, name), lib=lib)
        return kernel

    return register


@_fake("gated_residual")
def _(x, branches, alpha):
    checks.residual(x, branches, alpha)
    return empty(x, x.shape, layout_of(x))


@_fake("gated_residual_backward")
def _(dy, x, alpha, split, needs):
    return _source_grads(dy, dy.shape[1], alpha, split, needs, layout_of(dy))


@_fake("gated_residual_bn_relu")
def _(x, branches, alpha, running_mean, running_var, weight, bias, training, eps, relu):
    checks.residual(x, branches, alpha)
    c = x.shape[1]
    checks.norm(c, running_mean, running_var, weight, bias, training, eps, "x", x)
    layout = layout_of(x)
    return empty(x, x.shape, layout), empty(x, x.shape, layout), *_statistics(x, c, training)


@_fake("gated_residual_bn_relu_backward")
def _(dy, dz, y, x, alpha, mean, var, weight, bias, training, eps, relu, split, needs):
    grads = _source_grads(y, y.shape[1], alpha, split, needs[:3], layout_of(y))
    return grads + _affine_grads((weight, bias), needs[3:])


@_fake("bn_relu")
def _(x, running_mean, running_var, weight, bias, training, eps, relu):
    checks.activation("x", x)
    c = x.shape[1]
    checks.norm(c, running_mean, running_var, weight, bias, training, eps, "x", x)
    return empty(x, x.shape, layout_of(x)), *_statistics(x, c, training)


@_fake("bn_relu_backward")
def _(dz, x, mean, var, weight, bias, training, eps, relu, needs):
    grads = [empty(x, x.shape, layout_of(x))] if needs[0] else []
    return grads + _affine_grads((weight, bias), needs[1:])


@_fake("skip_merge")
def _(skip, branches, low, alpha, mode):
    channels = checks.merge(skip, low, alpha, mode, branches)
    n, _, h, w = skip.shape
    return empty(skip, (n, channels, h, w), layout_of(skip))


@_fake("skip_merge_backward")
def _(dmerged, skip, alpha, channels, mode, split, needs):
    return _merge_grads(dmerged, channels, alpha, mode, split, needs)


@_fake("skip_merge_bn_relu")
def _(
    skip,
    branches,
    low,
    alpha,
    running_mean,
    running_var,
    weight,
    bias,
    training,
    eps,
    relu,
    mode,
):
    c = checks.merge(skip, low, alpha, mode, branches)
    checks.norm(c, running_mean, running_var, weight, bias, training, eps, "skip", skip)
    n, _, h, w = skip.shape
    layout = layout_of(skip)
    size = (n, c, h, w)
    return empty(skip, size, layout), empty(skip, size, layout), *_statistics(skip, c, training)


@_fake("skip_merge_bn_relu_backward")
def _(
    dmerged,
    dz,
    merged,
    skip,
    alpha,
    mean,
    var,
    weight,
    bias,
    training,
    eps,
    relu,
    channels,
    mode,
    split,
    needs,
):
    grads = _merge_grads(merged, channels, alpha, mode, split, needs[:4])
    return grads + _affine_grads((weight, bias), needs[4:])


def _source_grads(y, channels, alpha, split, needs, layout) -> list[Tensor]:
    """Gradients of x, the branches and alpha, as wanted."""
    n, _, h, w = y.shape
    grads = [empty(y, (n, channels, h, w), layout)] if needs[0] else []
    if needs[1]:
        grads += [empty(y, (n, width, h, w), layout) for width in split]
    return grads + ([torch.empty_like(alpha)] if needs[2] else [])


def _merge_grads(merged, channels, alpha, mode, split, needs) -> list[Tensor]:
    """Gradients of skip, the branches, low and alpha, as wanted."""
    n, total, h, w = merged.shape
    layout = layout_of(merged)
    grads = _source_grads(merged, channels, None, split, [*needs[:2], False], layout)
    if needs[2]:
        low = total - channels if mode == "concat" else total
        grads.append(empty(merged, (n, low, h // 2, w // 2), layout))
    return grads + ([torch.empty_like(alpha)] if needs[3] else [])


def _affine_grads(parameters: tuple[Tensor | None, ...], needs: Sequence[bool]) -> list[Tensor]:
    wanted = zip(parameters, needs, strict=True)
    return [torch.empty_like(p) for p, need in wanted if need and p is not None]
