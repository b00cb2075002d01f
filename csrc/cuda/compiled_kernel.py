"""A compiled CUDA kernel: its registers and spills from ptxas, and its instructions from the disassembly.

``Kernel.faults`` yields the faults of a kernel whose packs have 16 bytes: it spills registers or uses local memory,
accesses its tensors by less than 128 bits, divides in its main loop, exceeds its budget of instructions for each pack,
has too few bytes in flight, or leaves room for too few thread blocks on a multiprocessor.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from instructions import Code, bytes_before_use, divides, loaded, loops, reads, wide, within

# Shared memory in KiB and maximum number of threads of a multiprocessor, by compute capability.
PROCESSORS = {
    80: (164, 2048),
    86: (100, 1536),
    89: (100, 1536),
    90: (228, 2048),
    100: (228, 2048),
    120: (100, 1536),
}
THREADS = 256  # of a thread block
PROMISED_BLOCKS = 2  # thread blocks on a multiprocessor; kBlocksPerProcessor of plan.h
# The maximum number of instructions of a main loop for each pack of 16 bytes, up to sm_90. All instructions in the loop
# count. For later architectures the compiler generates more instructions from the same source.
BUDGETS = {
    "forward_reduce": 110,
    "forward_normalise": 60,
    "forward_map": 100,
    "backward_reduce": 100,
    "backward_map": 170,
}
LATER_BUDGETS = BUDGETS | {"backward_reduce": 136, "backward_map": 172}
LATER = 100  # the first of the later architectures
# Accepted spills in bytes: for the later architectures the compiler keeps a few values of one instance in local memory.
KNOWN_SPILLS = {"backward_sliced | float16 | channels_last | 128 bits, upsample2x, half packs": 44}
# The number of tensors of y's size that a main loop loads and stores, if the call has all of them.
TENSORS = {
    "forward_reduce": 3,  # skip, branch, y
    "forward_normalise": 2,  # y, z
    "forward_map": 4,  # skip, branch, y, z
    "backward_reduce": 2,  # dz, y
    "backward_map": 6,  # dz, y, dy, skip, dskip, dbranch
}
H200_BYTES = 18.6  # copied per clock and multiprocessor at 4.3 TB/s, the copy rate of an H200
ISSUED, WARP = 4, 32  # warp instructions issued per clock and multiprocessor, and threads of a warp
MOST_ISSUED = 0.5  # the maximum share of issue slots at the copy rate
LEAST_IN_FLIGHT = 32 << 10  # bytes per multiprocessor: bandwidth times latency of an H200
MOST_TRIPS = 2  # the maximum number of dependent loads before a main loop
UPSAMPLE2X = 1.3  # the factor of a budget with upsample2x
# How the packs of one iteration of a main loop are counted: by its 128-bit loads or stores, divided by the number of
# tensors named here. These tensors are never accessed by half packs.
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
    # The Triton kernels (triton_instances.py).
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


# The sliced and resident kernels contain the loops of several passes. HELD_AS names the kernel whose budget their loops
# have. STORING has the way of counting, the number of tensors and the budget of those loops that also store, if they
# differ.
HELD_AS = {
    "forward_sliced": "forward_reduce",
    "forward_resident": "forward_reduce",
    "backward_sliced": "backward_reduce",
    "backward_resident": "backward_reduce",
}
STORING = {
    "backward_sliced": ("load", 4, "backward_map"),
    "backward_resident": ("load", 2, "backward_map"),  # dy, skip; dz and y are in shared memory
}


@dataclass
class Kernel:
    """One compiled instance of a kernel: its template arguments, and the compiler's report.

    The kernels that finish sums have only a dtype. They work on per-channel vectors.

    Args:
        name: The name of the ``__global__`` function.
        dtype, itemsize: The dtype of the activations and its size in bytes.
        channels_last: The layout, or None for a kernel that finishes sums.
        lanes: Values of a pack.
        upsample2x: Whether the call has a low-resolution tensor.
        half_packs: Whether branches are accessed by packs of 8 bytes.
        registers: Registers of a thread.
        stack, spills: Bytes of a thread in local memory.
        widths: The number of accesses by kind and width in bits, as in ``{"load 128": 4}``.
        code: Addresses and instructions.
        threads: Threads of a thread block.
        shared_bytes: Shared memory of a thread block in bytes; None: by the formula of ``shared``.
        streams: Whether the kernel may have no loop. If it has none, all of its instructions count as one.
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
    code: Code = field(default_factory=list)
    threads: int = THREADS
    shared_bytes: int | None = None
    streams: bool = False

    @property
    def whole_packs(self) -> bool:
        return self.lanes > 1

    @property
    def finishes(self) -> bool:
        return self.channels_last is None

    @property
    def a_pack(self) -> int | None:
        """Instructions for each pack in the longest of the main loops; None if no loop is counted."""
        return max((count for _, count in self._counts()), default=None)

    def _counts(self) -> list[tuple[str, int]]:
        """For each main loop: the kernel whose budget it has, and its instructions for each pack."""
        around, inner = self._main_loops()
        counts = []
        for begin, end in inner:
            size, code = end - begin, self.code[begin:end]
            way, tensors, held = *LEADING[self.name], HELD_AS.get(self.name, self.name)
            if wide(code, "store"):
                way, tensors, held = STORING.get(self.name, (way, tensors, held))
            item = 4 if self.channels_last else 2  # packs of an item with upsample2x
            wider = [b - a for a, b in around if within((begin, end), (a, b))]
            outside = (min(wider) - size) / item if wider else 0
            counts.append((held, round(size * tensors / wide(code, way) + outside)))
        return counts

    @property
    def issue_share(self) -> float | None:
        """The share of issue slots that the main loop takes at the copy rate of an H200."""
        if self.a_pack is None or self.name not in TENSORS:
            return None
        clocks = TENSORS[self.name] * 16 * WARP / H200_BYTES
        return self.a_pack / (ISSUED * clocks)

    def in_flight(self, arch: int) -> int | None:
        """Bytes in flight on a multiprocessor when its threads first wait for a load in the main loop."""
        _, inner = self._main_loops()
        if not inner or self.name not in TENSORS:
            return None
        asked = min(bytes_before_use(self.code[slice(*loop)]) for loop in inner)
        return asked * self.threads * self.blocks(arch)

    @property
    def trips(self) -> int | None:
        """How many times a thread waits for loads from global memory before its main loop."""
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
        """Whether a main loop contains a division."""
        return any(divides(self.code, loop) for loop in self._main_loops()[0])

    def _main_loops(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """The loops with 128-bit accesses, and the innermost of them.

        Loops with a barrier are left out: they iterate over chunks, and not over the packs of a thread.
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
        """The maximum number of instructions for each pack of a main loop with the budget of kernel `held`."""
        budgets = LATER_BUDGETS if arch >= LATER else BUDGETS
        return round(budgets.get(held, 0) * (UPSAMPLE2X if self.upsample2x else 1))

    @property
    def shared(self) -> int:
        """Shared memory in which a thread block merges sums, in bytes. Resident kernels use more at run time."""
        if self.shared_bytes is not None:
            return self.shared_bytes
        if self.finishes:
            return 3 * 8 * THREADS  # finish_grid of launch.cuh
        sums = 3 if self.name.startswith("forward") else 2
        channels = self.lanes if self.channels_last else 1
        return sums * max(self.itemsize, 4) * channels * THREADS

    def blocks(self, arch: int) -> int:
        """The number of thread blocks that fit on a multiprocessor."""
        shared, threads = PROCESSORS[arch]
        registers = -(-self.registers // 8) * 8 * self.threads
        blocks = (
            65536 // registers,
            threads // self.threads,
            shared * 1024 // (self.shared + 1024),
        )
        return min(blocks)

    def faults(self, arch: int) -> Iterator[str]:
        """The faults of the kernel. Kernels with packs of one value have none."""
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
        # For the later architectures the compiler orders branches differently, and this count would be wrong.
        if arch < LATER and (self.trips or 0) > MOST_TRIPS:
            yield f"{self.trips} trips to memory before its main loop"
        if self.blocks(arch) < PROMISED_BLOCKS:
            yield f"only {self.blocks(arch)} block on a multiprocessor"

    def title(self) -> str:
        """The first four columns of the table: kernel, dtype, layout, packs."""
        if self.finishes:
            return " | ".join([self.name, self.dtype, "channels", f"{self.itemsize * 8} bits"])
        layout = "channels_last" if self.channels_last else "contiguous"
        shape = [f"{self.lanes * self.itemsize * 8} bits", *["upsample2x"] * self.upsample2x]
        return " | ".join(
            [self.name, self.dtype, layout, ", ".join([*shape, *["half packs"] * self.half_packs])]
        )
