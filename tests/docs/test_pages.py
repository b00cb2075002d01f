"""The code blocks, commands, links and test names in README, CONTRIBUTING and the pages are valid."""

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from softgate_ext.cli.run import parse

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

# What a page takes for granted before its first block.
MODEL = """
import torch, softgate_ext
from softgate_ext.models import create_model
model, images = create_model("hybrid_1x32").eval(), torch.rand(1, 3, 64, 64)
"""
BLOCKS = """
import torch, softgate_ext
from softgate_ext.nn import SoftGatedBlock
model = torch.nn.Sequential(SoftGatedBlock(8, 8), SoftGatedBlock(8, 8)).eval()
images = torch.rand(1, 8, 16, 16)
"""
GIVEN = {"compiler.md": BLOCKS, "inference.md": MODEL}
# Pages whose blocks compile, with the optional packages that they need.
SLOW = {
    "compiler.md": [],
    "inference.md": [],
    "export.md": ["onnxscript", "onnxruntime", "openvino"],
}


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def with_blocks() -> Iterator[object]:
    for page in PAGES:
        if blocks(page):
            slow = [pytest.mark.slow] if page.name in SLOW else []
            yield pytest.param(page, id=page.name, marks=slow)


@pytest.mark.parametrize("page", list(with_blocks()))
def test_code_blocks_run(page: Path, tmp_path: Path) -> None:
    for package in SLOW.get(page.name, []):
        pytest.importorskip(package)
    Image.new("RGB", (96, 128), (90, 120, 60)).save(tmp_path / "photo.jpg")
    code = "\n".join([GIVEN.get(page.name, ""), *blocks(page)])
    (tmp_path / "page.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr


def commands(page: Path) -> Iterator[str]:
    """The indented lines that call softgate, those that a backslash continues in one."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if re.match(r" {4,}softgate ", line):
            yield line.strip()


@pytest.mark.parametrize("page", [p for p in PAGES if any(commands(p))], ids=lambda p: p.name)
def test_command_lines_are_understood(page: Path) -> None:
    for line in commands(page):
        parse(shlex.split(line, comments=True)[1:])


def anchors(page: Path) -> set[str]:
    """The names of headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.M)
    words = [re.sub(r"[^\w\- ]", "", h.replace("`", "").lower()) for h in headings]
    return {w.replace(" ", "-") for w in words}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http:", "https:")):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(other), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_tests_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for file, name in re.findall(r"`(tests/[a-z\d_/]+\.py)(?:::(\w+))?", text):
        assert (ROOT / file).is_file(), f"{page.name}: {file}"
        if name:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            defined = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
            assert name in defined, f"{page.name}: {file}::{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_pytest_alone_imports_what_the_named_tests_do(page: Path) -> None:
    """`benchmarks` lies in the working folder, which only `python -m pytest` puts on the path."""
    for words in re.findall(r"`pytest ([^`]+)`", page.read_text(encoding="utf-8")):
        for pattern in (word for word in words.split() if word.startswith("tests/")):
            for place in ROOT.glob(pattern):
                for file in [place] if place.is_file() else place.rglob("*.py"):
                    text = file.read_text(encoding="utf-8")
                    assert not re.search("^(from|import) benchmarks", text, re.M), (
                        f"{words}: {file}"
                    )
