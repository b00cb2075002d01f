"""What a node of a traced graph computes, in the forms in which people write it."""

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.fx import Node
from torch.nn import functional as F

from softgate_ext.nn.norm import has_hooks

Modules = Mapping[str, nn.Module]

_ADD = {operator.add, operator.iadd, torch.add, "add", "add_"}
_MUL = {operator.mul, torch.mul, "mul"}
_CAT = {torch.cat, torch.concat, torch.concatenate}
_RELU = {F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"}
_VIEW = {"view", "reshape", "unsqueeze", operator.getitem, torch.reshape, torch.unsqueeze}


def calls(node: Any, targets: set[Any]) -> bool:
    """Whether the node calls one of these functions or methods."""
    kind = isinstance(node, Node) and node.op in ("call_function", "call_method")
    return kind and node.target in targets


def is_add(node: Any) -> bool:
    """Whether the node is an addition, in place or not."""
    return calls(node, _ADD)


def is_in_place_add(node: Node) -> bool:
    """Whether an addition writes its result into its first summand."""
    return node.target in (operator.iadd, "add_")


def add_operands(node: Node) -> tuple[Node, Node] | str:
    """The two summands of an addition, or why it is not a plain sum of two tensors."""
    if node.kwargs.get("alpha", 1) != 1 or set(node.kwargs) - {"alpha", "other"}:
        return "torch.add with an alpha other than 1, or with out"
    args = (*node.args, *(v for k, v in node.kwargs.items() if k == "other"))
    if len(args) != 2 or not all(isinstance(a, Node) for a in args):
        return "one summand is a number"
    first, second = args
    if first is second:
        return "both summands are one tensor"
    return first, second  # type: ignore[return-value]


def is_relu(node: Any, modules: Modules) -> bool:
    """Whether the node is a ReLU that no hook watches."""
    if isinstance(node, Node) and node.op == "call_module":
        module = modules[str(node.target)]
        return type(module) is nn.ReLU and not has_hooks(module)
    return calls(node, _RELU)


def cat_parts(node: Any) -> list[Node] | None:
    """The tensors that a node concatenates over channels, which nobody else reads."""
    if not calls(node, _CAT) or len(node.users) != 1:
        return None
    dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
    parts = node.args[0] if node.args else node.kwargs.get("tensors")
    if dim not in (1, -3) or not isinstance(parts, list | tuple):
        return None
    return list(parts) if all(isinstance(p, Node) for p in parts) else None


def upsampled(node: Any, modules: Modules) -> Node | None:
    """What a node enlarges by nearest 2x upsampling for a single reader."""
    if not isinstance(node, Node) or len(node.users) != 1 or not node.args:
        return None
    size: Any
    factor: Any
    mode: Any
    if node.op == "call_module":
        module = modules[str(node.target)]
        if not isinstance(module, nn.Upsample) or has_hooks(module):
            return None
        size, factor, mode = module.size, module.scale_factor, module.mode
    elif calls(node, {F.interpolate}):
        names = ("size", "scale_factor", "mode")
        given = dict(zip(names, node.args[1:], strict=False)) | node.kwargs
        size, factor = given.get("size"), given.get("scale_factor")
        mode = given.get("mode", "nearest")
    else:
        return None
    twice = factor == 2 or (isinstance(factor, list | tuple) and set(factor) == {2})
    exact = size is None and twice and mode in ("nearest", "nearest-exact")
    low = node.args[0]
    return low if exact and isinstance(low, Node) else None


def scaled(node: Any) -> tuple[Node, Node] | None:
    """`(x, alpha)` of a product that nobody else reads, where alpha belongs to the model."""
    if not calls(node, _MUL) or len(node.users) != 1 or len(node.args) != 2 or node.kwargs:
        return None
    a, b = node.args
    if isinstance(a, Node) and isinstance(b, Node):
        for x, alpha in ((a, b), (b, a)):
            if _is_parameter(alpha) and not _is_parameter(x):
                return x, alpha
    return None


def _is_parameter(node: Node) -> bool:
    while calls(node, _VIEW) and isinstance(node.args[0], Node):
        node = node.args[0]
    return node.op == "get_attr"
