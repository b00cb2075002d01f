"""Plans and launches: the tile for a shape, and the launch of a kernel.

A plan depends on shape, layout, dtype and the number of multiprocessors alone, so that the same input
gives the same bits on every device of a kind. No device is used before the first launch. The only state
is a cache of plans, so that any thread may launch on any device.
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

# Integers that are not compiled into a kernel, so that one specialisation serves every size.
SIZES = ("channels", "plane", "width", "low_plane", "count", "steps", "s1", "s2", "s3", "side")

WAVE = 64 if torch.version.hip else 32  # threads of a warp
# The number of values from which on offsets have 64 bits. It is a little less than 2**31, because the
# last program counts positions past the end, by fewer tiles than there are groups.
WIDE_FROM = (1 << 31) - (1 << 24)
_MAX_DIV = 16

# A reduction is cut into whole waves; a wave is the programs that all multiprocessors hold at once. An
# H100 holds 660 to 792 programs: the second wave of 1024 programs would leave half of it idle. The
# table has the number of programs of four warps that a multiprocessor holds, given the registers that
# ptxas allocates (tests/triton_kernels/test_assembly.py). Its keys say whether values have four bytes,
# whether the tensor is channels_last, and whether the kernel reads or writes a `low`.
HELD = {
    (False, False, False): 6, (False, False, True): 5, (False, True, False): 4, (False, True, True): 3,
    (True, False, False): 10, (True, False, True): 6, (True, True, False): 7, (True, True, True): 5,
}  # fmt: skip
_WAVES = 8  # the most waves
PROCESSORS = 132  # the multiprocessors of an H100, assumed for a device that is not present


@dataclass(frozen=True)
class Tile:
    """The part of each activation that a program holds: ``vectors`` times 16 bytes per thread."""

    vectors: int
    warps: int


# The tile for a pass and a size. A "stream" pass writes what it reads; a "reduce" pass loops and keeps
# two sums per value in registers. A small tensor has smaller tiles, to occupy more of the GPU. A loop
# hides latency by the number of programs and not by a pipeline through shared memory, so that there are
# no stages.
TILES = {
    ("stream", "large"): Tile(2, 4),
    ("stream", "small"): Tile(1, 4),
    ("reduce", "large"): Tile(2, 4),
    ("reduce", "small"): Tile(1, 4),
}
_LARGE = 1 << 22  # bytes


@dataclass(frozen=True)
class Plan:
    """The launch of one kernel over one activation."""

    grid: tuple[int]
    warps: int
    steps: int | None  # tiles that a program visits in a loop; None for one tile without a loop
    groups: int  # programs along the positions
    group_size: int  # pixels of a group
    sizes: tuple[int, int, int]  # channels, plane and positions, in units of DIV
    layout: tuple[int, bool, bool]  # DIV, channels_last, 64-bit offsets
    blocks: tuple[int, int]  # BLOCK_C, BLOCK_Q


class _Tracing(threading.local):
    tracing = False
    tiles: dict[str, Tile] | None = None


_state = _Tracing()
_nothing, _CPU = nullcontext(), torch.device("cpu")
# Triton's interpreter uses global variables, so that it can run only one kernel at a time.
_interpreter = threading.Lock() if interpreting() else _nothing


@contextmanager
def tracing() -> Iterator[None]:
    """A block whose launches become part of the graph that is being traced."""
    _state.tracing = True
    try:
        yield
    finally:
        _state.tracing = False


def is_tracing() -> bool:
    return _state.tracing


@contextmanager
def use_tiles(tiles: dict[str, Tile]) -> Iterator[None]:
    """A block in which launches of this thread use these tiles, by pass, instead of the table's."""
    before, _state.tiles = _state.tiles, tiles
    try:
        yield
    finally:
        _state.tiles = before


def cdiv(a: int, b: int) -> int:
    return -(-a // b)


def divisor(*values: int) -> int:
    """The greatest power of two, at most 16, that divides all values."""
    div = _MAX_DIV
    while any(v % div for v in values):
        div //= 2
    return div


def _cover(value: int, limit: int) -> int:
    """The smallest power of two that is at least ``value``, but at most ``limit``."""
    block = 1
    while block < limit and block < value:
        block *= 2
    return block


def _channel_block(channels: int) -> int:
    """A power of two, at most 64, that leaves at most an eighth of the lanes idle."""
    for block in (64, 32, 16):
        if cdiv(channels, block) * block * 8 <= channels * 9:
            return block
    return _cover(channels, 16)


@cache
def processors(device: torch.device) -> int:
    """The number of multiprocessors of a device."""
    if device.type == "cpu" or not getattr(torch, device.type).is_available():
        return PROCESSORS
    properties = getattr(torch, device.type).get_device_properties(device)
    return getattr(properties, "multi_processor_count", None) or properties.gpu_subslice_count


def plan_of(
    kind: str, shape: tuple[int, ...], layout: torch.memory_format, like: Tensor, children: int = 1
) -> Plan:
    """The plan for a pass over an activation.

    Args:
        kind: "stream" or "reduce".
        shape: the shape (N, C, H, W) of the activation.
        layout: its layout.
        like: a tensor with its dtype and device.
        children: the number of pixels of a position, see ``tile``.
    """
    last = layout == torch.channels_last
    args = (kind, *shape, last, like.dtype.itemsize, children, processors(like.device))
    if _state.tracing:  # sizes may be symbolic, which cannot be hashed
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
    """The number of groups that fill whole waves.

    It takes the fewest waves that leave at most a sixteenth idle, because every further program adds
    rows to be merged.

    Args:
        tiles_c: programs of a group, one for each tile of channels.
        wave: programs that run at once.
    """

    def filled(waves: int) -> float:
        return waves * wave // tiles_c * tiles_c / (waves * wave)

    waves = max(range(1, _WAVES + 1), key=lambda n: (min(filled(n), 15 / 16), -n))
    return max(waves * wave // tiles_c, 1)


def dense(t: Tensor | None, layout: torch.memory_format) -> Tensor | None:
    """The tensor in this layout, copied only if it has another one."""
    if t is None:
        return None
    made = t.contiguous(memory_format=layout)
    if made is not t:
        replay.mark_unreplayable()
    return made


def guard(device: torch.device) -> AbstractContextManager:
    """A context in which the device is the current one, on which Triton launches."""
    if device == _CPU:
        return _nothing
    module = getattr(torch, device.type)
    return _nothing if module.current_device() == device.index else module.device(device)


def surroundings() -> tuple | None:
    """The state that a launch depends on besides its arguments; None while a graph is traced."""
    if _state.tracing:
        return None
    return () if _state.tiles is None else tuple(_state.tiles.values())


def walk(kernel: Any, plan: Plan, *args: Any, registers: int | None = None) -> None:
    """Launches a kernel with a plan. The plan's constants are the last arguments of the kernel."""
    launch(kernel, plan.grid, (*args, *plan.layout, *plan.blocks), plan.warps, registers)


def launch(
    kernel: Any, grid: tuple[int], args: tuple, warps: int, registers: int | None = None
) -> None:
    """Launches a kernel on the device of the first tensor, on its current stream.

    Args:
        kernel: the kernel.
        grid: the number of programs.
        args: its arguments.
        warps: warps of a program.
        registers: the registers of a thread. It is given for kernels for which some versions of ptxas
            allocate fewer and then spill. It is used on NVIDIA GPUs only, and not in a traced graph.
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
