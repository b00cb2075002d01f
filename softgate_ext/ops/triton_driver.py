"""Whether Triton can build its driver, a C file that it compiles at its first launch and then caches.

The question is asked when this package is imported. The answer therefore imports no Triton, which
takes a second, and touches no device.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

_COMPILERS = ("gcc", "clang")
_DRIVERS = ("cuda_utils", "hip_utils", "spirv_utils")  # as the cache names them


def obstacle() -> str | None:
    """What Triton lacks to build its driver, or None if the driver is built or can be."""
    lacking = _compiler() or _header()
    if lacking is None or _has_own_build() or _is_cached():
        return None
    return f"Triton compiles its driver at its first launch, and {lacking}"


def _compiler() -> str | None:
    named = os.environ.get("CC")
    if named is not None:  # Triton then tries no other compiler
        return None if shutil.which(named) else f"CC must name a program, got '{named}'"
    found = any(map(shutil.which, _COMPILERS))
    return None if found else "no C compiler was found (CC, gcc or clang)"


def _header() -> str | None:
    scheme = sysconfig.get_default_scheme()
    scheme = "posix_prefix" if scheme == "posix_local" else scheme  # as Triton does for Debian
    folders = [sysconfig.get_paths(scheme=scheme)["include"]]
    for name in ("CPATH", "C_INCLUDE_PATH"):
        folders += filter(None, os.environ.get(name, "").split(os.pathsep))
    found = any((Path(folder) / "Python.h").is_file() for folder in folders)
    return None if found else f"Python.h is not in {folders[0]} (Debian's python3-dev has it)"


def _has_own_build() -> bool:
    """Whether the user has set Triton's knob that replaces its own way to build the driver."""
    knobs = sys.modules.get("triton.knobs")
    return knobs is not None and knobs.build.impl is not None


def _is_cached() -> bool:
    home = os.environ.get("TRITON_HOME") or os.path.expanduser("~")
    folder = Path(os.environ.get("TRITON_CACHE_DIR") or Path(home, ".triton", "cache"))
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    return any(True for name in _DRIVERS for _ in folder.glob(f"*/{name}{suffix}"))
