"""The structure of the package: which folder imports which, unique names, and what an import loads."""

import ast
import importlib.util
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "softgate_ext"

# Who may know whom; what a room may know, all above it may know too.
ARROWS: dict[str, set[str]] = {
    "cli": {"commands", "page"},
    "page": {"training"},
    "commands": {"training"},
    "training": {"figures"},
    "figures": {"evaluation", "prediction"},
    "evaluation": {"inference"},
    "prediction": {"inference"},
    "inference": {"runs"},
    "runs": {"models", "data"},
    "compiler": {"inference"},
    "models": {"pose", "pretrained", "nn"},
    "pretrained": {"files"},
    "data": {"pose", "files"},
    "nn": {"ops"},
    "ops": set(),
    "pose": {"ranges"},
    "files": set(),
    "ranges": set(),
    "errors": set(),
    "_version": set(),
}
# The Triton kernels, which are installed into the package, count as part of a room.
LODGERS = {"triton_kernels": "ops"}
# This file says where they lie, in the package's own path; everybody else names a room.
PLACES = Path("ops", "triton.py")


def sources() -> Iterator[tuple[Path, Path]]:
    """The files, and their places in the installed package."""
    for folder, above in ((PACKAGE, PACKAGE), *((ROOT / lodger, ROOT) for lodger in LODGERS)):
        for path in sorted(folder.rglob("*.py")):
            yield path, path.relative_to(above)


@cache
def known_to(room: str) -> frozenset[str]:
    """What a room may know: what its arrows lead to, however far."""
    return frozenset({room, "errors"}.union(*(known_to(below) for below in ARROWS[room])))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and module of every import of this package, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                # The Triton kernels name each other so, wherever they lie: no way out of them.
                assert node.level == 1 and path.parent.name in LODGERS, f"{path}:{node.lineno}"
                continue
            module = node.module or ""
            whole = module == PACKAGE.name
            for name in [f"{module}.{a.name}" for a in node.names] if whole else [module]:
                yield node.lineno, name


def room_of(module: str) -> str:
    name = module.partition(".")[2].partition(".")[0]  # empty of the package itself, all rooms
    return LODGERS.get(name, name)


def test_arrows_run_one_way() -> None:
    wrong = []
    for path, inside in sources():
        own = room_of(f"softgate_ext.{inside.with_suffix('').as_posix().replace('/', '.')}")
        if own == "__init__":
            continue
        for line, module in imported(path):
            if module.partition(".")[0] != PACKAGE.name or inside == PLACES:
                continue
            other = room_of(module)
            if other not in known_to(own) and other not in ("_version", "_C"):
                wrong.append(f"{inside}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_the_whole_house_is_named() -> None:
    rooms = {p.name for p in PACKAGE.iterdir() if p.is_dir() and any(p.glob("*.py"))}
    rooms |= {p.stem for p in PACKAGE.glob("*.py")} - {"__init__"}
    assert {LODGERS.get(room, room) for room in rooms} <= set(ARROWS)


def test_no_two_things_of_one_name() -> None:
    files, classes = defaultdict(list), defaultdict(list)
    for path, inside in sources():
        if not path.stem.startswith("__"):
            files[path.stem].append(str(inside))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                classes[node.name].append(str(inside))
    twice = {name: at for names in (files, classes) for name, at in names.items() if len(at) > 1}
    assert not twice


def loaded_by(statement: str) -> set[str]:
    """The modules that a new interpreter has after a statement, and not before."""
    code = f"import sys; before = set(sys.modules)\n{statement}\nprint(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.splitlines()[-1].split())


WITHOUT_POSIX = """
import importlib, os, pkgutil, signal, sys
import torch, softgate_ext
for name in ("fcntl", "resource", "termios", "pwd", "grp"):
    sys.modules[name] = None
del os.register_at_fork, os.fork, os.getuid, signal.SIGHUP, signal.SIGKILL
folder = os.path.dirname(softgate_ext.__file__)
for module in pkgutil.walk_packages([folder], "softgate_ext."):
    if module.name not in ("softgate_ext._C", "softgate_ext.cli.__main__"):
        importlib.import_module(module.name)
        print(module.name)
from softgate_ext.files.lock import FolderLock
FolderLock(".").release()
"""


@pytest.mark.slow
def test_what_is_python_imports_where_there_is_no_posix() -> None:
    """As on Windows: modules and calls that it lacks are taken away."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 150


def test_the_package_loads_nothing_by_itself() -> None:
    ours = {name for name in loaded_by("import softgate_ext") if "softgate" in name}
    assert ours == {"softgate_ext", "softgate_ext._version", "softgate_ext.errors"}


def test_its_ops_are_there_where_pytorch_is() -> None:
    assert "softgate_ext.ops" in loaded_by("import torch, softgate_ext")
    statement = "import softgate_ext, torch; softgate_ext.skip_merge; torch.ops.softgate.skip_merge"
    assert "softgate_ext.page" not in loaded_by(statement)


def test_one_import_registers_all_ops() -> None:
    defining = {
        ".".join((PACKAGE.name, *inside.with_suffix("").parts))
        for path, inside in sources()
        if "torch.library.Library(" in path.read_text()
    }
    assert len(defining) > 1 and defining <= loaded_by("import softgate_ext.ops")


def test_a_copy_does_not_load_the_kernels_of_another(tmp_path: Path) -> None:
    """As the finder of an editable installation would, from any folder that Python is started in."""
    if importlib.util.find_spec("softgate_ext._C") is None:
        pytest.skip("needs the compiled extension")
    for folder in ("softgate_ext", "triton_kernels"):
        ignored = shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    code = (
        f"import softgate_ext; softgate_ext.__path__.append({str(PACKAGE)!r})\n"
        "print(softgate_ext.info()['backends']['cpu'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    copy = tmp_path / "softgate_ext"
    assert f"imported from {copy}, but its C++ extension from {PACKAGE}: install" in done.stdout


def test_help_needs_no_package() -> None:
    for words in ("--help", "train --help", "data --help"):
        loaded = loaded_by(
            "from softgate_ext.cli import main\n"
            f"try: main({words.split()})\nexcept SystemExit as end: assert not end.code"
        )
        assert not loaded & {"torch", "numpy", "scipy", "rich", "cv2", "PIL", "matplotlib"}


def test_a_predictor_needs_no_datasets_and_no_figures() -> None:
    loaded = loaded_by("from softgate_ext import PosePredictor")
    assert not loaded & {"scipy", "matplotlib", "pandas", "tyro", "openvino", "h5py"}
    readers = {
        "coco",
        "flic",
        "formats",
        "lsp",
        "mpii",
        "mpii_json",
        "matfile",
        "synthetic",
        "yolo",
    }
    assert not loaded & {f"softgate_ext.data.{name}" for name in readers}


def tells_the_checker(test: ast.expr) -> bool:
    """Whether a condition only narrows a type, as mypy asks for."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return all(map(tells_the_checker, test.values))
    if isinstance(test, ast.Compare):
        return isinstance(test.ops[0], ast.IsNot) and ast.unparse(test.comparators[0]) == "None"
    return isinstance(test, ast.Call) and ast.unparse(test.func) == "isinstance"


def test_asserts_guard_no_input() -> None:
    """`python -O` leaves them out."""
    places = [path for path, _ in sources()] + sorted((ROOT / "benchmarks").glob("*.py"))
    wrong = [
        f"{path}:{node.lineno}"
        for path in places
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert) and not (node.msg is None and tells_the_checker(node.test))
    ]
    assert not wrong, "\n".join(wrong)
