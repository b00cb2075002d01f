"""Inference of whole networks, as they are and folded: `python -m benchmarks.fold`.

Prints a JSON line a case: medians of the two in turns, CPU time of one thread, and what each
allocates. The network as it is has the dtype and layout of the folded one; neither records gradients.
"""

import json
import time
import weakref
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks import options
from benchmarks.cases import LAYOUTS
from benchmarks.machine import describe_machine
from benchmarks.memory import keep_memory
from benchmarks.race import Competitor, Race
from softgate_ext import fold
from softgate_ext.models import create_model


class Allocations(TorchDispatchMode):
    """Bytes of the tensors that ops return: all of them, and the most that are alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.now = self.total = 0
        self._live: set[int] = set()

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = op(*args, **(kwargs or {}))
        for t in tree_leaves(out):
            if isinstance(t, Tensor) and t.numel() and t.untyped_storage()._cdata not in self._live:
                self._allocated(t, t.untyped_storage()._cdata, t.untyped_storage().nbytes())
        return out

    def _allocated(self, t: Tensor, storage: int, size: int) -> None:
        self._live.add(storage)
        self.now += size
        self.total += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(t, self._freed, storage, size)

    def _freed(self, storage: int, size: int) -> None:
        self._live.discard(storage)
        self.now -= size


def allocations(model: nn.Module, x: Tensor) -> dict[str, float]:
    """Megabytes that a forward pass allocates: at once, and altogether."""
    with torch.no_grad(), Allocations() as log:
        model(x)
    return {"peak_mb": round(log.peak / 1e6, 2), "written_mb": round(log.total / 1e6, 2)}


def main(
    models: tuple[str, ...] = ("hybrid_2x48", "hybrid_4x144"),
    batches: tuple[int, ...] = (1, 8),
    dtypes: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16"),
    size: int = 256,
    rounds: int = 9,
    keep: bool = False,
) -> None:
    """Measures.

    Args:
        models: names that `softgate info` lists.
        batches: images in a batch.
        dtypes: of activations and convolutions.
        size: side of an image, pixels.
        rounds: times that each is measured.
        keep: have malloc keep memory between calls, so that neither pays for page faults.
    """
    torch.set_num_threads(1)
    memory = keep_memory() if keep else "as the system has it"
    print(json.dumps(describe_machine() | {"memory": memory}))
    for name, batch, dtype, (layout, layout_format) in product(
        models, batches, dtypes, LAYOUTS.items()
    ):
        torch.manual_seed(0)
        model = create_model(name).eval()
        x = torch.rand(batch, 3, size, size).contiguous(memory_format=layout_format)
        kind = getattr(torch, dtype)
        folded = fold(model, kind, layout == "channels_last")
        model = model.to(kind).to(memory_format=layout_format)  # type: ignore[call-overload]
        rivals: dict[str, nn.Module] = {"model": model, "folded": folded}
        if dtype == "float32" and layout == "channels_last":
            rivals["winograd"] = fold(model, conv="winograd")
        competitors = [Competitor(k, m, lambda _, x=x: x, grad=False) for k, m in rivals.items()]
        race = Race(competitors, "cpu", clock=time.process_time)
        race.warm_up(2)
        for _ in range(rounds):
            race.round()
        result = race.summary()
        line: dict[str, Any] = {"model": name, "shape": list(x.shape), "dtype": dtype}
        line["layout"] = layout
        for k, m in rivals.items():
            line[k] = {
                "ms": round(result[k]["median"] * 1e3, 1),
                "p20_ms": round(result[k]["p20"] * 1e3, 1),
                "page_faults": result[k]["page_faults"],
                **allocations(m, x),
            }
        line["faster"] = round(result["model"]["median"] / result["folded"]["median"], 2)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    options.run(main)
