"""The compiled kernels. Use softgate_ext.ops instead."""

from collections.abc import Callable
from typing import Any

def build_info() -> dict[str, Any]: ...
def force_variant(name: str, /) -> None: ...  # only where build_info()["cuda"] is a version
def serve(op: str, /) -> None: ...
def __getattr__(op: str) -> Callable[..., Any]: ...  # those served, without autograd
