"""What the compiler made of a CUDA kernel: its registers, and its instructions from the disassembly.

A kernel of whole packs is at fault where it spills, uses local memory, does not move its tensors by 128 bits of
global memory, divides in its main loop, or takes more instructions a pack than BUDGETS has.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from instructions import Code, bytes_before_use, divides, loaded, loops, reads, wide, within

# Shared memory (KiB) and threads of a multiprocessor.
PROCESSORS = {
    80: (164, 2048),
    86: (100, 1536),
    89: (100, 1536),
    90: (228, 2048),
    100: (228, 2048),
    120: (100, 1536),
}
THREADS = 256
PROMISED_BLOCKS = 2  # kBlocksPerProcessor of plan.h
# Instructions of the main loop a pack of 16 bytes, everything in it counted, that no instance may
# exceed: up to sm_90, and on later ones, where the compiler makes more of the same loops.
BUDGETS = {
    "forward_reduce": 110,
    "forward_normalise": 60,
    "forward_map": 100,
    "backward_reduce": 100,
    "backward_map": 170,
}
LATER_BUDGETS = BUDGETS | {"backward_reduce": 136, "backward_map": 172}
LATER = 100  # the first of the later architectures
# What is known and not mended: the compiler for the later ones keeps a few values of one instance in
# local memory.
KNOWN_SPILLS = {"backward_sliced | float16 | channels_last | 128 bits, upsample2x, half packs": 44}
# Tensors of y's size that a loop moves where all of them are there.
TENSORS = {
    "forward_reduce": 3,  # skip, branch, y
    "forward_normalise": 2,  # y, z
    "forward_map": 4,  # skip, branch, y, z
    "backward_reduce": 2,  # dz, y
    "backward_map": 6,  # dz, y, dy, skip, dskip, dbranch
}
H200_BYTES = 18.6  # that a multiprocessor copies in a clock: 4.3 TB/s
ISSUED, WARP = 4, 32  # instructions of a warp that it issues in a clock, and threads of a warp
MOST_ISSUED = 0.5
LEAST_IN_FLIGHT = 32 << 10  # rate times latency, of an H200
MOST_TRIPS = 2
UPSAMPLE2X = 1.3  # of it, where a low resolution takes part
# Packs of a step of the loop, by the 128-bit accesses of the tensors that are always whole.
LEADING = {
    "forward_reduce": ("store", 1),  # y
    "forward_normalise": ("store", 1),  # z
    "forward_map": ("store", 2),  # y, z
    "backward_reduce": ("load", 2),  # dz, y
    "backward_map": ("load", 4),  # dz, y, dy, skip
    "forward_sliced": ("store", 1),  # y; z
    "forward_resident": ("store", 1),
    "backward_sliced": ("load", 2),  # dz, y
    "backward_resident": ("load", 2),
    # Triton's (triton_instances.py).
    "triton batch_norm._statistics": ("load", 1),  # x
    "triton batch_norm._normalise": ("store", 1),  # z
    "triton batch_norm._sums": ("load", 2),  # dz, y
    "triton batch_norm._backward": ("store", 1),  # dx
    "triton residual._forward": ("store", 1),  # y
    "triton residual._forward, inference": ("store", 2),  # y, z
    "triton residual._backward": ("load", 4),  # dz, y, dy, x
    "triton merge._forward": ("store", 1),  # y
    "triton merge._backward": ("load", 4),  # dz, y, dy, x
}


# The kernels that read once hold the passes of others: as which their loops are held, and how their loops with
# stores are counted and held where that is another way.
HELD_AS = {
    "forward_sliced": "forward_reduce",
    "forward_resident": "forward_reduce",
    "backward_sliced": "backward_reduce",
    "backward_resident": "backward_reduce",
}
STORING = {
    "backward_sliced": ("load", 4, "backward_map"),
    "backward_resident": ("load", 2, "backward_map"),  # dy, skip: dz and y have stayed
}


@dataclass
class Kernel:
    """One compiled instance: its template arguments and what the compiler says of it.

    The kernels that finish sums have a dtype alone, and work on vectors per channel.
    """

    name: str
    dtype: str
    itemsize: int
    channels_last: bool | None = None
    lanes: int = 1
    upsample2x: bool = False
    half_packs: bool = False
    registers: int = 0
    stack: int = 0
    spills: int = 0
    widths: dict[str, int] = field(default_factory=dict)
    code: Code = field(default_factory=list)  # address and instruction
    threads: int = THREADS  # of a block
    shared_bytes: int | None = None  # of a block, where no formula tells it
    streams: bool = False  # it may have no loop: then all of it counts

    @property
    def whole_packs(self) -> bool:
        return self.lanes > 1

    @property
    def finishes(self) -> bool:
        return self.channels_last is None

    @property
    def a_pack(self) -> int | None:
        """Instructions of the longest of its main loops, a pack; None where it is not counted."""
        return max((count for _, count in self._counts()), default=None)

    def _counts(self) -> list[tuple[str, int]]:
        """By what budget each main loop is held, and its instructions a pack."""
        around, inner = self._main_loops()
        counts = []
        for begin, end in inner:
            size, code = end - begin, self.code[begin:end]
            way, tensors, held = *LEADING[self.name], HELD_AS.get(self.name, self.name)
            if wide(code, "store"):
                way, tensors, held = STORING.get(self.name, (way, tensors, held))
            item = 4 if self.channels_last else 2  # packs, where it is those of two image rows
            wider = [b - a for a, b in around if within((begin, end), (a, b))]
            outside = (min(wider) - size) / item if wider else 0
            counts.append((held, round(size * tensors / wide(code, way) + outside)))
        return counts

    @property
    def issue_share(self) -> float | None:
        """Issue slots that the main loop takes while an H200 copies what it moves, of all."""
        if self.a_pack is None or self.name not in TENSORS:
            return None
        clocks = TENSORS[self.name] * 16 * WARP / H200_BYTES
        return self.a_pack / (ISSUED * clocks)

    def in_flight(self, arch: int) -> int | None:
        """Bytes that a multiprocessor has asked for when a thread first waits in its main loop."""
        _, inner = self._main_loops()
        if not inner or self.name not in TENSORS:
            return None
        asked = min(bytes_before_use(self.code[slice(*loop)]) for loop in inner)
        return asked * self.threads * self.blocks(arch)

    @property
    def trips(self) -> int | None:
        """How often a thread waits for global memory before its main loop."""
        _, inner = self._main_loops()
        if not inner or self.name not in TENSORS:
            return None
        trips, asked = 0, set[int]()
        for _, text in self.code[: min(begin for begin, _ in inner)]:
            if reads(text) & asked:
                trips, asked = trips + 1, set()
            if "LDG" in text:
                asked |= loaded(text)
        return trips

    @property
    def divides(self) -> bool:
        """Whether a main loop has a division."""
        return any(divides(self.code, loop) for loop in self._main_loops()[0])

    def _main_loops(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """The loops with wide accesses, and those of them that have no other inside.

        Loops with a barrier go over blocks of work, not over what a thread reads.
        """
        if not self.whole_packs or self.name not in LEADING:
            return [], []
        way, _ = LEADING[self.name]
        every = loops(self.code)
        main = [
            (begin, end)
            for begin, end in every
            if not any(re.search(r"\bBAR\b", text) for _, text in self.code[begin:end])
            if wide(self.code[begin:end], way)
        ]
        inner = [one for one in main if not any(within(other, one) for other in main)]
        if self.streams and not every:
            inner = [(0, 1 + max(i for i, (_, text) in enumerate(self.code) if "EXIT" in text))]
        return main, inner

    def budget(self, arch: int, held: str) -> int:
        """The most instructions a pack of a main loop that is held as that of kernel `held`."""
        budgets = LATER_BUDGETS if arch >= LATER else BUDGETS
        return round(budgets.get(held, 0) * (UPSAMPLE2X if self.upsample2x else 1))

    @property
    def shared(self) -> int:
        """Bytes for merges, by a block of THREADS; resident kernels ask for more."""
        if self.shared_bytes is not None:
            return self.shared_bytes
        if self.finishes:
            return 3 * 8 * THREADS  # finish_grid of launch.cuh
        sums = 3 if self.name.startswith("forward") else 2
        channels = self.lanes if self.channels_last else 1
        return sums * max(self.itemsize, 4) * channels * THREADS

    def blocks(self, arch: int) -> int:
        """Blocks that a multiprocessor holds."""
        shared, threads = PROCESSORS[arch]
        registers = -(-self.registers // 8) * 8 * self.threads
        blocks = (
            65536 // registers,
            threads // self.threads,
            shared * 1024 // (self.shared + 1024),
        )
        return min(blocks)

    def faults(self, arch: int) -> Iterator[str]:
        if not self.whole_packs and not self.finishes:
            return
        known = KNOWN_SPILLS.get(self.title(), 0) if arch >= LATER else 0
        if self.spills > known or (self.stack and not known):
            yield f"{self.spills} bytes of spills, {self.stack} of stack"
        if not known and any(key.startswith("local") for key in self.widths):
            yield "accesses to local memory"
        if self.finishes:
            return
        if not self.widths.get("load 128"):
            yield "no 128-bit load"
        if not self.widths.get("store 128") and not self.name.endswith("_reduce"):
            yield "no 128-bit store"
        if any(self.widths.get(f"generic {way} 128") for way in ("load", "store")):
            yield "packs that are not known to be in global memory"
        if any(self.widths.get(f"{way} {bits}") for way in ("load", "store") for bits in (8, 16)):
            yield "accesses of 8 or 16 bits"
        for held, count in self._counts():
            if count > (budget := self.budget(arch, held)):
                yield f"{count} instructions a pack, where {budget} are the most"
        if arch < LATER and (self.issue_share or 0) > MOST_ISSUED:
            yield f"{self.issue_share:.0%} of the issue slots at an H200's copy rate"
        if self.divides:
            yield "a division in its main loop"
        in_flight = self.in_flight(arch)
        if in_flight is not None and in_flight < LEAST_IN_FLIGHT:
            yield f"{in_flight >> 10} KiB in flight, where {LEAST_IN_FLIGHT >> 10} are the least"
        # The later ones lay branches out in another order, in which this count means nothing.
        if arch < LATER and (self.trips or 0) > MOST_TRIPS:
            yield f"{self.trips} trips to memory before its main loop"
        if self.blocks(arch) < PROMISED_BLOCKS:
            yield f"only {self.blocks(arch)} block on a multiprocessor"

    def title(self) -> str:
        if self.finishes:
            return " | ".join([self.name, self.dtype, "channels", f"{self.itemsize * 8} bits"])
        layout = "channels_last" if self.channels_last else "contiguous"
        shape = [f"{self.lanes * self.itemsize * 8} bits", *["upsample2x"] * self.upsample2x]
        return " | ".join(
            [self.name, self.dtype, layout, ", ".join([*shape, *["half packs"] * self.half_packs])]
        )
