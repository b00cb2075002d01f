"""Which arguments of a forward its graph takes, and which have to have their defaults."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_PLAIN = (bool, int, float, complex, str, bytes)


class Arguments:
    """The arguments of a forward.

    A graph cannot ask whether an optional argument was given, so it is traced with its default and
    serves the calls that leave it there.

    Args:
        forward: the bound method.

    Attributes:
        tensors: whether the graph stands for calls with tensors alone; False until said.
        taken: names of those without a default, which the graph takes by position.
        fixed: those with a default, and the default.
    """

    def __init__(self, forward: Callable[..., Any]):
        self.tensors = False
        parameters = inspect.signature(forward).parameters.values()
        self.fixed = {p.name: p.default for p in parameters if p.default is not p.empty}
        self.positional = [p.name for p in parameters if p.kind in _POSITIONAL]
        self.collects = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        keyword = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        self.taken = [n for n in (*self.positional, *keyword) if n not in self.fixed]
        self.known = {*self.positional, *keyword}

    def match(self, args: tuple[Any, ...], options: Mapping[str, Any]) -> list[Any] | str:
        """The values of `taken`, and what `*args` collects, for a call; or why it has no graph."""
        given = dict(zip(self.positional, args, strict=False))
        rest = args[len(self.positional) :]
        if rest and not self.collects:
            return f"takes {len(self.positional)} arguments by position, got {len(args)}"
        for name, value in options.items():
            if name in given or name not in self.known:
                return f"got an argument {name!r} {'twice' if name in given else 'that it has not'}"
            given[name] = value
        for name, default in self.fixed.items():
            if name in given and not _is_same(given[name], default):
                return f"{name} must be {default!r}, with which it was traced, got {given[name]!r}"
        missing = [name for name in self.taken if name not in given]
        if missing:
            return f"{missing[0]} must be given"
        values = [*(given[name] for name in self.taken), *rest]
        for value in values if self.tensors else ():
            if not isinstance(value, Tensor):
                return f"takes tensors, with which it was traced, got {type(value).__name__}"
        return values


def _is_same(value: Any, default: Any) -> bool:
    if value is default:
        return True
    return type(value) is type(default) and isinstance(value, _PLAIN) and value == default
