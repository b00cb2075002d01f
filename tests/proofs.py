"""Proofs that are kept: what follows from sources, compilers and libraries alone is shown once.

A test with the marker ``proof(name)`` is passed over where proofs.json says that all tests of that name passed
with these very files and tools. ``pytest --prove NAME`` runs all of them and nothing else; ``make proofs`` writes
what has passed. In CI (the variable CI is set) some of them run always, and on a GPU those that need one.
"""

import glob
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
KEPT = HERE / "proofs.json"


@dataclass(frozen=True)
class Proof:
    """What the outcome of tests follows from: files of this project, packages, programs.

    Args:
        files: Patterns of paths; `**` stands for any folders.
        always: In CI one test of so many runs although the proof is kept; 0 stands for none.
    """

    files: tuple[str, ...]
    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    always: int = 16


PROOFS = {
    "emulator": Proof(
        (
            *("csrc/*.h", "csrc/cuda/*.[ch]*", "csrc/cuda/toolkit.py"),
            *("tests/emulator/*", "softgate_ext/ops/reference.py"),
        ),
        ("torch", "triton"),
        ("g++", "nvcc"),
    ),
    "triton": Proof(
        (
            "triton_kernels/*.py",
            "softgate_ext/*.py",
            "softgate_ext/ops/*.py",
            "tests/triton_kernels/*.py",
            "tests/ops/*.py",
            "csrc/cuda/*.py",
        ),
        ("torch", "triton", "numpy"),
    ),
    "vectors": Proof(
        (
            *("csrc/*.h", "csrc/*.cpp", "csrc/cpu/*", "setup.py", "softgate_ext/*.py"),
            *("softgate_ext/ops/*.py", "tests/ops/*.py"),
        ),
        ("torch",),
        ("g++",),
    ),
    "compiler": Proof(
        (
            *("csrc/*.h", "csrc/*.cpp", "csrc/cpu/*", "softgate_ext/*.py", "tests/compiler/*.py"),
            *(f"softgate_ext/{room}/*.py" for room in ("compiler", "inference", "nn", "ops")),
            *("softgate_ext/models/*.py", "softgate_ext/pose/*.py"),
        ),
        ("torch", "torchvision", "timm", "segmentation-models-pytorch"),
        ("g++",),
    ),
    "install": Proof(
        (
            *("setup.py", "pyproject.toml", "MANIFEST.in", "csrc/**", "triton_kernels/*.py"),
            *("softgate_ext/*.py", "softgate_ext/ops/*.py"),
            *("tests/conftest.py", "tests/test_install.py", "tests/ops/*.py"),
        ),
        ("torch", "setuptools"),
        ("g++",),
        always=0,
    ),
}


def paths_of(proof: Proof) -> list[str]:
    """The files of a proof, relative to the root, and those that say which tests run."""
    patterns = (*proof.files, "tests/conftest.py", "tests/proofs.py")
    found = {name for p in patterns for name in glob.glob(p, root_dir=ROOT, recursive=True)}
    return sorted(n for n in found if (ROOT / n).is_file() and "__pycache__" not in n)


def digest(proof: Proof) -> str:
    """Of the files, and of the machine and the versions of what they are compiled and run with."""
    machine = platform.machine(), torch.backends.cpu.get_cpu_capability()
    text = hashlib.sha256(f"{sys.version_info[:2]} {machine}".encode())
    for name in paths_of(proof):
        text.update(name.encode() + b"\0" + (ROOT / name).read_bytes())
    for name in proof.packages:
        text.update(f"{name} {_version(name)}".encode())
    for name in proof.programs:
        text.update(f"{name} {_release(name)}".encode())
    return text.hexdigest()[:16]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


@cache
def _release(program: str) -> str:
    if shutil.which(program) is None:
        return "absent"
    said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    return " ".join(re.findall(r"\d+\.[\d.]+", said))


def kept() -> dict[str, str]:
    """The digests of what has passed, by name; none of a file that a merge left in conflict."""
    try:
        return json.loads(KEPT.read_text())
    except ValueError:
        return {}


def name_of(item: pytest.Item) -> str | None:
    """The proof that a test is a part of; what runs on a GPU depends on more than sources."""
    marker = item.get_closest_marker("proof")
    if marker is None or item.get_closest_marker("gpu"):
        return None
    (name,) = marker.args
    return name


def pass_over(items: list[pytest.Item]) -> None:
    """Marks the tests of the proofs that are kept; in CI all but some."""
    groups = defaultdict(list)
    for item in items:
        name = name_of(item)
        if name is not None:
            groups[name].append(item)
    for name, group in groups.items():
        if kept().get(name) != digest(PROOFS[name]):
            continue
        step = PROOFS[name].always if os.environ.get("CI") else 0
        reason = f"needs a change of what the proof '{name}' was made from (pytest --prove {name})"
        for number, item in enumerate(group):
            if not step or number % step:
                item.add_marker(pytest.mark.skip(reason=reason))


def keep(name: str, before: str) -> None:
    """Writes that this proof passed with what lies here.

    Args:
        name: of the proof.
        before: its digest when its tests began, which may have taken an hour.

    Raises:
        SystemExit: the sources or tools have changed since then; nothing is written.
    """
    if digest(PROOFS[name]) != before:
        raise SystemExit(
            f"proof '{name}': what it was made from changed while its tests ran; run it again"
        )
    found = kept() | {name: before}
    partial = KEPT.with_suffix(".partial")
    partial.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n")
    os.replace(partial, KEPT)


if __name__ == "__main__":  # NAME prints the digest; NAME DIGEST keeps it
    if len(sys.argv) == 2:
        print(digest(PROOFS[sys.argv[1]]))
    else:
        keep(*sys.argv[1:])
