"""Makes ``Kernel`` objects from the output of ptxas and of the disassembler."""

import re

from compiled_kernel import Kernel
from instructions import width

DTYPES = {"f": ("float32", 4), "d": ("float64", 8), "__half": ("float16", 2)}
BFLOAT16 = ("bfloat16", 2)


def parse(symbol: str) -> Kernel | None:
    """The kernel of a mangled name, or None for another function.

    The kernels that finish sums have no template argument ``Tiling``.
    """
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
    """Adds a kernel for each entry function in the output of ``ptxas -v``, with registers, stack and spills."""
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
    """Adds the instructions of each kernel, and counts its accesses to global and local memory by width.

    Generic accesses are counted separately. They are correct for distributed shared memory, and possible for
    per-channel vectors.
    """
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
