"""Builds the CUDA kernels for the emulator: the files of csrc/cuda, compiled by g++ as C++."""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CUDA = ROOT / "csrc" / "cuda"
LAUNCHERS = ("forward.cu", "backward.cu", "plan.cpp")
MACHINE = ("calls.cpp", "fibers.cpp", "machine.cpp")
FLAGS = [
    "-std=c++17",
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
    roots = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    nvcc = shutil.which("nvcc")
    roots += [str(Path(nvcc).resolve().parents[1])] if nvcc else []
    folders = [Path(root, "include") for root in [*roots, "/usr/local/cuda", "/opt/cuda"]]
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


def build(*, sanitize: bool = False, sources: Path = CUDA, extra: Iterable[str] = ()) -> Path:
    """The shared library; compiled once for the same sources and flags.

    Args:
        sanitize: With AddressSanitizer and UBSan.
        sources: The folder of kernels: csrc/cuda, or a copy of it with one thing wrong.
        extra: Further flags of the compiler.
    """
    flags = [*FLAGS, *(SANITIZE if sanitize else []), *extra, f"-I{cuda_headers()}", f"-I{HERE}"]
    folder = ROOT / "build" / "emulator" / _key(flags, sources)
    library = folder / "emulator.so"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes want it at once
        if not library.is_file():
            _compile([sources / n for n in LAUNCHERS] + [HERE / n for n in MACHINE], flags, library)
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
        _run(["g++", *flags, "-x", "c++", "-c", str(path), "-o", objects[-1]])
    partial = library.with_suffix(f".{os.getpid()}")
    sanitizers = [f for f in flags if f.startswith("-fsanitize")]
    _run(["g++", "-shared", *sanitizers, *objects, "-o", str(partial)])
    os.replace(partial, library)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-4000:]}")
