"""A process whose loader workers wait for ever: blocked_workers.py METHOD WAIT FOLDER."""

import os
import sys
import time
from pathlib import Path

import torch
from torch.utils.data import Dataset

from softgate_ext.inference.batches import loader


class Blocking(Dataset[bytes]):
    """Each worker says in `folder` that it began, then reads a pipe or fills the loader's queue."""

    def __init__(self, wait: str, folder: Path) -> None:
        self.wait, self.folder = wait, folder

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> bytes:
        (self.folder / f"began{os.getpid()}").touch()
        return (self.folder / "pipe").read_bytes() if self.wait == "picture" else bytes(2**20)


if __name__ == "__main__":
    method, wait, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    os.mkfifo(folder / "pipe")
    batches = loader(
        Blocking(wait, folder),
        2,
        torch.device("cpu"),
        batch_size=None,
        prefetch_factor=8,
        multiprocessing_context=method,
    )
    iterator = iter(batches)
    time.sleep(600)
