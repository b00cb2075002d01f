"""Calls the CUDA launchers in the emulator or on a GPU, with torch tensors, and returns results and counts."""

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, Structure, byref, c_int, c_int64
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch
from emulator_structs import (
    Backward,
    Device,
    Dims,
    Forward,
    Operand,
    Options,
    Report,
    Running,
    Slot,
    Source,
)
from torch import Tensor

DTYPES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}
VARIANTS = {"automatic": 0, "two_pass": 1, "sliced": 2, "resident": 3}


class EmulatorError(RuntimeError):
    """A kernel broke a rule, as the emulator or the GPU says, or the launchers refused a call."""


ONE_WARP_AHEAD = 0xFFFFFFFF
SMALL_GPU = Device(4, 1 << 20, 99 << 10, 1)
CLUSTER_GPU = Device(4, 1 << 20, 227 << 10, 8)


@dataclass(frozen=True)
class Machine:
    """How a call is run.

    Attributes:
        variant: One of ``VARIANTS``.
        device: What the launchers believe to run on.
        order_seed: 0 runs threads in order, ONE_WARP_AHEAD one warp as far as it can, the last
            one first, another number shuffles them.
        cache_bytes: Of the least-recently-used cache behind which device bytes are counted.
        edge_blocks: Blocks that run on either side of a grid's ends and middle; 0 for all.
        poison: Outputs start as NaN; on a GPU they may start as memory that nobody wrote, for initcheck.
        refuse_cooperative: The emulator has no room for cooperative grids, whatever the device says.
        repeats: Further launches on a GPU, which are timed.
    """

    variant: str = "automatic"
    device: Device = SMALL_GPU
    order_seed: int = 0
    cache_bytes: int = 0
    edge_blocks: int = 0
    poison: bool = True
    refuse_cooperative: bool = False
    repeats: int = 0

    def options(self) -> Options:
        return Options(
            self.device,
            VARIANTS[self.variant],
            self.order_seed,
            self.cache_bytes,
            self.edge_blocks,
            self.poison,
            self.refuse_cooperative,
            self.repeats,
        )


@dataclass
class Result:
    """What a call wrote, by name, what it moved (bytes), and the time of one of its repeats."""

    values: dict[str, Tensor] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    device_bytes: int = 0
    workspace_bytes: int = 0
    predicted_bytes: float = 0.0
    launches: int = 0
    microseconds: float = 0.0


@cache
def load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    for name, struct in (("forward", Forward), ("backward", Backward), ("running", Running)):
        run = getattr(library, f"run_{name}")
        run.argtypes = [
            POINTER(struct),
            POINTER(Options),
            POINTER(Slot),
            c_int,
            POINTER(Report),
        ]
        _check_size(library, name, struct)
    _check_size(library, "options", Options)
    _check_size(library, "report", Report)
    return library


def device_of(library: Path) -> Device:
    """The numbers of the GPU that the library's kernels run on."""
    here = Device(0, 0, 0, 0)
    load(library).device_here(byref(here))
    return here


def _check_size(library: ctypes.CDLL, name: str, struct: type[Structure]) -> None:
    size = getattr(library, f"size_of_{name}")
    size.restype = c_int64
    assert size() == ctypes.sizeof(struct), f"{struct.__name__} has drifted from its C++ twin"


class Call:
    """The tensors of one call. Outputs start as garbage that must be overwritten."""

    def __init__(self, library: Path, like: Tensor, channels: int, layout: torch.memory_format):
        n, _, h, w = like.shape
        self.like, self.layout = like, layout
        self.accumulator = torch.float64 if like.dtype == torch.float64 else torch.float32
        self.dims = Dims(n, channels, h, w, layout == torch.channels_last)
        self._library = load(library)
        self._tensors: list[tuple[str, Tensor, bool]] = []

    def input(self, name: str, t: Tensor | None) -> Operand:
        return Operand() if t is None else self._keep(name, t, True)

    def vector(self, name: str, t: Tensor | None) -> Operand:
        if t is None:
            return Operand()
        return self._keep(name, t.to(self.accumulator).contiguous(), True)

    def activation(self, name: str, channels: int, shrink: int = 1, shift: int = 0) -> Operand:
        """An output; `shift` values off the alignment of its allocation."""
        d = self.dims
        size = (d.n, channels, d.h // shrink, d.w // shrink)
        empty = torch.empty(size, dtype=self.like.dtype, memory_format=self.layout)
        return self._keep(name, shifted(empty, shift), False)

    def sums(self, name: str, channels: int) -> Operand:
        return self._keep(name, torch.empty(channels, dtype=self.accumulator), False)

    def _keep(self, name: str, t: Tensor, written: bool) -> Operand:
        if not written:
            t.fill_(float("nan"))
        self._tensors.append((name, t, written))
        return Operand(t.data_ptr(), True)

    def source(
        self,
        *,
        skip: Tensor | None,
        skip_channels: int,
        alpha: Tensor | None,
        branches: Sequence[Tensor] = (),
        widths: Sequence[int] = (),
        low: Tensor | None = None,
        low_channels: int = 0,
        concat: bool = False,
    ) -> Source:
        s = Source(self.input("skip", skip), skip_channels, self.vector("alpha", alpha))
        s.alpha_shared = alpha is not None and alpha.numel() == 1
        s.branches = len(widths)
        for i, width in enumerate(widths):
            s.width[i] = width
            if branches:
                s.branch[i] = self.input(f"branch{i}", branches[i])
        s.low, s.low_channels, s.concat = self.input("low", low), low_channels, concat
        return s

    def run(self, direction: str, call: Structure, machine: Machine) -> Result:
        tensors = (Slot * len(self._tensors))()
        for slot, (name, t, written) in zip(tensors, self._tensors, strict=True):
            size = t.numel() * t.element_size()
            slot.name, slot.begin, slot.bytes = name.encode(), t.data_ptr(), size
            slot.written = written
        options = machine.options()
        report = Report()
        run = getattr(self._library, f"run_{direction}")
        if run(byref(call), byref(options), tensors, len(tensors), byref(report)):
            raise EmulatorError(report.error.decode())
        result = Result(
            bytes=report.read_bytes + report.write_bytes,
            device_bytes=report.device_bytes,
            workspace_bytes=report.workspace_bytes,
            predicted_bytes=report.predicted_bytes,
            launches=report.launches,
            microseconds=report.microseconds,
        )
        for slot, (name, t, written) in zip(tensors, self._tensors, strict=True):
            result.read[name], result.written[name] = slot.read_bytes, slot.write_bytes
            if not written:
                if not slot.written and t.numel():
                    raise EmulatorError(f"{name} was not written everywhere")
                result.values[name] = t
        return result


def shifted(t: Tensor, values: int) -> Tensor:
    """The same tensor `values` elements off the alignment of its storage."""
    if values == 0:
        return t
    storage = torch.empty(t.numel() + values, dtype=t.dtype)
    moved = storage[values:].as_strided(t.shape, t.stride(), values)
    return moved.copy_(t)
