"""What a traced forward took for granted of its modules, and whether it still is so."""

from collections.abc import Iterable, Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from softgate_ext.nn.norm import has_hooks

_PLAIN = (bool, int, float, complex, str, bytes, tuple)
_NOTHING = object()


class Guards:
    """A graph repeats what the forwards did for these attributes, these children and no hooks.

    Norms may be exchanged: what calls them looks at what they are.

    Args:
        root: the module whose forward is the graph.
        inlined: those whose forward became part of it.
    """

    def __init__(self, root: nn.Module, inlined: Iterable[nn.Module]):
        self.inlined = list(inlined)
        modules = [root, *self.inlined]
        self.values = [
            (module, name, vars(module)[name])
            for module in modules
            for name in sorted(_names(module) & vars(module).keys() - {"training"})
        ]
        self.children = [
            (module, len(module._modules), list(_children(module))) for module in modules
        ]

    def hold(self) -> bool:
        """Whether the graph is still what the forwards do."""
        for module in self.inlined:
            if has_hooks(module):
                return False
        for module, name, value in self.values:
            now = module.__dict__.get(name, _NOTHING)
            if now is not value and not _equal(now, value):
                return False
        for module, count, children in self.children:
            if len(module._modules) != count:
                return False
            for name, child in children:
                if module._modules.get(name) is not child:
                    return False
        return True


def _children(module: nn.Module) -> Iterator[tuple[str, nn.Module | None]]:
    return ((n, m) for n, m in module._modules.items() if not isinstance(m, _BatchNorm))


def _equal(now: Any, value: Any) -> bool:
    return type(now) is type(value) and isinstance(value, _PLAIN) and bool(now == value)


def _names(module: nn.Module) -> set[str]:
    """Names that the forward reads, and what it calls by name: methods and plain functions."""
    names: set[str] = set()
    functions: list[Any] = [type(module).forward]
    seen: set[CodeType] = set()
    while functions:
        function = functions.pop()
        function = function.fget if isinstance(function, property) else function
        if not isinstance(function, FunctionType) or function.__code__ in seen:
            continue
        seen.add(function.__code__)
        read = _read(function.__code__)
        names |= read
        for scope in (vars(module), *_scopes(type(module)), function.__globals__):
            functions += [scope[name] for name in read & scope.keys() if _is_own(scope[name])]
    return names


def _scopes(kind: type[nn.Module]) -> Iterator[Mapping[str, Any]]:
    return (vars(base) for base in kind.__mro__ if base not in (nn.Module, object))


def _is_own(value: Any) -> bool:
    """Whether a function is none of PyTorch's, which read nothing of a model's."""
    return getattr(value, "__module__", None) is None or not value.__module__.startswith("torch.")


def _read(code: CodeType) -> set[str]:
    """Names in a function's code, and in the functions within it."""
    inner = (_read(c) for c in code.co_consts if isinstance(c, CodeType))
    return set(code.co_names).union(*inner)
