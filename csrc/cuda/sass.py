"""Compiles the CUDA kernels for every architecture and checks the compiled code.

    python csrc/cuda/sass.py [--arch 90 ...] [--write docs/kernels.md]

Prints a table of all kernels. Exits with 1 if a kernel has a fault (see compiled_kernel.py), and with 2 if a tool is
missing. Needs nvcc and the disassembler cuobjdump, from the CUDA toolkit or from the wheel of triton, but no GPU.
"""

import argparse
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import toolkit  # noqa: E402
from compiled_kernel import PROCESSORS, THREADS, Kernel  # noqa: E402
from compiler_output import read_log, read_sass  # noqa: E402
from triton_instances import triton_kernels  # noqa: E402

SOURCES = ("forward.cu", "backward.cu")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--arch", type=int, nargs="+", choices=PROCESSORS, default=list(PROCESSORS))
    parser.add_argument("--write", type=Path, help="write the table to this Markdown file")
    options = parser.parse_args()
    nvcc, cuobjdump = find_tool("nvcc"), find_tool("cuobjdump")
    missing = [name for name, tool in (("nvcc", nvcc), ("cuobjdump", cuobjdump)) if tool is None]
    if nvcc is None or cuobjdump is None:
        print(
            f"sass.py needs {' and '.join(missing)}: set CUDA_HOME to a CUDA toolkit, or install triton",
            file=sys.stderr,
        )
        return 2
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [(arch, source) for arch in options.arch for source in SOURCES]
        read = pool.map(lambda job: compile_for(*job, nvcc, cuobjdump), jobs)
        found: dict[int, list[Kernel]] = {arch: [] for arch in options.arch}
        for (arch, _), kernels in zip(jobs, read, strict=True):
            found[arch] += kernels
    for kernels in found.values():
        kernels.sort(
            key=lambda k: (
                k.name,
                k.dtype,
                bool(k.channels_last),
                -k.lanes,
                k.upsample2x,
                k.half_packs,
            )
        )
    triton = triton_kernels(found)
    text = table({arch: kernels + triton[arch] for arch, kernels in found.items()})
    print(text)
    if options.write:
        partial = options.write.with_suffix(".partial")
        partial.write_text(page(text, release(nvcc)))
        os.replace(partial, options.write)
    faults = [
        f"sm_{arch} {kernel.title()}: {fault}"
        for arch, kernels in found.items()
        for kernel in kernels
        for fault in kernel.faults(arch)
    ]
    print(
        "\n".join(faults)
        or f"{sum(map(len, found.values()))} kernels, no fault by the rules of compiled_kernel.py"
    )
    return 1 if faults else 0


def digest() -> str:
    """A digest of the sources of the kernels and of the scripts that analyse the compiled code."""
    files = [path for path in (*HERE.iterdir(), *HERE.parent.glob("*.h")) if path.is_file()]
    texts = (path.name.encode() + path.read_bytes() for path in sorted(files))
    return hashlib.sha256(b"".join(texts)).hexdigest()[:16]


def release(nvcc: str) -> str:
    """The compiler's version, as in "13.0"."""
    found = re.search(r"release ([\d.]+)", run([nvcc, "--version"]))
    return found[1] if found else "unknown"


def find_tool(name: str) -> str | None:
    """The path of a program of the CUDA toolkit, or of its copy in the wheel of triton."""
    spec = importlib.util.find_spec("triton")
    inside = [
        Path(p, "backends/nvidia/bin", name)
        for p in (spec and spec.submodule_search_locations) or ()
    ]
    return toolkit.find_tool(name) or next((str(p) for p in inside if p.is_file()), None)


def compile_for(arch: int, source: str, nvcc: str, cuobjdump: str) -> list[Kernel]:
    """The kernels of one source, compiled for one architecture."""
    kernels: dict[str, Kernel] = {}
    with tempfile.TemporaryDirectory() as folder:
        cubin = str(Path(folder, source).with_suffix(".cubin"))
        log = run([nvcc, toolkit.STANDARD, "-O3", f"-arch=sm_{arch}", "-Xptxas", "-v", "-cubin",
                   str(HERE / source), "-o", cubin])  # fmt: skip
        read_log(log, kernels)
        read_sass(run([cuobjdump, "-sass", cubin]), kernels)
    return list(kernels.values())


def run(command: list[str]) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}")
    return done.stdout


def table(found: dict[int, list[Kernel]]) -> str:
    """The Markdown table: one row for each instance of a kernel. `page` explains the columns."""
    archs = list(found)
    head = [
        "kernel",
        "dtype",
        "layout",
        "packs",
        "shared",
        *[f"sm_{a}" for a in archs],
        "spills",
        "widest",
    ]
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for same in zip(*found.values(), strict=True):
        cells = [cell(k, a) for a, k in zip(archs, same, strict=True)]
        spills = sum(k.spills + k.stack for k in same)
        widest = min(max(widths_of(k), default=0) for k in same)
        rows.append(
            "| "
            + " | ".join([same[0].title(), str(same[0].shared), *cells, str(spills), str(widest)])
            + " |"
        )
    return "\n".join(rows)


def cell(kernel: Kernel, arch: int) -> str:
    numbers = [kernel.registers, kernel.blocks(arch)]
    if kernel.a_pack is not None:
        numbers.append(kernel.a_pack)
    text = " / ".join(map(str, numbers))
    in_flight, share = kernel.in_flight(arch), kernel.issue_share
    if in_flight is None or share is None:
        return text
    return f"{text} / {in_flight >> 10} KiB / {share:.0%} / {kernel.trips}"


def widths_of(kernel: Kernel) -> Iterable[int]:
    return [int(key.split()[1]) for key in kernel.widths if key.startswith(("load", "store"))]


def page(text: str, compiler: str) -> str:
    triton = f", Triton {version('triton')}" if importlib.util.find_spec("triton") else ""
    return (
        f"# CUDA kernels as compiled\n\nPrinted by `make sass` (nvcc {compiler}{triton}; sources {digest()}). "
        "The columns of the architectures have registers of a thread / thread blocks on a multiprocessor, of "
        f"{THREADS} threads each / instructions of the main loop for each pack of 16 bytes / bytes in flight on a "
        "multiprocessor when its threads first wait for a load / share of the issue slots that the main loop takes at "
        "the copy rate of an H200 / dependent loads before the main loop. `shared`: shared memory in which a thread "
        "block merges sums, in bytes. `spills`: bytes of spills and stack, added over all architectures. `widest`: the "
        "widest access to global memory, in bits. `upsample2x`: the call has a low-resolution tensor. `half packs`: "
        "branches are accessed by packs of 8 bytes. The kernels with layout `channels` finish sums. Resident kernels "
        "also keep packs in shared memory, up to all of it, so that fewer thread blocks fit than the table says. "
        "`triton`: the Triton kernels of the same work, with programs of 128 threads, counted in the same way.\n\n"
        f"{text}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
