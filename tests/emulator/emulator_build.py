"""Builds the CUDA kernels for the tests: for the emulator by g++ as C++, for a GPU by nvcc."""

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CUDA = ROOT / "csrc" / "cuda"
sys.path.insert(0, str(CUDA))
import toolkit  # noqa: E402

LAUNCHERS = ("forward.cu", "backward.cu", "running.cu", "pass.cpp", "plan.cpp", "model.cpp")
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
    """The shared library; each of its objects is compiled once for the same sources and flags.

    Args:
        sanitize: With AddressSanitizer and UBSan.
        sources: The folder of kernels: csrc/cuda, or a copy of it with one thing wrong.
        extra: Further flags of the compiler for the kernels.
        door: The file by which the tests come in.
    """
    sanitizers = SANITIZE if sanitize else []
    flags = [*FLAGS, *sanitizers, f"-I{cuda_headers()}", f"-I{HERE}"]
    files = [(sources / name, [*flags, *extra]) for name in LAUNCHERS]
    files += [(HERE / name, flags) for name in (door, *MACHINE)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = [*pool.map(lambda file: _object(*file), files)]
    command = ["g++", "-shared", *sanitizers, *map(str, objects), "-o"]
    return _once("emulator.so", _key(command), lambda to: run([*command, str(to)]))


def build_wrong(folder: Path, file: str, right: str, wrong: str, dtype: str) -> Path:
    """The library of a copy of csrc/cuda, made in `folder`, with one thing wrong.

    Args:
        dtype: The one that the copy serves, as ``DType`` calls it: all four take twice as long.
    """
    sources = shutil.copytree(CUDA.parent, folder / "csrc") / "cuda"
    path = sources / file
    text = path.read_text()
    assert text.count(right) == 1, "the kernel has changed: change its wrong twin too"
    path.write_text(text.replace(right, wrong))
    launch = sources / "launch.cuh"
    text, others = re.subn(rf"    case DType::(?!{dtype}:).*\n", "", launch.read_text())
    assert others == 3, "with_dtype has changed"
    launch.write_text(text)
    return build(sources=sources, extra=["-O0", "-Wno-switch"])


def why_no_gpu() -> str | None:
    """Why the kernels cannot run on a GPU here, or None."""
    if not torch.cuda.is_available():
        return "needs a CUDA device"
    return None if nvcc() else "needs nvcc (set CUDA_HOME)"


def nvcc() -> str | None:
    return toolkit.find_tool("nvcc")


def build_on_device(arch: str = "") -> Path:
    """The same calls for a GPU: the machine's own, or any architecture, such as "sm_90"."""
    arch = arch or "sm_{}{}".format(*torch.cuda.get_device_capability())
    flags = [toolkit.STANDARD, "-O3", "-lineinfo", f"-arch={arch}", "-Xcompiler=-fPIC"]
    files = [CUDA / name for name in (*LAUNCHERS, "device.cu")] + [HERE / "on_device.cu"]

    def compiled(file: Path) -> Path:
        command = [nvcc(), *flags, "-c", str(file), "-o"]
        return _once(f"{file.stem}.o", _key(flags, file), lambda to: run([*command, str(to)]))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = [*pool.map(compiled, files)]
    command = [nvcc(), *flags, "-shared", *map(str, objects), "-o"]
    return _once("on_device.so", _key(flags, *files), lambda to: run([*command, str(to)]))


def _object(source: Path, flags: list[str]) -> Path:
    command = ["g++", *flags, "-x", "c++", "-c", str(source), "-o"]
    return _once(f"{source.stem}.o", _key(flags, source), lambda to: run([*command, str(to)]))


def _once(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """The file of these sources and flags, made where there is none."""
    folder = ROOT / "build" / "emulator" / key
    file = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes want it at once
        if not file.is_file():
            partial = file.with_suffix(f".{os.getpid()}")
            make(partial)
            os.replace(partial, file)
    return file


def _key(flags: Iterable[str], *sources: Path) -> str:
    """Of what the result depends on: flags, and the text of the sources and of what they include."""
    digest = hashlib.sha256(" ".join(flags).encode())
    for path in sources:
        for part in _included(path.resolve(), {}):
            digest.update(part.name.encode() + part.read_bytes())
    return digest.hexdigest()[:16]


def _included(path: Path, found: dict[Path, None]) -> dict[Path, None]:
    """A source and the files of ours that it includes, all the way down."""
    if path not in found:
        found[path] = None
        for name in re.findall(r'^\s*#\s*include "(.+)"', path.read_text(), re.MULTILINE):
            beside = [(folder / name).resolve() for folder in (path.parent, HERE)]
            for one in [p for p in beside if p.is_file()][:1]:
                _included(one, found)
    return found


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-4000:]}")
