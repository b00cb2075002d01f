"""What Triton needs for its driver, and the message for what is missing."""

import sys
import sysconfig
from types import SimpleNamespace

import pytest

from softgate_ext.ops import triton_driver


@pytest.fixture
def nothing(tmp_path, monkeypatch):
    """No C compiler, and nothing that Triton has cached; the folder of its cache."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "triton.knobs", None)
    return tmp_path / "cache"


@pytest.mark.parametrize("name", ["gcc", "clang", "CC"])
def test_a_compiler_by_any_name(name, nothing, monkeypatch):
    assert triton_driver.obstacle() == (
        "Triton compiles its driver at its first launch, and no C compiler was found (CC, gcc or "
        "clang)"
    )
    program = nothing.parent / name
    program.touch(mode=0o755)
    if name == "CC":
        monkeypatch.setenv("CC", str(program))
    assert triton_driver.obstacle() is None


def test_cc_names_no_program(nothing, monkeypatch):
    """Triton tries no other, so gcc beside it does not help."""
    (nothing.parent / "gcc").touch(mode=0o755)
    monkeypatch.setenv("CC", "no-such-compiler")
    assert triton_driver.obstacle().endswith("CC must name a program, got 'no-such-compiler'")


def test_no_header(nothing, monkeypatch, tmp_path):
    (nothing.parent / "gcc").touch(mode=0o755)
    monkeypatch.setattr(sysconfig, "get_paths", lambda scheme: {"include": "/nowhere"})
    assert "Python.h is not in /nowhere" in triton_driver.obstacle()
    (tmp_path / "Python.h").touch()
    monkeypatch.setenv("CPATH", str(tmp_path))
    assert triton_driver.obstacle() is None


@pytest.mark.parametrize("name", ["cuda_utils", "hip_utils"])
def test_a_driver_in_the_cache(name, nothing):
    (nothing / "KEY").mkdir(parents=True)
    (nothing / "KEY" / f"{name}.cpython-1.so").touch()
    assert triton_driver.obstacle() is not None  # another Python's
    (nothing / "KEY" / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}").touch()
    assert triton_driver.obstacle() is None


def test_another_way_to_build_it(nothing, monkeypatch):
    knobs = SimpleNamespace(build=SimpleNamespace(impl=print))
    monkeypatch.setitem(sys.modules, "triton.knobs", knobs)
    assert triton_driver.obstacle() is None
