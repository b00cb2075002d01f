"""The compiled kernels. Use softgate_ext.ops instead."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

def build_info() -> dict[str, Any]: ...
def force_variant(name: str, /) -> None: ...  # only where build_info()["cuda"] is a version
def serve(op: str, /) -> None: ...
def update_running(
    mean: Tensor,
    var: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    calls: Tensor | None,
    momentum: float | None,
    count: int,
    /,
) -> bool: ...  # False: nothing was done
def predictions(
    backward: bool,
    size: tuple[int, int, int, int],
    itemsize: int,
    channels_last: bool,
    split: Sequence[int],
    low_channels: int,
    concat: bool,
    device: dict[str, float],
) -> list[dict[str, Any]]: ...
def winograd_conv3x3(
    x: Tensor,
    weight: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    bias: Tensor | None,
    channels: int,
    groups: int,
    out: list[Tensor],
) -> Tensor: ...
def __getattr__(op: str) -> Callable[..., Any]: ...  # those served, without autograd
