"""How the kernels are compiled: by which standard of C++, and where CUDA's toolkit is.

The build, the tests and ``make gpu`` all ask here, so that they agree.
"""

import os
import shutil
from pathlib import Path

STANDARD = "-std=c++20"  # of g++ and nvcc; torch 2.11 would pass an older one
USUAL = ("/usr/local/cuda", "/usr/local/cuda-*", "/opt/cuda")


def homes() -> list[str]:
    """Folders that may hold a toolkit: those that were asked for, nvcc's own, the usual ones."""
    asked = [os.environ[v] for v in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(v)]
    nvcc = shutil.which("nvcc")
    beside = [str(Path(nvcc).resolve().parents[1])] if nvcc else []
    usual = [Path(p).parent.glob(Path(p).name) for p in USUAL]
    return [*asked, *beside, *(str(p) for found in usual for p in sorted(found, reverse=True))]


def find_tool(name: str) -> str | None:
    """A program of the toolkit; else one of that name on the PATH."""
    places = [
        Path(home, folder, name) for home in homes() for folder in ("bin", "compute-sanitizer")
    ]
    return next((str(place) for place in places if place.is_file()), shutil.which(name))
