"""Runs a function on several processes, and hands back what each returned."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def run(
    function: Callable[..., Any],
    processes: int,
    folder: Path,
    *arguments: Any,
    backend: str = "gloo",
) -> list[Any]:
    """`function(rank, *arguments)` on each of the processes, which talk by gloo or nccl.

    They are forks of one that has imported PyTorch, which takes longer than what they do.
    """
    multiprocessing.set_forkserver_preload(["torch.distributed", "softgate_ext.models"])
    words = (function, processes, folder, arguments, backend)
    mp.start_processes(_process, words, processes, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(processes)]


def _process(
    rank: int, function, processes: int, folder: Path, arguments: tuple, backend: str
) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), processes)
    if backend == "nccl":
        torch.cuda.set_device(rank)
    dist.init_process_group(backend, store=store, rank=rank, world_size=processes)
    try:
        torch.save(function(rank, *arguments), folder / f"{rank}.pt")
    finally:
        dist.destroy_process_group()
