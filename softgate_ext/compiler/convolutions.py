"""Replaces 3x3 convolutions of a graph by Winograd's F(4x4, 3x3) if no gradient is recorded.

The kernel computes a batch norm and ReLU of its input as it loads the input, so that their result is
never stored. A batch norm that is the only reader of a convolution is folded into the weights. The
transformed weights and the folded norms become further inputs of the graph.
"""

import operator
from collections.abc import Callable, Hashable
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from softgate_ext import ops
from softgate_ext.compiler import nodes
from softgate_ext.compiler.memory import Memory, argument, type_is_plain
from softgate_ext.compiler.packing import NormAt, Packing
from softgate_ext.compiler.report import Fused, Left, Report
from softgate_ext.compiler.rewrite import AFFINE, STATISTICS, fake_mode, is_alike, is_own, owned
from softgate_ext.nn.convolution import is_faster_in
from softgate_ext.ops.backend import serving, unavailable

_ALONE: dict[Any, Callable[..., Any]] = {
    ops.gated_residual_bn_relu: ops.gated_residual,
    ops.skip_merge_bn_relu: ops.skip_merge,
}
_KERNEL = torch.ops.softgate.winograd_conv3x3
_STORED = (torch.float32, torch.bfloat16)
_OF_NORM = (*STATISTICS, *AFFINE)
_OPTIONS = ("training", "momentum", "eps", "relu")

Compiled = Callable[..., Any]


def with_operands(run: Compiled, packings: list[Packing], otherwise: Compiled) -> Compiled:
    """A graph that `use_winograd` rewrote, as a function of the original inputs.

    Args:
        run: the compiled rewritten graph.
        packings: how its further inputs are made of the original ones.
        otherwise: the original graph, for calls that the kernel does not support.
    """

    def call(*inputs: Any) -> Any:
        if serving("cpu") != "cpu":
            return otherwise(*inputs)
        operands = [packing.operands(inputs) for packing in packings]
        if None in operands:
            return otherwise(*inputs)
        return run(*inputs, *chain.from_iterable(operands))  # type: ignore[arg-type]

    return call


def use_winograd(module: GraphModule, report: Report) -> tuple[list[Packing], list[Tensor]]:
    """Rewrites a graph in place, after `rewrite`.

    Returns:
        How its further inputs are made of the original ones, and a fake tensor for each further input.
    """
    convolutions = Convolutions(module, owned(module), report)
    convolutions.run()
    module.recompile()
    return convolutions.packings, convolutions.further


class Convolutions:
    """Replaces the convolutions of one graph.

    Args:
        module: the graph.
        own: the storages of parameters and buffers.
        report: where the results are entered.
    """

    def __init__(self, module: GraphModule, own: set[Hashable], report: Report):
        self.graph = module.graph
        self.report = report
        self.memory = Memory(self.graph, own)
        self.packings: list[Packing] = []
        self.further: list[Tensor] = []
        self._inputs = [node for node in self.graph.nodes if node.op == "placeholder"]
        self._place = {node: place for place, node in enumerate(self._inputs)}
        self._output = next(iter(reversed(self.graph.nodes)))
        self._last = self._inputs[-1] if self._inputs else None
        self._copies: list[tuple[Node, Node]] = []

    def run(self) -> None:
        """Replaces all convolutions that can be replaced."""
        refused = unavailable("cpu") and "the compiled kernels are not there"
        if any(map(_trains, self.graph.nodes)):
            refused = "a batch norm or dropout is in training"
        for node in list(self.graph.nodes):
            given = nodes.convolution_arguments(node)
            if given is None:
                continue
            path = nodes.module_path(node)
            reason = self._refusal(node, given) or refused or self._replace(node, given)
            if reason:
                self.report.direct.append(Left(path, reason))
            else:
                self.report.winograd.append(path)
        self._leave_out_norms()
        for y, copy in self._copies:
            # Winograd kernels take any layout: a copy that only they read is not needed.
            if all(nodes.calls(user, {_KERNEL}) for user in copy.users):
                copy.replace_all_uses_with(y)
                self.graph.erase_node(copy)
        self.graph.lint()

    def _refusal(self, node: Node, given: dict[str, Any]) -> str | None:
        x, weight, bias = (nodes.value(given[name]) for name in ("input", "weight", "bias"))
        tensors = [t for t in (x, weight, bias, nodes.value(node)) if t is not None]
        if not all(map(type_is_plain, tensors)):
            return "a tensor is of a class of its own, or seen by a transform of torch.func"
        if not (x.ndim == 4 and weight.shape[2:] == (3, 3) and _is_same_size(given)):
            return "not 3x3 with stride 1 and a border of 1"
        # Under autocast only the result has the dtype of the computation.
        stored = nodes.value(node).dtype
        known = {t.dtype for t in tensors} <= {stored, torch.float32} and stored in _STORED
        if not known or any(t.device.type != "cpu" for t in tensors):
            return "neither float32 nor bfloat16 on the CPU"
        if not isinstance(given["groups"], int):
            return "the number of its groups may differ between calls"
        if not is_faster_in(stored):
            return "not known to be slower directly in bfloat16 on this processor"
        if nodes.value(node).requires_grad:
            return "a gradient is wanted"
        if not all(self._is_constant(given[name]) for name in ("weight", "bias")):
            return "its weights are no parameters, or are written in the pass"
        return None

    def _is_constant(self, source: Any) -> bool:
        """Whether a source is None, or a parameter or buffer that no step of the graph writes."""
        if source is None:
            return True
        if source not in self._place or not is_own(source):
            return False
        return self.memory.unwritten([source], self._inputs[0], self._output)

    def _norm(self, norm: dict[str, Any]) -> NormAt | None:
        """A norm whose scale and shift are constant, or None."""
        parts = [norm.get(name) for name in _OF_NORM]
        eps = norm.get("eps")  # may be a node, if Dynamo treats numbers as inputs
        if norm.get("training") or None in parts[:2] or not isinstance(eps, float | int):
            return None
        if not all(self._is_constant(part) for part in parts):
            return None
        places = tuple(None if part is None else self._place[part] for part in parts)
        return NormAt(places, float(eps))

    def _replace(self, node: Node, given: dict[str, Any]) -> str | None:
        source, before = self._before(given["input"], node) or (given["input"], None)
        last, after = self._after(node)
        own = [None if given[n] is None else self._place[given[n]] for n in ("weight", "bias")]
        packing = Packing(own[0], own[1], before, after, given["groups"])  # type: ignore[arg-type]
        channels = nodes.value(given["weight"]).shape[0]
        stored = nodes.value(node).dtype
        with fake_mode(nodes.value(node)), torch.no_grad():
            operands = packing.made([nodes.value(n) for n in self._inputs])
            converted = nodes.value(source).to(stored)  # as autocast does
            result = _KERNEL(converted, *operands, channels, packing.groups)
            copied = result.contiguous()
        copies = not is_alike(result, nodes.value(last))
        if copies and not is_alike(copied, nodes.value(last)):
            return "its result has a layout of its own"
        further = [None if t is None else self._input(t) for t in operands]
        with self.graph.inserting_before(node):
            if nodes.value(source).dtype != stored:
                source = self.graph.call_method("to", (source, stored))
                self.memory.stands_for(source, node)
                source.meta["example_value"] = converted
            arguments = (source, *further, channels, packing.groups)
            y = self.graph.call_function(_KERNEL, arguments)
            self.memory.stands_for(y, node)
            y.meta["example_value"] = result
            z = y
            if copies:
                z = self.graph.call_method("contiguous", (y,))
                self._copies.append((y, z))
            self.memory.stands_for(z, last)
            z.meta["example_value"] = copied if copies else result
        last.replace_all_uses_with(z)
        for old in dict.fromkeys((last, node, given["input"])):
            if not old.users and (old is not given["input"] or before is not None):
                self.graph.erase_node(old)
        self.packings.append(packing)
        if after is not None:
            path = nodes.module_path(last)
            self.report.left = [item for item in self.report.left if item.where != path]
            self.report.fused.append(Fused(path, "convolution, BatchNorm"))
        return None

    def _after(self, node: Node) -> tuple[Node, NormAt | None]:
        """The norm that is the only reader of a convolution, with its constants.

        Returns:
            The node of the norm and its constants; without such a norm, the convolution and None.
        """
        last = next(iter(node.users)) if len(node.users) == 1 else node
        norm = nodes.norm_arguments(last)
        if norm is None or norm["input"] is not node or not self.memory.in_one_state([node, last]):
            return node, None
        after = self._norm(norm)
        return (node if after is None else last), after

    def _before(self, z: Any, reader: Node) -> tuple[Node, NormAt] | None:
        """The input y and the norm, if z is relu(norm(y)) and this convolution is its only reader."""
        if len(z.users) != 1:
            return None
        op, y = z, None
        if nodes.calls(z, {ops.bn_relu}):
            y = z.args[0]
        elif nodes.calls(z, {operator.getitem}) and nodes.calls(z.args[0], _ALONE) and z.args[1]:
            op = z.args[0]
            y = next((user for user in op.users if user.args[1] == 0), None)
        if y is None or not op.kwargs.get("relu", True):
            return None
        if not self.memory.in_one_state([z, reader]) or not self.memory.unwritten([y], z, reader):
            return None
        norm = self._norm(op.kwargs)
        return None if norm is None else (y, norm)

    def _input(self, fake: Tensor) -> Node:
        """Adds a further input to the graph."""
        with self.graph.inserting_after(self._last):
            self._last = self.graph.placeholder(f"winograd_{len(self.further)}")
        self._last.meta["example_value"] = fake
        self.further.append(fake)
        return self._last

    def _leave_out_norms(self) -> None:
        """Replaces a fused sum and norm by the sum alone, if the result of the norm is not read."""
        for both in [node for node in self.graph.nodes if nodes.calls(node, _ALONE)]:
            if any(user.args[1] for user in both.users):
                continue
            options = {k: v for k, v in both.kwargs.items() if k not in (*_OF_NORM, *_OPTIONS)}
            with self.graph.inserting_before(both):
                y = self.graph.call_function(_ALONE[both.target], both.args, options)
                y.meta = both.meta.copy()
            for part in list(both.users):
                part.replace_all_uses_with(y)
                self.graph.erase_node(part)
            self.graph.erase_node(both)


def _trains(node: Node) -> bool:
    """Whether a step has the argument `training=True`."""
    given = nodes.norm_arguments(node) or node.kwargs
    schema = getattr(getattr(node.target, "default", node.target), "_schema", None)
    if schema is not None:
        given = dict(zip((a.name for a in schema.arguments), node.args, strict=False)) | given
    return given.get("training", argument(node, "training")) is True


def _is_same_size(given: dict[str, Any]) -> bool:
    """Whether a 3x3 convolution has stride 1, dilation 1 and a padding that keeps the size."""

    def pair(name: str) -> Any:
        of = given[name]
        return tuple(of) if isinstance(of, list | tuple) else (of, of)

    padding = (1, 1) if given["padding"] == "same" else pair("padding")
    return pair("stride") == padding == pair("dilation") == (1, 1)
