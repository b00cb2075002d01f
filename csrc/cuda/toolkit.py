"""The C++ standard of the kernels, and the search for the CUDA toolkit.

The build, the tests and ``make gpu`` use this module, so that all of them use the same standard and toolkit.
"""

import os
import shutil
from pathlib import Path

STANDARD = "-std=c++20"  # of g++ and nvcc; torch 2.11 would pass an older one
USUAL = ("/usr/local/cuda", "/usr/local/cuda-*", "/opt/cuda")


def homes() -> list[str]:
    """Folders that may contain a toolkit: CUDA_HOME, CUDA_PATH, the folder of nvcc on the PATH, the usual ones."""
    asked = [os.environ[v] for v in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(v)]
    nvcc = shutil.which("nvcc")
    beside = [str(Path(nvcc).resolve().parents[1])] if nvcc else []
    usual = [Path(p).parent.glob(Path(p).name) for p in USUAL]
    return [*asked, *beside, *(str(p) for found in usual for p in sorted(found, reverse=True))]


def find_tool(name: str) -> str | None:
    """The path of a program of the toolkit, else of one with this name on the PATH, else None."""
    places = [
        Path(home, folder, name) for home in homes() for folder in ("bin", "compute-sanitizer")
    ]
    return next((str(place) for place in places if place.is_file()), shutil.which(name))
