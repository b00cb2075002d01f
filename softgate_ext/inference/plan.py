"""Forward plans: a forward pass for one input shape as a list of kernel calls in planned memory.

A network of hundreds of small ops spends a third of its time between the ops: in modules, in the
dispatcher, and in new memory that the system clears page by page. All of this depends on the shape
alone. A forward pass is therefore recorded once. Every activation gets a place in one arena, in which
activations that do not live at the same time share memory. Later passes only call the kernels.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from softgate_ext.inference.forms import is_known
from softgate_ext.inference.weights import ScaleShift
from softgate_ext.inference.winograd import PointConv, WinogradConv
from softgate_ext.nn.norm import ON_ALL_MODULES, Deferred
from softgate_ext.ops import backend
from softgate_ext.ops.eager import is_watched, wants_gradient

KEPT = 2  # plans per network and thread, for example for a full batch and for a smaller last one
_PLAIN = (nn.Conv2d, nn.Identity, ScaleShift, Deferred, WinogradConv, PointConv)
_ALIGNED = 64  # bytes: a cache line, and the widest vector

Call = tuple[Any, tuple[Any, ...], dict[str, Any], Any]  # op, arguments, results


class _Recorder(TorchDispatchMode):
    """Records the ops of a forward pass with their arguments and results, and keeps these alive."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # with True, PyTorch imports its compiler, which takes seconds

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = op(*args, **(kwargs or {}))
        self.calls.append((op, args, kwargs or {}, result))
        return result


class Unplannable(Exception):
    """An op of the network has no variant that writes into given memory."""


class ForwardPlan:
    """The kernel calls of `network(x)`, for any x of one shape.

    Args:
        network: takes x alone, and runs the same ops for every x of this shape.
        x: (N, C, H, W), float32 or bfloat16, on the CPU.

    Attributes:
        arena: the memory of all activations, (bytes,) uint8.
        steps: the calls in their order.

    Raises:
        Unplannable: an op of the network has no variant that writes into given memory.
    """

    def __init__(self, network: nn.Module, x: Tensor):
        self._input = x.clone(memory_format=torch.channels_last)
        with _Recorder() as recorder:
            results = network(self._input)
        calls = _repeated(recorder.calls)
        places, size = _laid_out(calls, tree_leaves(results))
        self.arena = torch.empty(size, dtype=torch.uint8)

        def placed(value: Any) -> Any:
            place = places.get(_storage(value)) if isinstance(value, Tensor) else None
            if place is None:
                return value
            offset = place // value.element_size() + value.storage_offset()
            empty = torch.empty(0, dtype=value.dtype)
            return empty.set_(self.arena.untyped_storage(), offset, value.size(), value.stride())

        self.steps = [
            _step(op, tree_map(placed, args), tree_map(placed, kwargs), tree_map(placed, result))
            for op, args, kwargs, result in calls
        ]
        self._results = tree_map(placed, results)

    def __call__(self, x: Tensor) -> Any:
        """The result of the network for x, copied out of the arena."""
        self._input.copy_(x)
        for step in self.steps:
            step()
        return tree_map(torch.clone, self._results)


def _storage(t: Tensor) -> int:
    return t.untyped_storage()._cdata


def _tensors(value: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


def _is_view(args: Any, result: Any) -> bool:
    of = {_storage(t) for t in _tensors(args)}
    return all(_storage(t) in of for t in _tensors(result))


def _repeated(calls: list[Call]) -> list[Call]:
    """The calls to repeat in every pass: those that read tensors, except those that make views.

    Calls that read weights alone are repeated too, because a weight may change.
    """
    found = []
    for call in calls:
        op, args, kwargs, result = call
        reads = next(_tensors((args, kwargs)), None) is not None
        if reads and (op._schema.is_mutable or not _is_view(args, result)):
            found.append(call)
    return found


def _laid_out(calls: list[Call], results: list[Tensor]) -> tuple[dict[int, int], int]:
    """The offset of each storage that the calls make, and the size of the arena, in bytes.

    A storage gets the lowest gap that it fits into between the storages alive at that time. Memory that
    was used last is thus used again first, while it is still in the cache.
    """
    last = {_storage(t): i for i, call in enumerate(calls) for t in _tensors(call[1:])}
    last |= {_storage(t): len(calls) for t in results}
    alive: list[tuple[int, int, int]] = []  # first byte, end, storage; in order of the first byte
    places: dict[int, int] = {}
    size = 0
    for i, (*_, result) in enumerate(calls):
        for t in _tensors(result):
            wanted = -(-t.untyped_storage().nbytes() // _ALIGNED) * _ALIGNED
            first = 0
            for begin, end, _other in alive:
                if begin - first >= wanted:
                    break
                first = end
            if wanted:
                places[_storage(t)] = first
                alive = sorted([*alive, (first, first + wanted, _storage(t))])
                size = max(size, first + wanted)
        alive = [one for one in alive if last[one[2]] > i]
    return places, size


def _step(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Callable[[], Any]:
    """A function that runs the op and writes into `result`.

    Raises:
        Unplannable: the op has no variant that does so.
    """
    if op.namespace == "softgate":
        kernel = getattr(backend.extension(), op._schema.name.split("::")[1])
        return partial(kernel, *args, **kwargs, out=[t for t in _tensors(result) if t.numel()])
    names = (f"{op._overloadname}_out", "out")
    into = next(
        (getattr(op.overloadpacket, n) for n in names if hasattr(op.overloadpacket, n)), None
    )
    if op._schema.is_mutable or into is None or not isinstance(result, Tensor):
        raise Unplannable(str(op))
    # The out variant takes dtype and layout from `result` and has no arguments for them.
    taken = {argument.name for argument in into._schema.arguments}
    if (kwargs.keys() - taken) - {"dtype", "layout", "device", "pin_memory"}:
        raise Unplannable(str(op))
    given = {name: value for name, value in kwargs.items() if name in taken}
    return partial(into, *args, **given, out=result)


class ForwardPlans:
    """The plans of a network by the shape and dtype of the input, for one thread.

    It holds the dictionaries of the modules and not the network, so that the network can be freed.
    """

    def __init__(self, network: nn.Module):
        self._look_at(network)

    def _look_at(self, network: nn.Module) -> None:
        modules = [*network.modules()]
        self._own = [vars(m) for m in modules]
        self._hooks = [h for m in modules for h in (m._forward_hooks, m._forward_pre_hooks)]
        self._children = [m._modules for m in modules if m._modules]
        self._tensors = [d for m in modules for d in (m._parameters, m._buffers) if d]
        self._state = self._now()
        self._unplannable = not can_be_planned(network)
        self._seen: OrderedDict[tuple[torch.Size, torch.dtype], ForwardPlan | None] = OrderedDict()

    def find(self, network: nn.Module, x: Tensor) -> ForwardPlan | None:
        """The plan for inputs like x, or None. It is made when a shape comes for the second time."""
        if self._state != self._now():
            self._look_at(network)
        if self._unplannable or any(self._hooks) or any(ON_ALL_MODULES):
            return None
        if any("forward" in own for own in self._own):
            return None
        if wants_gradient(t for held in self._tensors for t in held.values()):
            return None
        kind = x.shape, x.dtype
        if kind not in self._seen:
            self._seen[kind] = None
            while len(self._seen) > KEPT:
                self._seen.popitem(last=False)
            return None
        self._seen.move_to_end(kind)
        if self._seen[kind] is None:
            try:
                with torch.inference_mode(False), torch.no_grad():
                    self._seen[kind] = ForwardPlan(network, x)
            except Unplannable:
                self._unplannable = True
                return None
        return self._seen[kind]

    def _now(self) -> list[Any]:
        """The facts that a plan relies on: the modules, and the addresses of their tensors.

        The list holds the modules themselves and not their addresses, because a new module may get the
        address of a freed one.
        """
        found: list[Any] = [child for children in self._children for child in children.values()]
        for held in self._tensors:
            for t in held.values():
                if t is not None:
                    found += t.data_ptr(), t.stride()
        return found


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.plans: WeakKeyDictionary[nn.Module, ForwardPlans] = WeakKeyDictionary()


_of_thread = _OfThread()


def plan_for(network: nn.Module, x: Any) -> ForwardPlan | None:
    """This thread's plan for inputs like x, or None if the network must be called without a plan.

    It must be called itself if a compiler, a mode or autograd needs to see its ops.
    """
    if type(x) is not Tensor or x.device.type != "cpu":
        return None
    if x.dtype not in (torch.float32, torch.bfloat16):
        return None
    if x.dim() != 4 or x.numel() == 0 or (torch.is_grad_enabled() and x.requires_grad):
        return None
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu") or is_watched():
        return None
    if backend.is_transformed() or backend.serving("cpu") != "cpu":
        return None
    if network not in _of_thread.plans:
        _of_thread.plans[network] = ForwardPlans(network)
    return _of_thread.plans[network].find(network, x)


def can_be_planned(network: nn.Module) -> bool:
    """Whether all forwards of a network are known, and so depend on the shape of the input alone."""
    return all(
        is_known(m) or (type(m) in _PLAIN and "forward" not in vars(m)) for m in network.modules()
    )
