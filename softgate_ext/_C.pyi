"""The compiled kernels, called directly, without autograd. Use softgate_ext.ops instead."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

def build_info() -> dict[str, Any]: ...
def force_variant(name: str, /) -> None: ...  # only where build_info()["cuda"] is a version
def gated_residual(x: Tensor, branches: Sequence[Tensor], alpha: Tensor | None, /) -> Tensor: ...
def gated_residual_backward(
    dy: Tensor,
    x: Tensor | None,
    alpha: Tensor | None,
    split: Sequence[int],
    needs: Sequence[bool],
    /,
) -> list[Tensor]: ...
def gated_residual_bn_relu(
    x: Tensor,
    branches: Sequence[Tensor],
    alpha: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    eps: float,
    relu: bool,
    /,
) -> tuple[Tensor, Tensor, Tensor, Tensor]: ...
def gated_residual_bn_relu_backward(
    dy: Tensor | None,
    dz: Tensor,
    y: Tensor,
    x: Tensor | None,
    alpha: Tensor | None,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    eps: float,
    relu: bool,
    split: Sequence[int],
    needs: Sequence[bool],
    /,
) -> list[Tensor]: ...
def bn_relu(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    eps: float,
    relu: bool,
    /,
) -> tuple[Tensor, Tensor, Tensor]: ...
def bn_relu_backward(
    dz: Tensor,
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    eps: float,
    relu: bool,
    needs: Sequence[bool],
    /,
) -> list[Tensor]: ...
def skip_merge(
    skip: Tensor,
    branches: Sequence[Tensor],
    low: Tensor,
    alpha: Tensor | None,
    mode: str,
    /,
) -> Tensor: ...
def skip_merge_backward(
    dmerged: Tensor,
    skip: Tensor | None,
    alpha: Tensor | None,
    channels: int,
    mode: str,
    split: Sequence[int],
    needs: Sequence[bool],
    /,
) -> list[Tensor]: ...
def skip_merge_bn_relu(
    skip: Tensor,
    branches: Sequence[Tensor],
    low: Tensor,
    alpha: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    eps: float,
    relu: bool,
    mode: str,
    /,
) -> tuple[Tensor, Tensor, Tensor, Tensor]: ...
def skip_merge_bn_relu_backward(
    dmerged: Tensor | None,
    dz: Tensor,
    merged: Tensor,
    skip: Tensor | None,
    alpha: Tensor | None,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    eps: float,
    relu: bool,
    channels: int,
    mode: str,
    split: Sequence[int],
    needs: Sequence[bool],
    /,
) -> list[Tensor]: ...
