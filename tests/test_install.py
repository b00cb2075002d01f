"""Installation: sdist, wheel, no compiler, no torch."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Callable
from importlib.metadata import version
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


BUILD = "from setuptools import build_meta as b; b.build_{}('dist')"


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """The unpacked source distribution: its folder has spaces in its name, and nobody may write to it."""
    folder = tmp_path_factory.mktemp("the sources of it")
    checkout = folder / "checkout"
    run("git", "clone", "-q", str(ROOT), str(checkout))
    run(sys.executable, "-c", BUILD.format("sdist"), cwd=checkout)
    (archive,) = checkout.glob("dist/*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    source = next(folder.glob("softgate_ext-*"))
    for path in (*source.rglob("*"), source):
        path.chmod(path.stat().st_mode & ~0o222)
    return source


def another_user(*command: str) -> list[str]:
    """The command under a user who owns nothing, and without a network, where the tests run as root."""
    if os.geteuid() != 0 or not shutil.which("setpriv") or not shutil.which("unshare"):
        return [*command]
    # Python itself may lie in a folder of root's: everything may be read, and nothing else written.
    caps = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    user = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *caps)
    return ["unshare", "--net", *user, *command]


def open_to_all(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    return folder


def build_wheel(sdist: Path, folder: Path, python: str = sys.executable, **env: str) -> Path:
    """From read-only sources in a folder with spaces, by another user, without a network."""
    command = ("-m", "pip", "--python", python, "wheel", "-q", "--no-build-isolation", "--no-deps")
    words = (*command, "--no-index", "-w", str(open_to_all(folder)), str(sdist))
    run(*another_user(sys.executable, *words), cwd=folder, HOME=str(folder), **env)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> Path:
    """Without kernels, which makes it in seconds."""
    return build_wheel(sdist, tmp_path_factory.mktemp("a wheel"), CXX="no-such-compiler")


def environment(folder: Path, interpreter: str = sys.executable) -> tuple[str, Path]:
    """The Python of a new environment, which sees what is installed here, and its packages."""
    run(*another_user(interpreter, "-m", "venv", "--without-pip", str(open_to_all(folder))))
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    return str(folder / "bin" / "python"), packages


TRY = """
import torch, softgate_ext
x = torch.ones(1, 4, 2, 2)
print(softgate_ext.__file__, softgate_ext.info()["auto"]["cpu"])
print(torch.ops.softgate.gated_residual(x, [x], torch.full((4,), 2.0)).sum().item())
from softgate_ext.models import create_model
print(len(create_model("hybrid_1x32").eval()(torch.zeros(1, 3, 64, 64))))
"""


@pytest.fixture
def other(tmp_path) -> Callable[..., str]:
    """Runs a program of an environment in a folder with spaces, as another user without a network."""
    home = open_to_all(tmp_path / "a home")
    python, _ = environment(tmp_path / "an environment")

    def run_there(program: str, *words: str, check: bool = True) -> str:
        command = [str(Path(python).with_name(program)), *words]
        if program == "pip":
            command = [sys.executable, "-m", "pip", "--python", python, *words]
        env = {"HOME": str(home), "PYTHONSAFEPATH": "1", "CUDA_VISIBLE_DEVICES": ""}
        return run(*another_user(*command), cwd=home, check=check, **env)

    return run_there


INSTALL = ("install", "-q", "--no-deps", "--no-index")


@pytest.mark.slow
def test_no_compiler(wheel, other, tmp_path):
    """The package installs, imports, says why, and runs and trains on the reference backend."""
    other("pip", *INSTALL, str(wheel))
    out = other("python", "-c", TRY)
    assert str(tmp_path) in out
    assert "reference\n48.0\n1" in out
    assert "no C++ compiler was found" in other("softgate", "info")
    other("softgate", "synth", "people", "--count", "8")
    tiny = ["--model", "hybrid_1x32", "--image-size", "64", "--epochs", "1", "--batch-size", "4"]
    other("softgate", "train", "people", "--out", "run", *tiny, "--workers", "0")
    assert (tmp_path / "a home" / "run" / "model.safetensors").is_file()
    force = "import softgate_ext; softgate_ext.use_backend('cpu').__enter__()"
    refusal = other("python", "-c", force, check=False)
    assert "asks for backend 'cpu', which cannot serve here: no C++ compiler" in refusal


@pytest.mark.slow
def test_uninstall_leaves_nothing(wheel, other, tmp_path):
    def files() -> set[Path]:
        return {*(tmp_path / "an environment").rglob("*")}

    before = files()
    other("pip", *INSTALL, str(wheel))
    other("softgate", "info")
    assert any(path.suffix == ".pyc" for path in files() - before)
    other("pip", "uninstall", "-q", "-y", "softgate_ext")
    assert files() == before


@pytest.mark.slow
def test_wheel_names_its_licence_and_command(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(n for n in names if n.endswith("METADATA"))).decode()
    assert not any(n.endswith(".so") for n in names)
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
    with tempfile.TemporaryDirectory(prefix="a folder ") as folder:
        yield Path(folder)


def build_and_test(python: str, packages: Path, sdist: Path, scratch: Path) -> None:
    """From the sdist alone the kernels build in an environment, serve, and pass their tests."""
    wheel = build_wheel(sdist, scratch / "wheels", python, SOFTGATE_CUDA="0")
    run(sys.executable, "-m", "pip", "--python", python, *INSTALL, str(wheel))
    # Not what lies here, which is built for another: neither they nor the processes that they start.
    away = {"cwd": scratch, "PYTHONSAFEPATH": "1"}
    built = run(python, "-c", TRY, **away)
    assert str(packages) in built and "cpu\n48.0\n1" in built
    (package,) = packages.glob("softgate_ext")
    assert list(package.glob("_C*.so")) and (package / "triton_kernels" / "__init__.py").is_file()
    weights = "from softgate_ext.models import create_model; "
    weights += "print(create_model('hybrid_2x48', pretrained=True).config['name'])"
    assert "hybrid_2x48" in run(python, "-c", weights, **away)
    tests = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"))
    passed = run(python, *tests, str(ROOT / "tests" / "ops"), OMP_NUM_THREADS="1", **away)
    assert " passed" in passed


@pytest.mark.slow
@pytest.mark.proof("install")
def test_the_oldest_promised_torch(sdist, scratch):
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (promised,) = (d for d in settings["dependencies"] if d.startswith("torch>="))
    wanted = promised.replace(">=", "==") + ".*"
    python, packages = environment(scratch / "environment")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps")
    old = subprocess.run([*pip, wanted], capture_output=True, text=True)
    if old.returncode == 0:  # it may not find the libraries of CUDA beside the torch that is here
        old = subprocess.run([python, "-c", "import torch"], capture_output=True, text=True)
    if old.returncode:
        pytest.skip(f"needs {wanted}, which pip cannot install here: {old.stderr.splitlines()[-1]}")
    build_and_test(python, packages, sdist, scratch)


# What PyTorch, a network and the tests of the ops import that is compiled for one version of Python.
COMPILED = ("torch", "triton", "numpy", "safetensors", "hypothesis")


def newest_python() -> str:
    """The newest release of Python that is installed here: on the PATH, or by pyenv or uv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local/share/uv/python"))
    found = [shutil.which(f"python3.{minor}") for minor in range(11, 30)]
    found += [
        str(path) for above in (pyenv / "versions", uv) for path in above.glob("*/bin/python3")
    ]
    about = "import sys, sysconfig; from pathlib import Path; "
    about += (
        "print(sys.version_info.minor, Path(sysconfig.get_path('include'), 'Python.h').is_file())"
    )
    versions = {}
    for python in filter(None, found):
        done = subprocess.run([python, "-c", about], capture_output=True, text=True)
        minor, _, headers = done.stdout.partition(" ")
        if done.returncode == 0 and headers.strip() == "True":  # pyenv's stand-ins may fail
            versions[int(minor)] = python
    newest = max(versions, default=0)
    if newest <= sys.version_info.minor:
        pytest.skip(f"needs a Python newer than 3.{sys.version_info.minor} with its headers")
    return versions[newest]


@pytest.mark.slow
@pytest.mark.proof("install")
def test_the_newest_python(sdist, scratch):
    """With the torch of this environment; what is no pure Python is installed for the other one."""
    python, packages = environment(scratch / "environment", newest_python())
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps")
    wanted = [f"{name}=={version(name)}" for name in COMPILED]
    # Those of this Python are in sight, and serve the other one not.
    got = subprocess.run([*pip, "--ignore-installed", *wanted], capture_output=True, text=True)
    if got.returncode:
        pytest.skip(f"needs {', '.join(wanted)} for it: {got.stderr.splitlines()[-1]}")
    build_and_test(python, packages, sdist, scratch)
