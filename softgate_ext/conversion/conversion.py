"""`convert`: a model of anybody's, with its own modules and our ops."""

import copy
import functools
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.fx import GraphModule

from softgate_ext.conversion.report import Left, Report
from softgate_ext.conversion.rewrite import Rewriter
from softgate_ext.conversion.trace import Untraceable, is_ours, shallow_copy, trace
from softgate_ext.errors import InputError
from softgate_ext.graphs.arguments import Arguments
from softgate_ext.graphs.guards import Guards

# Where a converted module has what its graph takes for granted.
_GUARDS = "_softgate_guards"


def convert(model: nn.Module) -> tuple[nn.Module, Report]:
    """Replaces chains of add, BatchNorm2d and ReLU by fused ops, wherever they are found.

    Before the addition there may be a scale per channel, a concatenation of up to four branches or
    nearest 2x upsampling; each part but one may be missing. What is changed in place between its
    parts is left. The model is traced by torch.fx; where that fails, its children are, each by
    itself. Where tensors turn out to broadcast or to be of several dtypes, and where a norm is
    exchanged later, the unfused ops run; the model's own forward runs where a block gets a hook
    later and where an optional argument of the forward is not at its default.

    Args:
        model: any module. It stays as it is and usable, but the converted model shares its
            submodules, parameters and buffers: one state_dict, one training mode. Deep-copy it
            first for two that are independent.

    Returns:
        The converted model, of the model's class (or `model` itself where nothing was found), and a
        report of what was done and what was left, and why.

    Raises:
        InputError: `model` is not a module.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    report = Report()
    return _convert(model, "", report, {}), report


def _convert(
    module: nn.Module, prefix: str, report: Report, done: dict[int, nn.Module]
) -> nn.Module:
    if id(module) not in done:
        done[id(module)] = _convert_once(module, prefix, report, done)
    return done[id(module)]


def _convert_once(
    module: nn.Module, prefix: str, report: Report, done: dict[int, nn.Module]
) -> nn.Module:
    children = dict(module.named_children())
    if not children or is_ours(module):
        return module
    result = shallow_copy(module)
    try:
        traced = trace(result)
    except Untraceable as error:
        if not isinstance(module, nn.ModuleList | nn.ModuleDict):
            report.left.append(Left(prefix[:-1] or "(model)", f"{error}; its children are tried"))
        for name, child in children.items():
            result._modules[name] = _convert(child, f"{prefix}{name}.", report, done)
        changed = any(result._modules[name] is not child for name, child in children.items())
        return result if changed else module
    own: set[int] = set()
    for path in sorted(traced.kept):
        child = module.get_submodule(path)
        converted = _convert(child, f"{prefix}{path}.", report, done)
        if converted is not child:
            _put(result, path, converted, own)
    found = Rewriter(result, traced.graph, prefix).run()
    report.changed += found.changed
    report.left += found.left
    if not found.changed:
        return result if own else module
    fused = type(GraphModule(result, traced.graph)).forward
    kind = type(module)
    contents = {
        "forward": _forward(kind.forward, fused, traced.arguments),
        "fused_forward": fused,
        "arguments": traced.arguments,
    }
    result.__dict__[_GUARDS] = Guards(result, map(result.get_submodule, traced.inlined))
    result.__class__ = type(kind.__name__, (Converted, kind), contents)
    return result


def _put(root: nn.Module, path: str, module: nn.Module, own: set[int]) -> None:
    """A module in place of another deep in `root`; `own` are the copies of those above, by id."""
    *above, name = path.split(".")
    parent = root
    for step in above:
        child = parent.get_submodule(step)
        if id(child) not in own:
            child = shallow_copy(child)
            own.add(id(child))
            parent._modules[step] = child
        parent = child
    own.add(id(module))
    parent._modules[name] = module


def _forward(
    own: Callable[..., Any], fused: Callable[..., Any], arguments: Arguments
) -> Callable[..., Any]:
    """The fused forward where it does what the model's own does, else that."""

    @functools.wraps(own)
    def forward(self: nn.Module, *args: Any, **options: Any) -> Any:
        values = arguments.match(args, options)
        guards = self.__dict__.get(_GUARDS)  # a slice of a Sequential is of its class and has none
        if isinstance(values, str) or guards is None or not guards.hold():
            return own(self, *args, **options)
        return fused(self, *values)

    return forward


class Converted(nn.Module):
    """Base of the classes that `convert` makes; they are made anew wherever they are unpickled.

    Attributes:
        fused_forward: the graph's code.
        arguments: which of the forward's it takes.
    """

    fused_forward: Callable[..., Any]
    arguments: Arguments

    def __deepcopy__(self, memo: dict[int, Any]) -> "Converted":
        result = object.__new__(type(self))
        memo[id(self)] = result
        result.__dict__ = copy.deepcopy(self.__dict__, memo)
        return result

    def __reduce__(self) -> tuple[Any, ...]:
        original = shallow_copy_as(self, type(self).__mro__[2])
        return _convert_whole, (original,)


def shallow_copy_as(module: nn.Module, kind: type[nn.Module]) -> nn.Module:
    """The module as one of another class, with the same contents."""
    result = object.__new__(kind)
    result.__dict__ = {name: value for name, value in vars(module).items() if name != _GUARDS}
    return result


def _convert_whole(module: nn.Module) -> nn.Module:
    return convert(module)[0]
