"""The site is built without a warning, and its reference has every public name with its shapes and errors."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import softgate_ext

ROOT = Path(__file__).resolve().parents[2]
SHAPE = re.compile(r"\((\d|[A-Z])[^)]*,[^)]*\)|\([A-Z]\w*,\)|shape", re.ASCII)


def public_modules() -> Iterator[str]:
    """The package and the modules of it that are packages with an `__all__`."""
    yield "softgate_ext"
    for module in pkgutil.walk_packages(softgate_ext.__path__, "softgate_ext."):
        if module.ispkg and not module.name.rpartition(".")[2].startswith("_"):
            path = ROOT.joinpath(*module.name.split("."), "__init__.py")
            if path.is_file() and "__all__" in path.read_text(encoding="utf-8"):
                yield module.name


NAMES = [
    f"{module}.{name}"
    for module in public_modules()
    for name in importlib.import_module(module).__all__
]


def found(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def taking_tensors() -> Iterator[tuple[str, str]]:
    """What is called with tensors: functions, and public methods of classes; with its docstring."""
    for name in NAMES:
        thing = found(name)
        if inspect.isclass(thing):
            own = [(key, value) for key, value in vars(thing).items() if inspect.isfunction(value)]
            methods = [(key, value) for key, value in own if not key.startswith("_")]
        else:
            methods = [("", thing)] if callable(thing) else []
        for key, function in methods:
            if takes_tensors(function):
                text = function.__doc__ or ""
                # A network's images and results are said once, by its base class; errors by either.
                if inspect.isclass(thing) and issubclass(thing, nn.Module):
                    text += "".join(
                        base.__doc__ or ""
                        for base in thing.__mro__
                        if base.__module__.startswith("softgate_ext")
                    )
                yield f"{name}.{key}".rstrip("."), text


def takes_tensors(function: Any) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any("Tensor" in str(p.annotation) for p in parameters)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("myst_parser", reason="needs the extra docs")
    pytest.importorskip("furo", reason="needs the extra docs")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "docs", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_the_reference_has_every_public_name(site: Path) -> None:
    html = (site / "api.html").read_text(encoding="utf-8")
    there = set(re.findall(r'id="(softgate_ext[\w.]*)"', html))
    assert NAMES and not set(NAMES) - there


@pytest.mark.slow
def test_it_is_read_without_the_network(site: Path) -> None:
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(https?:[^"]*)"', text)
        assert not loaded, page.name


def test_public_docstrings_give_shapes_and_errors() -> None:
    documented = dict(taking_tensors())
    assert "softgate_ext.ops.skip_merge" in documented
    no_shapes = [name for name, text in documented.items() if not SHAPE.search(text)]
    no_errors = [name for name, text in documented.items() if "Raises:" not in text]
    assert not no_shapes, no_shapes
    assert not no_errors, no_errors
