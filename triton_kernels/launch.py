"""Plans and launches: which tile serves a shape, and the short way from Python to a kernel.

Everything a plan holds follows from shape, layout, dtype and the number of multiprocessors, so the
same input gives the same bits on every device of a kind. Nothing here touches a device before the first launch, and nothing
is kept but plans in a cache, so any thread may launch on any device.
"""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

from softgate_ext.ops.backend import interpreting

from . import replay

# Integers that must not be compiled into a kernel: one specialisation serves every size.
SIZES = ("channels", "plane", "width", "low_plane", "count", "steps", "s1", "s2", "s3", "side")

WAVE = 64 if torch.version.hip else 32  # threads of a warp
# Values from which on offsets need 64 bits: a little early, as the last program counts positions past
# the end, by fewer tiles than there are groups.
WIDE_FROM = (1 << 31) - (1 << 24)
_MAX_DIV = 16

# A reduction is cut into whole waves: the programs that all multiprocessors hold at once. The second
# wave of 1024 programs on an H100, which holds 660 to 792 of them, would leave half of it idle.
# Programs of four warps that a multiprocessor holds of every reducing kernel, by the registers that
# ptxas gives it (tests/triton_kernels/test_assembly.py): by whether values have four bytes, whether
# the tensor is channels_last, and whether a low resolution takes part.
HELD = {
    (False, False, False): 6, (False, False, True): 5, (False, True, False): 4, (False, True, True): 3,
    (True, False, False): 10, (True, False, True): 6, (True, True, False): 7, (True, True, True): 5,
}  # fmt: skip
_WAVES = 8  # at most
PROCESSORS = 132  # multiprocessors of an H100: for devices that are not here to be asked


@dataclass(frozen=True)
class Tile:
    """What a program holds of each activation: ``vectors`` times 16 bytes for every thread."""

    vectors: int
    warps: int


# By the pass (a "stream" writes what it reads, a "reduce" keeps two sums per value in registers and
# loops) and the size of the tensor: a small one is cut finer, to occupy the GPU at all. A loop
# hides its latency by the number of programs, not by a pipeline through shared memory, hence no
# stages.
TILES = {
    ("stream", "large"): Tile(2, 4),
    ("stream", "small"): Tile(1, 4),
    ("reduce", "large"): Tile(2, 4),
    ("reduce", "small"): Tile(1, 4),
}
_LARGE = 1 << 22  # bytes


@dataclass(frozen=True)
class Plan:
    """How one kernel walks over one activation."""

    grid: tuple[int]
    warps: int
    steps: int | None  # tiles that a program visits; None: one, and no loop
    groups: int  # programs along the positions
    group_size: int  # pixels of a group
    sizes: tuple[int, int, int]  # channels, plane, positions; in units of DIV
    layout: tuple[int, bool, bool]  # DIV, channels_last, 64-bit offsets
    blocks: tuple[int, int]  # BLOCK_C, BLOCK_Q


class _Tracing(threading.local):
    tracing = False
    tiles: dict[str, Tile] | None = None


_state = _Tracing()
_nothing, _CPU = nullcontext(), torch.device("cpu")
# Triton's interpreter keeps what it runs in globals, so it runs one kernel at a time.
_interpreter = threading.Lock() if interpreting() else _nothing


@contextmanager
def tracing() -> Iterator[None]:
    """Launches inside are captured into the graph that is being traced."""
    _state.tracing = True
    try:
        yield
    finally:
        _state.tracing = False


def is_tracing() -> bool:
    return _state.tracing


@contextmanager
def use_tiles(tiles: dict[str, Tile]) -> Iterator[None]:
    """Launches of this thread take these tiles, by pass, in place of the table's."""
    before, _state.tiles = _state.tiles, tiles
    try:
        yield
    finally:
        _state.tiles = before


def cdiv(a: int, b: int) -> int:
    return -(-a // b)


def divisor(*values: int) -> int:
    """The greatest power of two, 16 at most, that divides all values."""
    div = _MAX_DIV
    while any(v % div for v in values):
        div //= 2
    return div


def _cover(value: int, limit: int) -> int:
    """The smallest power of two that is at least ``value``, or the limit."""
    block = 1
    while block < limit and block < value:
        block *= 2
    return block


def _channel_block(channels: int) -> int:
    """A power of two that leaves at most an eighth of the lanes idle, and 64 at most."""
    for block in (64, 32, 16):
        if cdiv(channels, block) * block * 8 <= channels * 9:
            return block
    return _cover(channels, 16)


@cache
def processors(device: torch.device) -> int:
    """Multiprocessors of a device."""
    if device.type == "cpu" or not getattr(torch, device.type).is_available():
        return PROCESSORS
    properties = getattr(torch, device.type).get_device_properties(device)
    return getattr(properties, "multi_processor_count", None) or properties.gpu_subslice_count


def plan_of(
    kind: str, shape: tuple[int, ...], layout: torch.memory_format, like: Tensor, children: int = 1
) -> Plan:
    """The plan for a pass over an activation of this shape, of a dtype and on a device as another.

    Args:
        kind: "stream" or "reduce".
        children: Pixels that a position stands for, as ``tile`` has it.
    """
    last = layout == torch.channels_last
    args = (kind, *shape, last, like.dtype.itemsize, children, processors(like.device))
    if _state.tracing:  # sizes may be symbols, which have no hash
        return _plan(None, *args)
    tiles = _state.tiles
    return _cached_plan(None if tiles is None else tiles[kind], *args)


def _plan(tile: Tile | None, kind, n, c, h, w, last, itemsize, children, multiprocessors) -> Plan:
    total = n * c * h * w
    if tile is None:
        tile = TILES[kind, "large" if total * itemsize >= _LARGE else "small"]
    values = max(tile.vectors // children, 1) * tile.warps * WAVE * 16 // itemsize
    count = n * h * w // children
    if last:
        block_c = _channel_block(c)
        block_q = _cover(count, values // block_c)
        div = divisor(c)
        units = (c // div, h * w, count)
    else:
        block_q = _cover(count, values)
        block_c = _cover(c, values // block_q)
        div = divisor(w if children > 1 else h * w)
        units = (c, h * w // children // div, count // div)
    tiles_c, tiles_q = cdiv(c, block_c), cdiv(count, block_q)
    groups = tiles_q
    if kind == "reduce":
        held = HELD[itemsize == 4, last, children > 1] * 4 // tile.warps
        groups = min(tiles_q, _groups(tiles_c, multiprocessors * max(held, 1)))
    steps = cdiv(tiles_q, groups)
    groups = cdiv(tiles_q, steps)
    return Plan(
        grid=(groups * tiles_c,),
        warps=tile.warps,
        steps=None if kind == "stream" else steps,
        groups=groups,
        group_size=steps * block_q * children,
        sizes=units,
        layout=(div, last, bool(total >= WIDE_FROM)),
        blocks=(block_c, block_q),
    )


_cached_plan = lru_cache(maxsize=4096)(_plan)


def _groups(tiles_c: int, wave: int) -> int:
    """Groups that fill whole waves, as few waves as leave a sixteenth idle at most: each program adds
    to the rows that are merged.

    Args:
        tiles_c: Programs of a group, one for each tile of channels.
        wave: Programs that run at once.
    """

    def filled(waves: int) -> float:
        return waves * wave // tiles_c * tiles_c / (waves * wave)

    waves = max(range(1, _WAVES + 1), key=lambda n: (min(filled(n), 15 / 16), -n))
    return max(waves * wave // tiles_c, 1)


def dense(t: Tensor | None, layout: torch.memory_format) -> Tensor | None:
    """The tensor in the layout, copied only where it is not."""
    if t is None:
        return None
    made = t.contiguous(memory_format=layout)
    if made is not t:
        replay.mark_unreplayable()
    return made


def guard(device: torch.device) -> AbstractContextManager:
    """A context in which the device is current: Triton launches on the current one."""
    if device == _CPU:
        return _nothing
    module = getattr(torch, device.type)
    return _nothing if module.current_device() == device.index else module.device(device)


def surroundings() -> tuple | None:
    """What a launch depends on besides its arguments; None while a graph is traced."""
    if _state.tracing:
        return None
    return () if _state.tiles is None else tuple(_state.tiles.values())


def walk(kernel: Any, plan: Plan, *args: Any, registers: int | None = None) -> None:
    """Launches a kernel as the plan has it; the plan's constants are its last arguments."""
    launch(kernel, plan.grid, (*args, *plan.layout, *plan.blocks), plan.warps, registers)


def launch(
    kernel: Any, grid: tuple[int], args: tuple, warps: int, registers: int | None = None
) -> None:
    """Launches on the device of the first tensor, on its current stream.

    Args:
        registers: what a thread may have, for kernels that the assembler of some versions cuts
            shorter and then spills; NVIDIA's alone asks, and not through a traced graph.
    """
    if _state.tracing:
        torch.library.wrap_triton(kernel)[grid](*args, num_warps=warps)
        return
    with guard(next(a for a in args if a is not None).device):
        limit = {"maxnreg": registers} if registers and torch.version.cuda else {}
        with _interpreter:
            compiled = kernel[grid](*args, num_warps=warps, **limit)
    tape = replay.tape()
    if tape is not None:
        tape.note(compiled, grid, args)
