"""What the compiler made of a CUDA kernel: its registers, and its instructions from the disassembly.

A kernel of whole packs is at fault where it spills, uses local memory, does not move its tensors by 128 bits of
global memory, divides in its main loop, or takes more instructions a pack than BUDGETS has.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

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
DTYPES = {"f": ("float32", 4), "d": ("float64", 8), "__half": ("float16", 2)}
BFLOAT16 = ("bfloat16", 2)
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


# The kernels that read once hold the passes of others: what their loops with stores are counted and held as,
# and those without.
BOTH_PASSES = {
    "backward_sliced": (
        ("backward_map", LEADING["backward_map"]),
        ("backward_reduce", LEADING["backward_reduce"]),
    ),
    "backward_resident": (
        ("backward_map", ("load", 2)),
        ("backward_reduce", LEADING["backward_reduce"]),
    ),  # dy, skip
}
HELD_AS = {"forward_sliced": "forward_reduce", "forward_resident": "forward_reduce"}


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
    code: list[tuple[int, str]] = field(default_factory=list)  # address and instruction
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
        loops, inner = self._main_loops()
        counts = []
        for begin, end in inner:
            size, code = end - begin, self.code[begin:end]
            held, (way, tensors) = (
                HELD_AS.get(self.name, self.name),
                LEADING.get(self.name, ("", 0)),
            )
            if self.name in BOTH_PASSES:
                held, (way, tensors) = BOTH_PASSES[self.name][not _wide(code, "store")]
            item = 4 if self.channels_last else 2  # packs, where it is those of two image rows
            around = [b - a for a, b in loops if _within((begin, end), (a, b))]
            outside = (min(around) - size) / item if around else 0
            counts.append((held, round(size * tensors / _wide(code, way) + outside)))
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
        asked = min(_bytes_before_use(self.code[slice(*loop)]) for loop in inner)
        return asked * self.threads * self.blocks(arch)

    @property
    def trips(self) -> int | None:
        """How often a thread waits for global memory before its main loop."""
        _, inner = self._main_loops()
        if not inner or self.name not in TENSORS:
            return None
        trips, asked = 0, set[int]()
        for _, text in self.code[: min(begin for begin, _ in inner)]:
            if _reads(text) & asked:
                trips, asked = trips + 1, set()
            if "LDG" in text:
                asked |= _loaded(text)
        return trips

    @property
    def divides(self) -> bool:
        """Whether a main loop has a division: a reciprocal, or a call of the subroutine that rounds it.

        Subroutines lie behind the kernel's end; for sm_80 the compiler also jumps within it by calls.
        """
        loops, _ = self._main_loops()
        texts = [text for loop in loops for _, text in self.code[slice(*loop)]]
        end = max((address for address, text in self.code if "EXIT" in text), default=0)
        calls = [found for text in texts if (found := re.search(r"\bCALL\b.*0x([0-9a-f]+)", text))]
        called = any(int(found[1], 16) > end for found in calls)
        return called or any("MUFU.RCP" in text for text in texts)

    def _main_loops(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """The loops with wide accesses, and those of them that have no other inside.

        Loops with a barrier go over blocks of work, not over what a thread reads.
        """
        if not self.whole_packs or self.name not in LEADING | BOTH_PASSES:
            return [], []
        way, _ = LEADING.get(self.name, ("load", 0))
        loops = [
            (begin, end)
            for begin, end in self._loops()
            if not any(re.search(r"\bBAR\b", text) for _, text in self.code[begin:end])
            if _wide(self.code[begin:end], way)
        ]
        inner = [one for one in loops if not any(_within(other, one) for other in loops)]
        if self.streams and not self._loops():
            inner = [(0, 1 + max(i for i, (_, text) in enumerate(self.code) if "EXIT" in text))]
        return loops, inner

    def _loops(self) -> list[tuple[int, int]]:
        """The instructions from where a branch leads back to, up to behind it."""
        at = {address: place for place, (address, _) in enumerate(self.code)}
        back = []
        for place, (address, text) in enumerate(self.code):
            to = re.search(r"\bBRA\b.*0x([0-9a-f]+)", text)
            if to and int(to[1], 16) < address and int(to[1], 16) in at:
                back.append((at[int(to[1], 16)], place + 1))
        return back

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


def _wide(code: list[tuple[int, str]], way: str) -> int:
    """How many 128-bit accesses to global memory there are."""
    op = "LDG" if way == "load" else "STG"
    return sum(bool(re.search(rf"\b{op}\S*\.128\b", text)) for _, text in code)


def _registers(text: str) -> set[int]:
    return {int(r) for r in re.findall(r"\bR(\d+)\b", text)}


def _loaded(text: str) -> set[int]:
    """The registers that a load writes."""
    op, first = re.search(r"\bLD\S*", text), re.search(r"\bR(\d+)\b", text)
    if op is None or first is None:
        return set()
    return set(range(int(first[1]), int(first[1]) + max(width(op[0]) // 32, 1)))


def _reads(text: str) -> set[int]:
    """The registers that an instruction reads; of a store, all it names."""
    operands = re.sub(r"^@!?U?P\w+ +", "", text).partition(" ")[2]
    whole = text if re.search(r"\b(ST[GSL]?|BRA|RED)\b", text) else operands.partition(",")[2]
    return _registers(whole)


def _bytes_before_use(loop: list[tuple[int, str]]) -> int:
    """The most bytes that loads of a loop ask for until the first of them is used."""
    lines = [text for _, text in loop]
    most = 0
    for start, text in enumerate(lines):
        if "LDG" not in text:
            continue
        asked, size = set[int](), 0
        for line in lines[start:] + lines[:start]:
            if _reads(line) & asked:
                break
            if op := re.search(r"\bLDG\S*", line):
                asked |= _loaded(line)
                size += width(op[0]) // 8
        most = max(most, size)
    return most


def _within(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one != other and other[0] <= one[0] and one[1] <= other[1]


def parse(symbol: str) -> Kernel | None:
    """The kernel behind a mangled name; those that finish sums have no Tiling."""
    name = re.match(r"_ZN8softgate4cuda(\d+)", symbol)
    tiling = re.search(
        r"TilingI(f|d|\d+__half|\d+__nv_bfloat16)Lb([01])ELi(\d+)ELb([01])ELb([01])", symbol
    )
    if name is None:
        return None
    begin = name.end()
    kernel = symbol[begin : begin + int(name[1])]
    if tiling is None:
        accumulator = re.match(r"I([fd])E", symbol[begin + len(kernel) :])
        return Kernel(kernel, *DTYPES[accumulator[1]]) if accumulator else None
    dtype, itemsize = DTYPES.get(tiling[1].lstrip("0123456789"), BFLOAT16)
    return Kernel(
        kernel,
        dtype,
        itemsize,
        channels_last=tiling[2] == "1",
        lanes=int(tiling[3]),
        upsample2x=tiling[4] == "1",
        half_packs=tiling[5] == "1",
    )


def read_log(log: str, kernels: dict[str, Kernel]) -> None:
    """Registers, stack and spills from ptxas -v."""
    current = None
    for line in log.splitlines():
        if entry := re.search(r"Compiling entry function '(\w+)'", line):
            current = parse(entry[1])
            if current:
                kernels[entry[1]] = current
        elif current and (sizes := re.search(r"(\d+) bytes stack frame, (\d+) .*?, (\d+) ", line)):
            current.stack, current.spills = int(sizes[1]), int(sizes[2]) + int(sizes[3])
        elif current and (used := re.search(r"Used (\d+) registers", line)):
            current.registers = int(used[1])


def read_sass(sass: str, kernels: dict[str, Kernel]) -> None:
    """Global and local accesses by width, from the disassembly. Generic ones apart: the shared memory
    of another block of the cluster is read by them, and a vector per channel may be."""
    current = None
    for line in sass.splitlines():
        if function := re.search(r"Function : (\w+)", line):
            current = kernels.get(function[1])
            continue
        if current and (line_of := re.match(r"\s+/\*([0-9a-f]{4,})\*/\s+(.*?);", line)):
            current.code.append((int(line_of[1], 16), line_of[2]))
        if current and (access := re.search(r"\b(LD|ST)(G|L|)((?:\.\w+)*) ", line)):
            if "/*" not in line.split(access[0])[0]:
                continue
            way = "load" if access[1] == "LD" else "store"
            kind = {"G": "", "L": "local ", "": "generic "}[access[2]]
            key = f"{kind}{way} {width(access[3])}"
            current.widths[key] = current.widths.get(key, 0) + 1


def width(suffix: str) -> int:
    found = re.search(r"\b[US]?(8|16|64|128|256)\b", suffix.replace(".", " "))
    return int(found[1]) if found else 32
