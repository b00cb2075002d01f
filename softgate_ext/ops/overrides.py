"""The decorator that lets torch.fx and tensor subclasses see a public op as one call."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from torch.overrides import handle_torch_function, has_torch_function

P = ParamSpec("P")
R = TypeVar("R")


def overridable(function: Callable[P, R]) -> Callable[P, R]:
    """Passes a call to `__torch_function__` if one of the arguments defines it.

    The functions of `torch.nn.functional` do the same. A tracer of torch.fx then records the call
    as one node, a subclass of Tensor may replace it, and a TorchFunctionMode sees it.
    """

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        given = (*args, *options.values()) if options else args
        if has_torch_function(given):
            return handle_torch_function(call, given, *args, **options)
        return function(*args, **options)

    return call
