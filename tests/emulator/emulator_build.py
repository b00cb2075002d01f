"""Builds the CUDA kernels for the tests: for the emulator by g++ as C++, for a GPU by nvcc."""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CUDA = ROOT / "csrc" / "cuda"
sys.path.insert(0, str(CUDA))
import toolkit  # noqa: E402

LAUNCHERS = ("forward.cu", "backward.cu", "plan.cpp")
MACHINE = ("fibers.cpp", "machine.cpp", "scheduler.cpp")
FLAGS = [
    toolkit.STANDARD,
    "-O1",
    "-g1",
    "-fPIC",
    "-fno-strict-aliasing",
    "-ffp-contract=off",
    "-DSOFTGATE_EMULATOR",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unknown-pragmas",
    "-Wno-attributes",
    "-Wno-clobbered",
    "-Wno-maybe-uninitialized",
]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


@cache
def cuda_headers() -> Path | None:
    """A folder with CUDA's headers: a toolkit's, or the copy that a wheel carries."""
    folders = [Path(home, "include") for home in toolkit.homes()]
    for package, inside in (("triton", "backends/nvidia/include"), ("nvidia", "cu13/include")):
        spec = importlib.util.find_spec(package)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            folders.append(Path(location, inside))
    wanted = ("cuda_runtime.h", "cuda_fp16.h", "cuda_bf16.h", "vector_types.h")
    return next((f for f in folders if all((f / name).is_file() for name in wanted)), None)


def why_not() -> str | None:
    """Why the emulator cannot be built here, or None."""
    if shutil.which("g++") is None:
        return "needs g++"
    if cuda_headers() is None:
        return "needs CUDA's headers: a toolkit (set CUDA_HOME) or triton's wheel"
    return None


def build(
    *,
    sanitize: bool = False,
    sources: Path = CUDA,
    extra: Iterable[str] = (),
    door: str = "calls.cpp",
) -> Path:
    """The shared library; compiled once for the same sources and flags.

    Args:
        sanitize: With AddressSanitizer and UBSan.
        sources: The folder of kernels: csrc/cuda, or a copy of it with one thing wrong.
        extra: Further flags of the compiler.
        door: The file by which the tests come in.
    """
    flags = [*FLAGS, *(SANITIZE if sanitize else []), *extra, f"-I{cuda_headers()}", f"-I{HERE}"]
    files = [*(sources / name for name in LAUNCHERS), *(HERE / name for name in (door, *MACHINE))]
    return _once("emulator", _key([*flags, door], sources), lambda to: _compile(files, flags, to))


def changed_copy(folder: Path, file: str, right: str, wrong: str) -> Path:
    """A copy of csrc/cuda with one thing wrong."""
    shutil.copytree(CUDA.parent, folder / "csrc")
    path = folder / "csrc" / "cuda" / file
    text = path.read_text()
    assert text.count(right) == 1, "the kernel has changed: change its wrong twin too"
    path.write_text(text.replace(right, wrong))
    return path.parent


def why_no_gpu() -> str | None:
    """Why the kernels cannot run on a GPU here, or None."""
    if not torch.cuda.is_available():
        return "needs a CUDA device"
    return None if nvcc() else "needs nvcc (set CUDA_HOME)"


def nvcc() -> str | None:
    return toolkit.find_tool("nvcc")


def build_on_device(arch: str = "native") -> Path:
    """The same calls for a GPU: the machine's own, or any architecture, to see it compile."""
    flags = [toolkit.STANDARD, "-O3", "-lineinfo", f"-arch={arch}", "-Xcompiler=-fPIC", "-shared"]
    files = [CUDA / name for name in (*LAUNCHERS, "device.cu")] + [HERE / "on_device.cu"]
    command = [nvcc(), *flags, "--threads=0", *map(str, files), "-o"]
    return _once("on_device", _key(flags, CUDA), lambda to: run([*command, str(to)]))


def _once(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """The library of these sources and flags, made where there is none."""
    folder = ROOT / "build" / name / key
    library = folder / f"{name}.so"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes want it at once
        if not library.is_file():
            partial = library.with_suffix(f".{os.getpid()}")
            make(partial)
            os.replace(partial, library)
    return library


def _key(flags: Iterable[str], sources: Path) -> str:
    digest = hashlib.sha256(" ".join(flags).encode())
    for path in sorted([*sources.parent.glob("*.h"), *sources.iterdir(), *HERE.glob("*.[ch]*")]):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _compile(files: Iterable[Path], flags: list[str], library: Path) -> None:
    objects = []
    for path in files:
        objects.append(str(library.parent / f"{path.stem}_{path.suffix[1:]}.o"))
        run(["g++", *flags, "-x", "c++", "-c", str(path), "-o", objects[-1]])
    sanitizers = [f for f in flags if f.startswith("-fsanitize")]
    run(["g++", "-shared", *sanitizers, *objects, "-o", str(library)])


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-4000:]}")
