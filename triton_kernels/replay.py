"""Tapes: a faster path for calls whose arguments are of a kind that was seen before.

The checks, the choice of tiles and Triton's inspection of each argument depend only on sizes, strides,
dtypes and alignment. The first call with a kind of arguments does all of this and is recorded on a
tape. Later calls only repeat its allocations and launches of compiled kernels, with new tensors.
"""

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_STRIDED = torch.strided
_LIMIT = 4096  # the most kinds per op that are recorded

Allocation = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]


class NotNoted(Exception):
    """The arguments cannot be recorded: the op itself must check and refuse them."""


def kind_of(args: Any, tensors: list[Tensor]) -> tuple:
    """The properties of arguments that the launches of a call depend on.

    Args:
        args: the arguments.
        tensors: the tensors among them are appended to this list.

    Raises:
        NotNoted: a tensor is not strided.
    """
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
    """``empty_strided(size, stride, dtype)`` on the current device; Inductor's faster one if present."""
    own = getattr(torch._C._dynamo.guards, f"_empty_strided_{device.type}", None)
    return own or (lambda *args: torch.empty_strided(*args[:2], dtype=args[2], device=device))


class Tape:
    """Records one call, and plays it with other tensors. Tensors are numbered, inputs first.

    Args:
        inputs: the tensors among the arguments.
        guard: gives a context in which a device is the current one.
    """

    def __init__(self, inputs: list[Tensor], guard: Callable):
        self.tensors = inputs  # kept alive during the recording, so that their ids stay unique
        self.numbers = {id(t): i for i, t in enumerate(inputs)}
        self.device, self.guard = inputs[0].device, guard
        self.empty = _allocator(self.device)
        self.as_list = self.alone = False
        self.allocations: list[Allocation] = []
        self.launches: list[tuple[Any, tuple, list[tuple[int, int]]]] = []
        self.result: list[int] = []
        self.holds = True  # False if the call did something that the tape does not record

    def number(self, t: Tensor) -> int:
        """The number of a tensor. A tensor that is not known yet was allocated by the call."""
        if id(t) not in self.numbers:
            self.numbers[id(t)] = len(self.tensors)
            self.tensors.append(t)
            self.allocations.append((tuple(t.shape), t.stride(), t.dtype))
        return self.numbers[id(t)]

    def note(self, compiled: Any, grid: tuple[int], args: tuple) -> None:
        """Records a launch."""
        if compiled is None:  # the interpreter compiles nothing
            self.holds = False
            return
        places = [(i, self.number(a)) for i, a in enumerate(args) if isinstance(a, Tensor)]
        rest = tuple(None if isinstance(a, Tensor) else a for a in args)
        self.launches.append((compiled[(*grid, 1, 1)], rest, places))

    def finish(self, result: Any) -> None:
        """Records the result of the call, and releases its tensors."""
        self.result = [self.number(t) for t in ([result] if isinstance(result, Tensor) else result)]
        self.as_list = isinstance(result, list)
        self.alone = isinstance(result, Tensor)
        self.tensors = []

    def play(self, inputs: list[Tensor], moments: bool = True) -> Any:
        """Repeats the recorded call.

        Args:
            inputs: the tensors among the arguments; allocated tensors are appended.
            moments: False gives None in place of vectors without values.

        Returns:
            The result of the op for these tensors.
        """
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
    """The tape that records the launches of this thread, or None."""
    return _state.tape


def mark_unreplayable() -> None:
    """Marks the current call as one that a tape cannot repeat, because it copies or fills a tensor."""
    if _state.tape is not None:
        _state.tape.holds = False


class Replayed:
    """An op that is played from a tape if there is one for its arguments.

    Args:
        op: a function that only allocates tensors, launches kernels and returns new tensors.
        guard: gives a context in which a device is the current one.
        context: gives the state that launches depend on besides the arguments; None if nothing may be
            recorded.
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
        # A tensor that is given twice would get one number, and the tape would not fit two tensors.
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
        """The tape for these arguments, and the tensors among them; None if there is no tape."""
        extra = self.context()
        if extra is None:
            return None
        tensors: list[Tensor] = []
        try:
            known = self.tapes.get((extra, kind_of(args, tensors)))
        except NotNoted:
            return None
        return None if known is None else (known, tensors)
