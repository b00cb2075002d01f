"""Builds the extension, and the library of the tests that calls the kernels, for the GPU of this machine.

Neither is built where it is already there: the extension in place with CUDA kernels, and the library in
build/emulator, whose folder is named by a digest of its sources and flags.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from benchmarks.gpu import device
from benchmarks.gpu.runner import ROOT

sys.path.insert(0, str(ROOT / "tests" / "emulator"))


def main() -> None:
    device.require()
    with ThreadPoolExecutor(2) as pool:
        extension = pool.submit(build_extension)
        print(f"the tests' calls: {pool.submit(build_calls).result()}")
        print(f"the extension: {extension.result()}")


def build_calls() -> str:
    import emulator_build

    return str(emulator_build.build_on_device().relative_to(ROOT))


def build_extension() -> str:
    from softgate_ext.ops import backend

    if backend.unavailable("cuda") is None:
        return f"brought along, for CUDA {backend.info()['build']['cuda']}"
    import torch

    arch = ".".join(map(str, torch.cuda.get_device_capability()))
    env = {"SOFTGATE_CUDA": "1", "TORCH_CUDA_ARCH_LIST": arch, "MAX_JOBS": str(os.cpu_count())}
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, check=True)
    return f"built for {arch}"


if __name__ == "__main__":
    main()
