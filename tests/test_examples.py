"""The examples run as their first lines state, and are short."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PACKAGES = {
    "compile_library_model": ["timm", "torchvision"],
    "onnx_runtime": ["onnxscript", "onnxruntime"],
}
SLOW = {"compile_library_model", "onnx_runtime", "own_key_points"}
SAYS = {
    "one_op": "gradient of alpha: they differ by",
    "own_resnet": "step 14: loss",
    "compile_library_model": "converted: differs by",
    "batch_inference": "photo.png: surest of",
    "own_key_points": "tail",
    "onnx_runtime": "score",
}


@pytest.fixture
def arguments(tmp_path):
    Image.new("RGB", (160, 120), (90, 120, 60)).save(tmp_path / "photo.png")
    picture = str(tmp_path / "photo.png")
    return {
        "batch_inference": [picture, "--out", str(tmp_path / "poses")],
        "onnx_runtime": [picture, "--out", str(tmp_path / "network.onnx")],
        "own_key_points": [str(tmp_path / "work")],
    }


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in SAYS]
)
def test_an_example_runs(name, arguments, tmp_path):
    for package in PACKAGES.get(name, []):
        pytest.importorskip(package)
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments.get(name, [])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    assert SAYS[name] in done.stdout


def test_every_example_is_run_and_is_short():
    files = {path.stem: path for path in EXAMPLES.glob("*.py")}
    assert files.keys() == SAYS.keys()
    assert all(len(path.read_text().splitlines()) < 60 for path in files.values())
