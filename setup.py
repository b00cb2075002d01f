"""Builds the kernels: C++ always, CUDA where nvcc and a CUDA torch are there.

SOFTGATE_CUDA=0|1      leave the CUDA kernels out, or insist on them (default: where possible)
TORCH_CUDA_ARCH_LIST   architectures for them (default: this machine's GPUs, else a common list)
MAX_JOBS               compilers at a time

Without a C++ compiler or Python's headers the package still installs and runs on its reference
backend; ``softgate info`` says what is missing.
"""

import atexit
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import setuptools
from setuptools import Extension, setup
from setuptools.command.build import build as SetuptoolsBuild
from setuptools.command.build_ext import build_ext as SetuptoolsBuildExt

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "csrc" / "cuda"))
from toolkit import STANDARD, homes  # noqa: E402

NO_TORCH = (
    "softgate_ext is built against the torch that it will run with, and this build environment has "
    "none: install torch first, then run 'pip install --no-build-isolation' with the same arguments."
)

if int(setuptools.__version__.split(".")[0]) < 77:
    raise SystemExit(
        f"softgate_ext is built with setuptools 77 or newer, and this is {setuptools.__version__}: "
        "run 'pip install --upgrade setuptools' first."
    )

try:
    import torch
except ImportError:
    torch = None


def no_compiler() -> str:
    """Why nothing can be compiled here, or an empty string."""
    asked = os.environ.get("CXX", "")
    if not shutil.which(asked) and " " in asked.strip():  # torch's build makes one word of it
        raise SystemExit(f"CXX must be one program without arguments, got '{asked}'.")
    candidates = [asked] if asked else ["c++", "g++", "clang++"]
    if not any(shutil.which(c) for c in candidates):
        return "no C++ compiler was found when it was installed: install g++ and reinstall"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "Python.h was not found when it was installed: install python3-dev and reinstall"
    return ""


def find_cuda() -> str | None:
    """The toolkit's folder: one that holds the headers, not only a wrapper of nvcc on the PATH."""
    for home in homes():
        header = Path(home, "include", "cuda_runtime.h")
        if header.is_file() and Path(home, "bin", "nvcc").is_file():
            return home
    return None


def cuda_plan() -> tuple[str | None, str]:
    """The toolkit to build with, or None and the reason."""
    asked = os.environ.get("SOFTGATE_CUDA") or "auto"
    if asked not in ("auto", "0", "1"):
        raise SystemExit(f"SOFTGATE_CUDA must be 0 or 1, got '{asked}'.")
    if asked == "0":
        return None, "SOFTGATE_CUDA=0 was set"
    home = find_cuda()
    if not list((ROOT / "csrc" / "cuda").glob("*.cu")):
        reason = "this version has no CUDA sources"
    elif torch.version.cuda is None:
        reason = f"torch {torch.__version__} is a build without CUDA"
    elif home is None:
        reason = "no CUDA toolkit (include/cuda_runtime.h, bin/nvcc) was found; set CUDA_HOME"
    elif home and torch.version.cuda.split(".")[0] != toolkit_version(home).split(".")[0]:
        reason = (
            f"torch is built for CUDA {torch.version.cuda}, the toolkit in {home} is "
            f"{toolkit_version(home)}: another major"
        )
    else:
        return home, ""
    if asked == "1":
        raise SystemExit(f"SOFTGATE_CUDA=1 asks for the CUDA kernels, but {reason}.")
    return None, reason


def toolkit_version(home: str) -> str:
    said = subprocess.run(
        [Path(home, "bin", "nvcc"), "--version"], capture_output=True, text=True
    ).stdout
    found = re.search(r"release (\d+\.\d+)", said)
    return found[1] if found else "an unknown version"


def sources(*patterns: str) -> list[str]:
    found = [p for pattern in patterns for p in (ROOT / "csrc").glob(pattern)]
    return sorted(str(p.relative_to(ROOT)) for p in found)


def write_record(folder: Path, **record: object) -> None:
    """What was built and why not more, for ``softgate info``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "_build.json").write_text(json.dumps(record, indent=1) + "\n")


class FreshBuild(SetuptoolsBuild):
    """Removes what an older build left: its modules and its extension would enter the wheel."""

    def run(self) -> None:
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


class PlainBuild(SetuptoolsBuildExt):
    """Stands in where nothing can be compiled."""

    def run(self) -> None:
        reason = no_compiler()
        if not reason:
            raise SystemExit(NO_TORCH)
        print(f"softgate_ext: {reason}; it will run on the reference backend.")
        inplace = self.editable_mode or self.inplace
        base = ROOT if inplace else Path(self.build_lib)
        write_record(base / "softgate_ext", reason=reason)

    def get_outputs(self) -> list[str]:
        return []


def extension_and_command():
    placeholder = Extension("softgate_ext._C", [])
    if torch is None or no_compiler():
        return placeholder, PlainBuild

    home, reason = cuda_plan()
    if home:
        os.environ["CUDA_HOME"] = home
        os.environ["PATH"] = f"{home}/bin{os.pathsep}{os.environ['PATH']}"
        if not os.environ.get("TORCH_CUDA_ARCH_LIST") and not torch.cuda.is_available():
            os.environ["TORCH_CUDA_ARCH_LIST"] = "8.0;8.6;8.9;9.0;10.0;12.0+PTX"
    from torch.utils import cpp_extension

    cxx = [STANDARD, "-O3", "-g0", "-fopenmp", "-Wall", "-Wno-psabi", "-Wno-maybe-uninitialized"]
    options = dict(
        extra_link_args=["-fopenmp"],
        include_dirs=[str(ROOT / "csrc")],
        depends=sources("*.h", "cpu/*.h", "cuda/*.cuh", "cuda/*.h"),
    )
    if home:
        cpp_extension.CUDA_HOME = home
        cxx.append("-DSOFTGATE_CUDA")
        extension = cpp_extension.CUDAExtension(
            "softgate_ext._C",
            sources("*.cpp", "cpu/*.cpp", "cuda/*.cpp", "cuda/*.cu"),
            extra_compile_args={"cxx": cxx, "nvcc": [STANDARD, "-O3", "-DSOFTGATE_CUDA"]},
            **options,
        )
    else:
        extension = cpp_extension.CppExtension(
            "softgate_ext._C",
            # Plans and the model of their time are plain C++: `softgate_ext._C.predictions`.
            sources("*.cpp", "cpu/*.cpp", "cuda/pass.cpp", "cuda/plan.cpp", "cuda/model.cpp"),
            extra_compile_args={"cxx": cxx},
            **options,
        )

    class Build(cpp_extension.BuildExtension):
        def run(self) -> None:
            super().run()
            base = ROOT if self.inplace else Path(self.build_lib)
            record = dict(torch=torch.__version__, cuda=toolkit_version(home) if home else None)
            if home:
                record["architectures"] = os.environ.get("TORCH_CUDA_ARCH_LIST", "this machine's")
            else:
                record["no_cuda"] = reason
            write_record(base / "softgate_ext", **record)

    return extension, Build


def places() -> dict[str, dict[str, str]]:
    """Where what is made on the way goes, if not beside the sources: those may be read-only."""
    if os.access(ROOT, os.W_OK):
        return {}
    scratch = tempfile.mkdtemp(prefix="softgate-build-")
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    return {"build": {"build_base": scratch}, "egg_info": {"egg_base": scratch}}


extension, command = extension_and_command()
setup(
    options=places(),
    packages=[
        "softgate_ext",
        *sorted(
            str(p.parent.relative_to(ROOT)).replace("/", ".")
            for p in (ROOT / "softgate_ext").glob("*/**/__init__.py")
        ),
        "softgate_ext.triton_kernels",
    ],
    # A top-level package of that name belongs to the Triton project.
    package_dir={"softgate_ext.triton_kernels": "triton_kernels"},
    package_data={
        "softgate_ext": ["*.pyi", "py.typed"],
        "softgate_ext.data": ["*.npz"],
        "softgate_ext.page": ["*.html"],
        "softgate_ext.pretrained": ["*.safetensors", "*.json", "*.jpg"],
    },
    ext_modules=[extension],
    cmdclass={"build": FreshBuild, "build_ext": command},
)
