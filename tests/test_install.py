"""Installation: sdist, wheel, without a compiler and without torch."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*command: str, cwd: Path = ROOT, check: bool = True, **env: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True
    )
    text = done.stdout + done.stderr
    assert not check or done.returncode == 0, text[-3000:]
    return text


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """The unpacked source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    checkout = folder / "checkout"
    run("git", "clone", "-q", str(ROOT), str(checkout))
    run(sys.executable, "-c", BUILD.format("sdist"), cwd=checkout)
    (archive,) = checkout.glob("dist/*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return next(folder.glob("softgate_ext-*"))


BUILD = "from setuptools import build_meta as b; b.build_{}('dist')"


def install(source: Path, target: Path, **env: str) -> str:
    return run(
        sys.executable, "-m", "pip", "install", "--no-build-isolation", "--no-deps",
        "--no-index", "--target", str(target), str(source), **env,
    )  # fmt: skip


def python(target: Path, *words: str, check: bool = True) -> str:
    """Runs what was installed: without site, an editable installation stays out of sight."""
    packages = sysconfig.get_path("purelib")
    path = os.pathsep.join((str(target), packages))
    command = (sys.executable, "-S", *words)
    return run(*command, cwd=target, check=check, PYTHONPATH=path, CUDA_VISIBLE_DEVICES="")


TRY = """
import torch, softgate_ext
x = torch.ones(1, 4, 2, 2)
print(softgate_ext.__file__, softgate_ext.info()["auto"]["cpu"])
print(torch.ops.softgate.gated_residual(x, [x], torch.full((4,), 2.0)).sum().item())
from softgate_ext.models import create_model
print(len(create_model("hybrid_1x32").eval()(torch.zeros(1, 3, 64, 64))))
"""


@pytest.mark.slow
def test_no_compiler(sdist, tmp_path):
    """The package installs, imports, says why, and runs and trains on the reference backend."""
    install(sdist, tmp_path, CXX="no-such-compiler")
    assert not list(tmp_path.glob("softgate_ext/_C*.so"))
    out = python(tmp_path, "-c", TRY)
    assert str(tmp_path) in out
    assert "reference\n48.0\n1" in out
    info = python(tmp_path, "-m", "softgate_ext.cli", "info")
    assert "no C++ compiler was found" in info
    python(tmp_path, "-m", "softgate_ext.cli", "synth", "people", "--count", "8")
    tiny = ["--model", "hybrid_1x32", "--image-size", "64", "--epochs", "1", "--batch-size", "4"]
    command = ["train", "people", "--out", "run", *tiny, "--workers", "0"]
    python(tmp_path, "-m", "softgate_ext.cli", *command)
    assert (tmp_path / "run" / "model.safetensors").is_file()
    force = "import softgate_ext; softgate_ext.use_backend('cpu').__enter__()"
    refusal = python(tmp_path, "-c", force, check=False)
    assert "asks for backend 'cpu', which cannot serve here: no C++ compiler" in refusal


@pytest.mark.slow
def test_wheel_names_its_licence_and_command(sdist, tmp_path):
    run(sys.executable, "-c", BUILD.format("wheel"), cwd=sdist, CXX="no-such-compiler")
    (wheel,) = sdist.glob("dist/*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(n for n in names if n.endswith("METADATA"))).decode()
    assert any(n.endswith("LICENSE") for n in names)
    assert {"softgate_ext/data/mpii_split.npz", "softgate_ext/page/page.html"} <= set(names)
    for kind in ("safetensors", "json"):
        assert f"softgate_ext/pretrained/softgate-small.{kind}" in names
    assert "License-Expression: Apache-2.0" in metadata
    assert any(n.endswith("entry_points.txt") for n in names)
    assert "Requires-Dist: torch>=2.11\n" in metadata


def test_what_an_older_build_left_enters_no_wheel(tmp_path):
    left = tmp_path / "lib" / "softgate_ext"
    left.mkdir(parents=True)
    for name in ("removed.py", "_C.cpython-311-x86_64-linux-gnu.so"):
        (left / name).write_text("")
    build = ("setup.py", "-q", "build", "--build-lib", str(tmp_path / "lib"))
    run(sys.executable, *build, CXX="no-such-compiler")
    assert (left / "__init__.py").is_file() and (left / "_build.json").is_file()
    assert not (left / "removed.py").exists() and not list(left.glob("*.so"))


def test_an_old_setuptools_is_told(tmp_path):
    hidden = (
        "import runpy, setuptools, sys; setuptools.__version__ = '68.1.2'; "
        "sys.argv = ['setup.py', '--version']; runpy.run_path('setup.py')"
    )
    out = run(sys.executable, "-c", hidden, check=False)
    assert out.strip().endswith("run 'pip install --upgrade setuptools' first.") and "68.1.2" in out


def test_torch_missing_at_build_time():
    """One sentence that names the way out."""
    hidden = (
        "import runpy, sys; sys.modules['torch'] = None; sys.argv = ['setup.py', 'build_ext']; "
        "runpy.run_path('setup.py')"
    )
    out = run(sys.executable, "-c", hidden, check=False)
    last = out.strip().splitlines()[-1]
    assert "install torch first" in last
    assert "--no-build-isolation" in last


def test_no_compiler_needs_no_torch_at_build_time(tmp_path):
    """As in the isolated environment of `pip install .`."""
    hidden = (
        "import runpy, sys; sys.modules['torch'] = None; "
        f"sys.argv = ['setup.py', 'build_ext', '--build-lib', {str(tmp_path)!r}]; "
        "runpy.run_path('setup.py')"
    )
    run(sys.executable, "-c", hidden, CXX="no-such-compiler")
    record = json.loads((tmp_path / "softgate_ext" / "_build.json").read_text())
    assert "no C++ compiler was found" in record["reason"]


@pytest.mark.parametrize("value", ["yes", "2"])
def test_wrong_switch(value):
    out = run(sys.executable, "setup.py", "--version", check=False, SOFTGATE_CUDA=value)
    assert f"SOFTGATE_CUDA must be 0 or 1, got '{value}'." in out


def test_a_compiler_with_arguments_is_refused(tmp_path):
    """torch's build makes one word of CXX, and a package without kernels would not say so."""
    command = ("setup.py", "build_ext", "--build-lib", str(tmp_path))
    out = run(sys.executable, *command, check=False, CXX="g++ -pthread")
    assert out.strip().endswith("CXX must be one program without arguments, got 'g++ -pthread'.")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def scratch():
    """A folder that is not kept: PyTorch takes 1.4 GB."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.slow
def test_the_oldest_promised_torch(sdist, scratch):
    """From the sdist alone the kernels build against it, and pass their tests.

    Where it cannot be had they are built against the torch of this environment.
    """
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (promised,) = (d for d in settings["dependencies"] if d.startswith("torch>="))
    wanted = promised.replace(">=", "==") + ".*"
    run(sys.executable, "-m", "venv", "--without-pip", str(scratch))
    python = str(scratch / "bin" / "python")
    (packages,) = scratch.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps")
    old = subprocess.run([*pip, wanted], capture_output=True, text=True)
    if (
        old.returncode == 0
    ):  # it may not find the libraries of CUDA beside the torch of this environment
        old = subprocess.run([python, "-c", "import torch"], capture_output=True, text=True)
        if old.returncode:
            run(*pip[:-3], "uninstall", "-q", "-y", "torch")
    run(*pip, "--no-build-isolation", str(sdist), SOFTGATE_CUDA="0")
    # Not what lies here, which is built for another: neither they nor the processes that they start.
    away = {"cwd": scratch, "PYTHONSAFEPATH": "1"}
    built = run(python, "-c", TRY, **away)
    assert str(packages) in built and "cpu\n48.0\n1" in built
    (package,) = packages.glob("softgate_ext")
    assert list(package.glob("_C*.so")) and (package / "triton_kernels" / "__init__.py").is_file()
    weights = "from softgate_ext.models import create_model; "
    weights += "print(create_model('hybrid_2x48', pretrained=True).config['name'])"
    assert "hybrid_2x48" in run(python, "-c", weights, **away)
    if old.returncode:
        pytest.skip(f"needs {wanted}, which pip cannot install here: {old.stderr.splitlines()[-1]}")
    tests = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"))
    passed = run(python, *tests, str(ROOT / "tests" / "ops"), OMP_NUM_THREADS="1", **away)
    assert " passed" in passed
