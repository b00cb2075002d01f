"""Functions that torch.fx, and whatever else speaks PyTorch's protocol, sees as one step."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from torch.overrides import handle_torch_function, has_torch_function

P = ParamSpec("P")
R = TypeVar("R")


def overridable(function: Callable[P, R]) -> Callable[P, R]:
    """Hands a call over to `__torch_function__` where one of its arguments has its own.

    As the functions of `torch.nn.functional` do: any tracer of torch.fx records the call whole, a
    subclass of Tensor may answer it, and a TorchFunctionMode sees it.
    """

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        given = (*args, *options.values()) if options else args
        if has_torch_function(given):
            return handle_torch_function(call, given, *args, **options)
        return function(*args, **options)

    return call
