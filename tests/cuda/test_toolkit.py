"""The search for CUDA's toolkit, which the build, the tests and ``make gpu`` share."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = {"nvcc": "bin", "compute-sanitizer": "compute-sanitizer"}
ASK = """
import sys
sys.path[:0] = [{cuda!r}, {emulator!r}]
import toolkit
toolkit.USUAL = ({usual!r},)
import emulator_build, sass
from benchmarks.gpu import sanitize
print(emulator_build.nvcc(), sass.find_tool("nvcc"), sanitize.toolkit.find_tool("compute-sanitizer"))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A toolkit with its version in the folder's name, as installers leave it."""
    home = tmp_path / "cuda-13.0"
    for name, folder in TOOLS.items():
        place = home / folder / name
        place.parent.mkdir(parents=True)
        place.touch(mode=0o755)
    return home


@pytest.mark.parametrize("how", ["PATH", "CUDA_HOME", "its usual place"])
def test_everyone_finds_the_same(home, how):
    usual = str(home.parent / "cuda-*") if how == "its usual place" else "/nowhere/cuda"
    script = ASK.format(
        cuda=str(ROOT / "csrc" / "cuda"), emulator=str(ROOT / "tests" / "emulator"), usual=usual
    )
    found = {"PATH": {"PATH": str(home / "bin")}, "CUDA_HOME": {"CUDA_HOME": str(home)}}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PATH": "/nowhere", "PYTHONPATH": str(ROOT), **found.get(how, {})},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    nvcc, sanitizer = (str(home / folder / name) for name, folder in TOOLS.items())
    assert done.stdout.split() == [nvcc, nvcc, sanitizer]
