"""Recognises what a node of a traced graph computes, in all usual spellings (operators, functions)."""

import operator
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import guard_or_false
from torch.nn import functional as F

_ADD = {operator.add, operator.iadd, torch.add, "add", "add_"}
_MUL = {operator.mul, torch.mul, torch.multiply, "mul", "multiply"}
_CAT = {torch.cat, torch.concat, torch.concatenate}
_RELU = {F.relu, torch.relu, torch.relu_, "relu", "relu_"}
_NORM = {
    F.batch_norm: (
        *("input", "running_mean", "running_var", "weight", "bias"),
        *("training", "momentum", "eps"),
    ),
    torch.batch_norm: (
        *("input", "weight", "bias", "running_mean", "running_var"),
        *("training", "momentum", "eps", "cudnn_enabled"),
    ),
}
_NORM_DEFAULTS = {"weight": None, "bias": None, "training": False, "momentum": 0.1, "eps": 1e-5}
_CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_CONVOLUTION_DEFAULTS = {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
_INTERPOLATE = ("input", "size", "scale_factor", "mode")


def value(node: Any) -> Any:
    """The value that a node had while Dynamo traced, such as a fake tensor; other values unchanged."""
    return node.meta.get("example_value") if isinstance(node, Node) else node


def module_path(node: Node) -> str:
    """The path of the module whose forward contains the node, or the node's name without one."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = stack[-1][0].partition(".")[2] if stack else ""
    return path.removeprefix("__self__").lstrip(".") or node.name


def calls(node: Any, targets: Any) -> bool:
    """Whether the node calls one of these functions or methods."""
    called = isinstance(node, Node) and node.op in ("call_function", "call_method")
    return called and node.target in targets


def is_add(node: Any) -> bool:
    """Whether the node is an addition, in place or not."""
    return calls(node, _ADD)


def is_in_place_add(node: Node) -> bool:
    """Whether an addition stores its result in its first summand."""
    return node.target in (operator.iadd, "add_")


def add_operands(node: Node) -> tuple[Node, Node] | str:
    """The two summands of an addition, or the reason why it is not a plain sum of two tensors."""
    if node.kwargs.get("alpha", 1) != 1 or set(node.kwargs) - {"alpha", "input", "other"}:
        return "torch.add with an alpha other than 1, or with out"
    args = (*node.args, *(node.kwargs[k] for k in ("input", "other") if k in node.kwargs))
    if len(args) != 2 or not all(isinstance(value(a), Tensor) for a in args):
        return "one summand is a number"
    first, second = args
    if first is second:
        return "both summands are one tensor"
    return first, second  # type: ignore[return-value]


def is_relu(node: Any) -> bool:
    """Whether the node is a ReLU, in place or not."""
    return calls(node, _RELU)


def norm_arguments(node: Any) -> dict[str, Any] | None:
    """The arguments of a batch norm under the names of `torch.nn.functional.batch_norm`, or None."""
    if not calls(node, _NORM):
        return None
    given = dict(zip(_NORM[node.target], node.args, strict=False)) | node.kwargs
    given.pop("cudnn_enabled", None)
    return _NORM_DEFAULTS | given


def convolution_arguments(node: Any) -> dict[str, Any] | None:
    """The arguments of a 2D convolution under the names of `torch.nn.functional.conv2d`, or None."""
    if not calls(node, {F.conv2d}):
        return None
    given = dict(zip(_CONVOLUTION, node.args, strict=False)) | node.kwargs
    return _CONVOLUTION_DEFAULTS | given


def cat_parts(node: Any) -> list[Node] | None:
    """The tensors that a node concatenates over channels, or None.

    The result must have a single reader.
    """
    if not calls(node, _CAT) or len(node.users) != 1:
        return None
    dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
    parts = node.args[0] if node.args else node.kwargs.get("tensors")
    if dim not in (1, -3) or "out" in node.kwargs or not isinstance(parts, list | tuple):
        return None
    whole = all(isinstance(p, Node) for p in parts) and getattr(value(node), "ndim", 0) == 4
    return list(parts) if whole else None


def upsampled(node: Any) -> Node | None:
    """The input of a nearest 2x upsampling whose result has a single reader, or None."""
    if not calls(node, {F.interpolate}) or len(node.users) != 1:
        return None
    given = dict(zip(_INTERPOLATE, node.args, strict=False)) | node.kwargs
    low, factor = given["input"], given.get("scale_factor")
    if given.get("mode", "nearest") not in ("nearest", "nearest-exact"):
        return None
    if factor is not None and set(factor if isinstance(factor, list | tuple) else [factor]) != {2}:
        return None
    before, after = value(low).shape, value(node).shape
    twice = (same(2 * a, b) for a, b in zip(before[2:], after[2:], strict=True))
    return low if len(before) == 4 and all(twice) else None


def scaled(node: Any) -> tuple[Node, Node] | None:
    """`(x, alpha)` of a product with a single reader, alpha having 1 or C values; else None."""
    if not calls(node, _MUL) or len(node.users) != 1 or len(node.args) != 2 or node.kwargs:
        return None
    a, b = node.args
    if isinstance(value(a), Tensor) and isinstance(value(b), Tensor):
        for x, alpha in ((a, b), (b, a)):
            if is_same_shape(x, node) and _is_gate(value(alpha), value(node)):
                return x, alpha
    return None


def _is_gate(alpha: Tensor, x: Tensor) -> bool:
    if x.ndim != 4 or alpha.ndim > 4:
        return False
    ones = [1, *([1] * 4)][: alpha.ndim]
    per_channel = [1, x.shape[1], 1, 1][-alpha.ndim :] if alpha.ndim > 2 else ones
    return any(all(map(same, alpha.shape, shape)) for shape in (ones, per_channel))


def is_same_shape(a: Any, b: Any) -> bool:
    """Whether the tensors of two nodes have the same shape."""
    first, second = value(a).shape, value(b).shape
    return len(first) == len(second) and all(map(same, first, second))


def same(a: Any, b: Any) -> bool:
    """Whether two sizes, which may be symbolic, are known to be equal."""
    return bool(guard_or_false(a == b))
