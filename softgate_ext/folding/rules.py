"""What a graph of inference can do without: each rule takes a network and leaves an equal one."""

import inspect
import operator
from types import NoneType
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node
from torch.nn import functional as F

from softgate_ext import ops
from softgate_ext.folding.norm import ImageNorm, ScaleShift, scale_and_shift
from softgate_ext.folding.pool import max_pool_by_2
from softgate_ext.graphs.memory import Memory
from softgate_ext.graphs.norms import activation_within, relu_within
from softgate_ext.nn.norm import has_hooks, is_fusable

_NORM_OPS: tuple[Any, ...] = (
    ops.bn_relu,  # type: ignore[has-type]  # mypy infers no decorated type within the package's cycle
    ops.gated_residual_bn_relu,  # type: ignore[has-type]
    ops.skip_merge_bn_relu,  # type: ignore[has-type]
)
_NORM_NAMES = (
    "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps", "relu",
)  # fmt: skip
_ADD = (operator.add, operator.iadd, torch.add)
_RELU = (F.relu, torch.relu)


class Rules:
    """Rewrites a graph and the modules that it calls, in place.

    Args:
        root: the network, in evaluation mode; its norms and convolutions are replaced.
        graph: of its forward.
        dtype: of its activations, where they are to have another than they have.
    """

    def __init__(self, root: nn.Module, graph: Graph, dtype: torch.dtype | None):
        self.root = root
        self.graph = graph
        self.dtype = dtype
        self.originals = dict(root.named_modules())
        self.modules = self.originals.copy()
        self.replaced: set[Node] = set()
        # Owners of tensors that are read by more than norms: their names stay theirs.
        self.kept = {
            str(node.target).rpartition(".")[0]
            for node in graph.nodes
            if node.op == "get_attr" and any(u.target not in _NORM_OPS for u in node.users)
        }

    def run(self) -> None:
        """All rules, in an order in which one finds what another has left."""
        rules = (
            self.plain_norm, self.image_norm, self.norm, self.norm_of_conv, self.two_convs, self.pool,
        )  # fmt: skip
        for rule in rules:
            for node in list(self.graph.nodes):
                if node.users:
                    rule(node)
            self._clean_up()

    def plain_norm(self, node: Node) -> None:
        """A BatchNorm2d that the network calls by itself, and a ReLU behind it, are `bn_relu`."""
        norm = self.originals.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(norm, nn.BatchNorm2d):
            return
        within = activation_within(norm)
        if within is None and not is_fusable(norm):
            return
        if norm.running_mean is None or norm.running_var is None:
            return
        reader = self._reader(node)
        relu = reader if within is None and reader and self._is_relu(reader) else None
        ends = relu is not None or bool(relu_within(norm))
        inputs = node.args or tuple(node.kwargs.values())
        scale, shift = scale_and_shift(
            norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.eps
        )
        dtype = self.dtype or norm.running_mean.dtype
        folded = ScaleShift(ops.bn_relu, scale, shift, ends, dtype)
        new = self._replace(node, folded, str(node.target), inputs)
        if relu is not None:
            self._forget(relu, new)
        if within is not None and relu_within(norm) is None:
            self._follow(new, within)

    def image_norm(self, node: Node) -> None:
        """`(x - mean) / std` with buffers of (1, C, 1, 1) is one scale and shift."""
        if node.op != "call_function" or node.target is not operator.truediv:
            return
        difference, std = node.args[0], self._channels(node.args[1])
        if not isinstance(difference, Node) or difference.target is not operator.sub:
            return
        image, mean = difference.args[0], self._channels(difference.args[1])
        if std is None or mean is None or std.numel() != mean.numel():
            return
        if not isinstance(image, Node) or len(difference.users) > 1:
            return
        constants: tuple[Any, ...] = (difference.args[1], node.args[1])
        memory = self._memory()
        if not memory.unwritten([image], difference, node) or memory.is_written(*constants):
            return
        self.replaced.add(difference)
        scale = 1 / std.double()
        folded = ImageNorm(scale, -mean.double() * scale, self.dtype or mean.dtype)
        self._replace(node, folded, f"{node.name}_norm", (image,))

    def norm(self, node: Node) -> None:
        """An op's batch norm, with running statistics, is a scale and a shift."""
        if node.op != "call_function" or node.target not in _NORM_OPS:
            return
        op: Any = node.target
        call = inspect.signature(op).bind(*node.args, **node.kwargs)
        call.apply_defaults()
        rest = call.arguments
        *vectors, training, _, eps, relu = (rest.pop(name) for name in _NORM_NAMES)
        if training or not all(v is None or v.op == "get_attr" for v in vectors):
            return
        if self._memory().is_written(*vectors):
            return
        owner = str(vectors[0].target).rpartition(".")[0]
        mean, var, weight, bias = (None if v is None else self._attribute(v) for v in vectors)
        assert mean is not None and var is not None  # as the op asks for in evaluation
        scale, shift = scale_and_shift(mean, var, weight, bias, eps)
        folded = ScaleShift(op, scale, shift, relu, self.dtype or mean.dtype)
        named = isinstance(self.originals[owner], nn.BatchNorm2d | nn.SyncBatchNorm)
        inputs = tuple(rest.pop(n) for n in list(rest)[: 1 if len(rest) == 1 else 3])
        self._replace(node, folded, owner if named else node.name, inputs, rest)

    def norm_of_conv(self, node: Node) -> None:
        """A norm that alone reads a convolution is part of its weights."""
        norm = self._module(node, ScaleShift)
        if norm is None or norm.op is not ops.bn_relu:
            return
        source: Any = node.args[0]
        conv = self._own_conv(source)
        if conv is None or self._reader(source) is not node:
            return
        with torch.no_grad():
            bias = norm.shift.double()
            if conv.bias is not None:
                bias = bias + conv.bias.double() * norm.scale.double()
            weight = conv.weight.double() * norm.scale.double().view(-1, 1, 1, 1)
            self._set_weights(conv, weight, bias)
        if not norm.relu:
            self._forget(node, source)
            return
        with self.graph.inserting_after(node):
            relu = self.graph.call_function(F.relu, (source,))
        self._forget(node, relu)

    def two_convs(self, node: Node) -> None:
        """`A(x) + B(C(x))` of 1x1 convolutions is one, `A + BC`: the heatmaps' way back."""
        plain = node.op == "call_function" and node.target in _ADD and not node.kwargs
        if not plain or len(node.args) != 2:
            return
        pair: tuple[Any, ...] = node.args
        for direct, outer in (pair, pair[::-1]):
            a, b = self._pointwise(direct, node), self._pointwise(outer, node)
            if a is None or b is None or a.out_channels != b.out_channels:
                continue
            inner = outer.args[0]
            c = self._pointwise(inner)
            if c is None or inner.args[0] is not direct.args[0]:
                continue
            # Both read the same, and what leads back reads the heatmaps as they came.
            memory = self._memory()
            first, last = sorted((direct, inner), key=memory.place.__getitem__)
            if not memory.unwritten([inner.args[0]], first, last):
                continue
            if not memory.unwritten([inner], inner, outer):
                continue
            with torch.no_grad():
                wa, wb, wc = (conv.weight.double().flatten(1) for conv in (a, b, c))
                bias = sum(m.bias.double() for m in (a, b) if m.bias is not None)
                if c.bias is not None:
                    bias = bias + wb @ c.bias.double()
                bias = bias + wa.new_zeros(len(wa))
                self._set_weights(a, (wa + wb @ wc).view_as(a.weight), bias)
            self._forget(node, direct)
            self.replaced.add(outer)
            return

    def pool(self, node: Node) -> None:
        """Max pooling by 2 needs no record of where each maximum was, which PyTorch's writes."""
        if node.op != "call_function" or node.target is not F.max_pool2d or len(node.args) != 2:
            return
        given = {k: v for k, v in node.kwargs.items() if v not in (None, 0, False)}
        if node.args[1] != 2 or given not in ({}, {"dilation": 1}, {"stride": 2, "dilation": 1}):
            return
        with self.graph.inserting_before(node):
            pooled = self.graph.call_function(max_pool_by_2, node.args[:1])
        pooled.meta["is_wrapped"] = True  # a step of the graph wherever that is traced
        self._forget(node, pooled)

    def _module(self, node: Any, kind: type) -> Any:
        """The module of exactly this kind, without hooks, that a node calls with one argument."""
        if not isinstance(node, Node) or node.op != "call_module":
            return None
        if len(node.args) != 1 or node.kwargs:
            return None
        module = self.modules[str(node.target)]
        return module if type(module) is kind and not has_hooks(module) else None  # type: ignore[arg-type]

    def _own_conv(self, node: Any) -> nn.Conv2d | None:
        """The convolution that a node, and no other, calls, and whose weights nobody else reads."""
        conv = self._module(node, nn.Conv2d)
        if conv is None:
            return None
        for other in self.graph.nodes:
            if other.op == "call_module" and other is not node:
                shared = self.modules[str(other.target)] is conv
            elif other.op == "get_attr":
                owner = self.modules[str(other.target).rpartition(".")[0]]
                shared = owner is conv and any(user.target is not getattr for user in other.users)
            else:
                continue
            if shared:
                return None
        return conv

    def _pointwise(self, node: Any, reader: Node | None = None) -> nn.Conv2d | None:
        """The plain 1x1 convolution of a node; with `reader`, of one that is nobody else's."""
        conv = self._module(node, nn.Conv2d) if reader is None else self._own_conv(node)
        if conv is None or (reader is not None and self._reader(node) is not reader):
            return None
        one = conv.kernel_size == conv.stride == (1, 1) and conv.padding in ((0, 0), "valid")
        return conv if one and conv.groups == 1 else None

    def _reader(self, node: Node) -> Node | None:
        """The one node that reads this one's result."""
        return next(iter(node.users)) if len(node.users) == 1 else None

    def _is_relu(self, node: Node) -> bool:
        if node.op == "call_function":
            return node.target in _RELU
        return self._module(node, nn.ReLU) is not None

    def _attribute(self, node: Node) -> Tensor:
        owner, _, name = str(node.target).rpartition(".")
        value: Tensor = getattr(self.originals[owner], name)
        return value

    def _channels(self, node: Any) -> Tensor | None:
        """The values of a node that holds one per channel, (C,)."""
        if not isinstance(node, Node) or node.op != "get_attr":
            return None
        value = self._attribute(node)
        fits = value.dim() == 4 and value.shape[0] == value.shape[2] == value.shape[3] == 1
        return value.flatten() if fits else None

    def _set_weights(self, conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
        dtype = conv.weight.dtype
        conv.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
        conv.bias = nn.Parameter(bias.to(dtype), requires_grad=False)

    def _replace(
        self,
        node: Node,
        module: nn.Module,
        name: str,
        inputs: tuple[Any, ...],
        options: dict[str, Any] | None = None,
    ) -> Node:
        """A module in place of a node; under the name of the norm that it was, if that is free."""
        base, number = name, 0
        norms = (nn.BatchNorm2d, nn.SyncBatchNorm)
        while name in self.kept or not isinstance(self.modules.get(name), (*norms, NoneType)):
            number += 1
            name = f"{base}_{number}"
        self.root.set_submodule(name, module)
        self.modules[name] = module
        with self.graph.inserting_before(node):
            new = self.graph.call_module(name, inputs, options)
        self._forget(node, new)
        return new

    def _follow(self, node: Node, module: nn.Module) -> None:
        """Has whoever reads a node read a module's result on it."""
        name = f"{node.target}_act"
        self.root.set_submodule(name, module)
        self.modules[name] = module
        with self.graph.inserting_after(node):
            new = self.graph.call_module(name, (node,))
        node.replace_all_uses_with(new, lambda user: user is not new)

    def _memory(self) -> Memory:
        return Memory(self.graph, dict(self.root.named_modules(remove_duplicate=False)))

    def _forget(self, node: Node, new: Node) -> None:
        node.replace_all_uses_with(new)
        self.replaced.add(node)

    def _clean_up(self) -> None:
        """Drops what was replaced, and what only that has read."""
        for node in reversed(list(self.graph.nodes)):
            if not node.users and (node in self.replaced or node.op == "get_attr"):
                self.graph.erase_node(node)
