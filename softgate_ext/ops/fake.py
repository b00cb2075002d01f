"""Fake kernels: the shapes, dtypes and layouts of the results of every op, without values.

Tracers such as ``torch.compile`` call them with meta or fake tensors. Every tensor of a call is
checked, so that a mixture of fake and real tensors is refused.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from softgate_ext.ops.call_checks import check_call
from softgate_ext.ops.schema import (
    LIBRARIES,
    SCHEMAS,
    Call,
    accumulator,
    layout_of,
    results,
    wanted_gradients,
)


def empty(like: Tensor, size: Sequence[int], layout: torch.memory_format) -> Tensor:
    """An uninitialised tensor of shape ``size``, with the dtype and device of ``like``."""
    return torch.empty(tuple(size), dtype=like.dtype, device=like.device, memory_format=layout)


def _serve(op: str, *args: Any) -> Any:
    c = Call(op, args)
    channels = check_call(c)
    return _gradients(c, channels) if c.needs is not None else _results(c, channels)


def _results(c: Call, channels: int) -> Any:
    n, _, h, w = c.x.shape

    def activation() -> Tensor:
        return empty(c.x, (n, channels, h, w), layout_of(c.x))

    def statistic() -> Tensor:
        return c.x.new_empty(channels if c.training else 0, dtype=accumulator(c.x.dtype))

    return results(c.op, y=activation, z=activation, mean=statistic, var=statistic)


def _gradients(c: Call, channels: int) -> list[Tensor]:
    y = c.dy if c.y is None else c.y
    n, total, h, w = y.shape
    layout = layout_of(y)
    low = total - channels if c.mode == "concat" else total
    return wanted_gradients(
        c,
        x=lambda: empty(y, (n, channels, h, w), layout),
        branches=lambda: [empty(y, (n, width, h, w), layout) for width in c.split],
        low=lambda: empty(y, (n, low, h // 2, w // 2), layout),
        alpha=lambda: torch.empty_like(c.alpha),
        weight=lambda: torch.empty_like(c.weight),
        bias=lambda: torch.empty_like(c.bias),
    )


for _namespace, _library in LIBRARIES.items():
    for _op in SCHEMAS:
        torch.library.register_fake(f"{_namespace}::{_op}", partial(_serve, _op), lib=_library)
