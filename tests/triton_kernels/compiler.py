"""Records launches instead of running them, and compiles the kernels for GPUs that are not here.

Needs the kernels as Triton's JIT sees them, so TRITON_INTERPRET must not be set: see ``report.py``.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, make_backend
from triton.runtime.jit import JITFunction, create_function_from_signature

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "csrc" / "cuda"))
from compiled_kernel import PROCESSORS, Kernel  # noqa: E402
from compiler_output import read_sass  # noqa: E402

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}


@dataclass(frozen=True)
class Launch:
    """A kernel with its arguments, as a launch passed them."""

    kernel: JITFunction
    args: tuple
    options: dict[str, Any]

    def bind(self, target: GPUTarget) -> tuple[ASTSource, dict[str, Any], str]:
        """Source and options for the compiler, and the key of the specialisation."""
        backend = make_backend(target)
        binder = create_function_from_signature(self.kernel.signature, self.kernel.params, backend)
        asked = dict(self.options, debug=False)
        if target.backend != "cuda":
            asked.pop("maxnreg", None)  # as the launcher leaves it out there
        bound, specialisation, options = binder(*self.args, **asked)
        options, signature, constants, attrs = self.kernel._pack_args(
            backend, asked, bound, specialisation, options
        )
        source = ASTSource(self.kernel, signature, constants, attrs)
        return source, options.__dict__, f"{self.kernel.__name__}{specialisation}{self.options}"


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """Collects the launches inside; their kernels do not run, so results are left as allocated."""
    launches: list[Launch] = []

    def run(self: JITFunction, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
        launches.append(Launch(self, args, options))

    with mock.patch.object(JITFunction, "run", run):
        yield launches


def launches_of(call: Callable[[], Any]) -> list[Launch]:
    with recorded() as launches:
        call()
    return launches


@dataclass(frozen=True)
class Assembly:
    """What the compiler made of a launch."""

    registers: int
    spills: int  # bytes of local memory, or vector registers spilled to it
    shared: int  # bytes
    loads: dict[int, int]  # global loads by width in bits
    stores: dict[int, int]
    held: int | None = None  # programs that a multiprocessor holds


def compile_for(launch: Launch, target: GPUTarget) -> Assembly:
    return (_read_cuda if target.backend == "cuda" else _read_hip)(launch, target)


def _read_cuda(launch: Launch, target: GPUTarget) -> Assembly:
    kernel = compiled_cuda(launch, target.arch, launch.kernel.__name__)

    def widths(way: str) -> dict[int, int]:
        found = (key.split() for key in kernel.widths if key.startswith(way))
        return {int(bits): kernel.widths[f"{way} {bits}"] for _, bits in found}

    return Assembly(
        registers=kernel.registers,
        spills=kernel.spills,
        shared=kernel.shared,
        loads=widths("load"),
        stores=widths("store"),
        held=kernel.blocks(target.arch) if target.arch in PROCESSORS else None,
    )


def compiled_cuda(
    launch: Launch, arch: int, name: str, dtype: str = "", itemsize: int = 1, **facts: Any
) -> Kernel:
    """What the compiler made of a launch, read as the CUDA kernels are.

    Args:
        facts: Of the instance, as :class:`Kernel` has them.
    """
    target = GPUTarget("cuda", arch, 32)
    source, options, _ = launch.bind(target)
    compiled = triton.compile(source, target=target, options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        sass = _run(knobs.nvidia.cuobjdump.path, "-sass", file.name)
        usage = _run(knobs.nvidia.cuobjdump.path, "-res-usage", file.name)
    fields = {k: int(v) for k, v in re.findall(r"\b(REG|LOCAL|STACK):(\d+)", usage)}
    kernel = Kernel(name, dtype, itemsize, lanes=16 // itemsize, streams=True, **facts)
    kernel.registers, kernel.spills = fields["REG"], fields["LOCAL"] + fields["STACK"]
    kernel.threads = 32 * launch.options["num_warps"]
    kernel.shared_bytes = compiled.metadata.shared
    read_sass(sass, dict.fromkeys(re.findall(r"Function : (\w+)", sass), kernel))
    return kernel


def _count(widths: Iterator[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for width in widths:
        found[width] = found.get(width, 0) + 1
    return found


def _read_hip(launch: Launch, target: GPUTarget) -> Assembly:
    source, options, _ = launch.bind(target)
    compiled = triton.compile(source, target=target, options=options)
    text = compiled.asm["amdgcn"]
    fields = {k: int(v) for k, v in re.findall(r"\.(\w+_count|\w+_size):\s+(\d+)", text)}
    sizes = {"ubyte": 8, "byte": 8, "ushort": 16, "short": 16, "dword": 32}
    sizes |= {"dwordx2": 64, "dwordx3": 96, "dwordx4": 128}

    def widths(op: str) -> dict[int, int]:
        names = re.findall(rf"\b(?:global|buffer|flat)_{op}_(\w+)", text)
        return _count(sizes[re.sub(r"_d16(_hi)?$", "", name)] for name in names)

    return Assembly(
        registers=fields["vgpr_count"],
        # Scalars spill into lanes of a vector register, which costs no memory.
        spills=fields["vgpr_spill_count"] + fields["private_segment_fixed_size"],
        shared=compiled.metadata.shared,
        loads=widths("load"),
        stores=widths("store"),
    )


def _run(tool: str, *args: str) -> str:
    return subprocess.run([tool, *args], capture_output=True, text=True, check=True).stdout
