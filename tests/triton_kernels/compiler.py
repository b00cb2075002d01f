"""Launches recorded instead of run, and compiled for GPUs that are not here.

Needs the kernels as Triton's JIT sees them, so TRITON_INTERPRET must not be set: see ``report.py``.
"""

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, make_backend
from triton.runtime.jit import JITFunction, create_function_from_signature

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


def compile_for(launch: Launch, target: GPUTarget) -> Assembly:
    source, options, _ = launch.bind(target)
    compiled = triton.compile(source, target=target, options=options)
    read = _read_cuda if target.backend == "cuda" else _read_hip
    return read(compiled)


def _count(widths: Iterator[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for width in widths:
        found[width] = found.get(width, 0) + 1
    return found


def _sass_widths(sass: str, op: str) -> dict[int, int]:
    modifiers = re.findall(rf"\b{op}\.E((?:\.\w+)*)", sass)
    sizes = {"U8": 8, "S8": 8, "U16": 16, "S16": 16, "64": 64, "128": 128, "256": 256}
    return _count(
        next((sizes[m] for m in modifier.split(".") if m in sizes), 32) for modifier in modifiers
    )


def _read_cuda(compiled: Any) -> Assembly:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        sass = _run(knobs.nvidia.nvdisasm.path, "-c", file.name)
        usage = _run(knobs.nvidia.cuobjdump.path, "-res-usage", file.name)
    fields = {k: int(v) for k, v in re.findall(r"\b(REG|LOCAL|STACK):(\d+)", usage)}
    return Assembly(
        registers=fields["REG"],
        spills=fields["LOCAL"] + fields["STACK"],
        shared=compiled.metadata.shared,
        loads=_sass_widths(sass, "LDG"),
        stores=_sass_widths(sass, "STG"),
    )


def _read_hip(compiled: Any) -> Assembly:
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
