"""The short way for arguments of a kind seen before: allocate, launch, return.

Checks, choice of tiles and Triton's own look at each argument depend on sizes, strides, dtypes and
alignment alone. The first call of a kind does all that and is noted; later calls repeat what it
allocated and launched, with the compiled kernels themselves, on the tensors of the day.
"""

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_STRIDED = torch.strided
_LIMIT = 4096  # kinds that are remembered per op

Allocation = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]


class NotNoted(Exception):
    """Arguments that the op itself must look at: it will refuse them."""


def kind_of(args: Any, tensors: list[Tensor]) -> tuple:
    """All that the launches of a call depend on; the tensors among the arguments are listed."""
    kind: list[Any] = []
    _extend(kind, args, tensors)
    return tuple(kind)


def _extend(kind: list[Any], args: Any, tensors: list[Tensor]) -> None:
    for a in args:
        if isinstance(a, Tensor):
            if a.layout is not _STRIDED:
                raise NotNoted
            tensors.append(a)
            kind += (a.shape, a.stride(), a.dtype, a.get_device(), a.data_ptr() & 15)
        elif isinstance(a, list):
            kind.append(len(a))
            _extend(kind, a, tensors)
        else:
            kind.append(a)


def _allocator(device: torch.device) -> Callable[..., Tensor]:
    """``empty_strided(size, stride, dtype)`` on the device, which is current; Inductor's short one."""
    own = getattr(torch._C._dynamo.guards, f"_empty_strided_{device.type}", None)
    return own or (lambda *args: torch.empty_strided(*args[:2], dtype=args[2], device=device))


class Tape:
    """Notes one call; its tensors are numbered, those of the caller first."""

    def __init__(self, inputs: list[Tensor], guard: Callable):
        self.tensors = inputs  # kept while it notes, so that each keeps its identity
        self.numbers = {id(t): i for i, t in enumerate(inputs)}
        self.device, self.guard = inputs[0].device, guard
        self.empty = _allocator(self.device)
        self.as_list = self.alone = False
        self.allocations: list[Allocation] = []
        self.launches: list[tuple[Any, tuple, list[tuple[int, int]]]] = []
        self.result: list[int] = []
        self.holds = True  # no launch depends on what the tape does not see

    def number(self, t: Tensor) -> int:
        """Its number; a tensor not seen before was allocated by the call."""
        if id(t) not in self.numbers:
            self.numbers[id(t)] = len(self.tensors)
            self.tensors.append(t)
            self.allocations.append((tuple(t.shape), t.stride(), t.dtype))
        return self.numbers[id(t)]

    def note(self, compiled: Any, grid: tuple[int], args: tuple) -> None:
        if compiled is None:  # the interpreter compiles nothing
            self.holds = False
            return
        places = [(i, self.number(a)) for i, a in enumerate(args) if isinstance(a, Tensor)]
        rest = tuple(None if isinstance(a, Tensor) else a for a in args)
        self.launches.append((compiled[(*grid, 1, 1)], rest, places))

    def finish(self, result: Any) -> None:
        self.result = [self.number(t) for t in ([result] if isinstance(result, Tensor) else result)]
        self.as_list = isinstance(result, list)
        self.alone = isinstance(result, Tensor)
        self.tensors = []

    def play(self, inputs: list[Tensor], moments: bool = True) -> Any:
        """Without ``moments`` None stands for vectors without values."""
        tensors: list[Any] = inputs
        with self.guard(self.device):
            for size, stride, dtype in self.allocations:
                wanted = moments or size != (0,)
                tensors.append(self.empty(size, stride, dtype) if wanted else None)
            for run, rest, places in self.launches:
                args = list(rest)
                for place, number in places:
                    args[place] = tensors[number]
                run(*args)
        if self.alone:
            return tensors[self.result[0]]
        found = [tensors[i] for i in self.result]
        return found if self.as_list else tuple(found)


class _Recording(threading.local):
    tape: Tape | None = None


_state = _Recording()


def tape() -> Tape | None:
    """The one that notes this thread's launches."""
    return _state.tape


def mark_unreplayable() -> None:
    """The call does what a tape does not see, such as a copy or a fill: it is not to be played."""
    if _state.tape is not None:
        _state.tape.holds = False


class Replayed:
    """An op, played from a tape where there is one.

    Args:
        op: Allocates, launches and returns new tensors, and does nothing else.
        guard: Takes a device; a context in which it is current.
        context: What launches depend on besides arguments; None where nothing may be noted.
    """

    def __init__(self, op: Callable, guard: Callable, context: Callable[[], Any]):
        self.op, self.guard, self.context = op, guard, context
        self.tapes: dict[tuple, Tape | None] = {}

    def __call__(self, *args: Any) -> Any:
        extra = self.context()
        if extra is None:
            return self.op(*args)
        tensors: list[Tensor] = []
        try:
            key = (extra, kind_of(args, tensors))
        except NotNoted:
            return self.op(*args)
        known = self.tapes.get(key)
        if known is not None:
            return known.play(tensors)
        # A tensor that is given twice has one number: such a tape would not fit other tensors.
        if key in self.tapes or len({id(t) for t in tensors}) < len(tensors):
            return self.op(*args)
        made = Tape(tensors, self.guard)
        _state.tape = made
        try:
            result = self.op(*args)
        finally:
            _state.tape = None
        if made.holds:
            made.finish(result)
        if len(self.tapes) >= _LIMIT:
            self.tapes.clear()
        self.tapes[key] = made if made.holds else None
        return result

    def find(self, args: Any) -> tuple[Tape, list[Tensor]] | None:
        """The tape for these arguments and the tensors among them; None for the first of a kind."""
        extra = self.context()
        if extra is None:
            return None
        tensors: list[Tensor] = []
        try:
            known = self.tapes.get((extra, kind_of(args, tensors)))
        except NotNoted:
            return None
        return None if known is None else (known, tensors)
