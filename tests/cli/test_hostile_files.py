"""Files whose contents could break a command are refused at once, with one sentence and exit code 2."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from softgate_ext.cli import run as command
from softgate_ext.data.images import page_count, read_image
from softgate_ext.errors import InputError
from softgate_ext.prediction.kinds import kind_of

Changed = Callable[..., Path]


@pytest.fixture
def changed(run: Path, tmp_path: Path) -> Changed:
    """A copy of the run with values of its configuration or state changed."""

    def make(config: dict[str, Any] | None = None, **state: Any) -> Path:
        out = Path(shutil.copytree(run, tmp_path / "changed"))
        stored = json.loads((out / "config.json").read_text())
        for path, value in (config or {}).items():
            *parents, last = path.split(".")
            inner = stored
            for name in parents:
                inner = inner[name]
            inner[last] = value
        (out / "config.json").write_text(json.dumps(stored))
        if state:
            whole = torch.load(out / "training.pt", weights_only=True)
            torch.save({**whole, **state}, out / "training.pt")
        return out

    return make


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t * math.nan, "has values that are not finite"),
        (lambda t: t / 0, "has values that are not finite"),
        (lambda t: t.bool(), "has the dtype torch.bool where the network has torch.float32"),
        (lambda t: t.to(torch.complex64), "has the dtype torch.complex64 where"),
    ],
)
def test_weights_that_are_no_numbers(
    changed: Changed,
    people: Path,
    refused: Callable[..., str],
    change: Callable[[torch.Tensor], torch.Tensor],
    words: str,
) -> None:
    weights = changed() / "model.safetensors"
    with safe_open(weights, "pt") as file:
        about = file.metadata()
    tensors = load_file(weights)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    save_file({**tensors, name: change(tensors[name])}, weights, about)
    line = refused("predict", weights.parent, people / "images/im0001.jpg", "--out", "poses")
    assert f"model.safetensors is damaged: {name} {words}" in line


def test_deep_json_in_metadata(changed: Changed, people: Path, refused: Callable[..., str]) -> None:
    out = changed()
    weights = out / "model.safetensors"
    save_file(load_file(weights), weights, {"softgate": DEEP})
    line = refused("predict", out, people / "images/im0001.jpg", "--out", out / "poses")
    assert "model.safetensors is not a readable safetensors file (it is nested too deeply)" in line


def test_deep_json_in_a_log(
    changed: Changed, run: Path, people: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    out = changed()
    log = out / "log.jsonl"
    for deep in (DEEP, f"[{'1' * 5000},{DEEP}"):  # after an integer that Python does not read
        log.write_text(deep + "\n" + (run / "log.jsonl").read_text())
        assert "log.jsonl is damaged: line 1" in refused("train", "--out", out, "--resume")
    new = tmp_path / "new"
    new.mkdir()
    (new / "log.jsonl").write_text(DEEP + "\n{}\n")
    assert "log.jsonl is damaged: line 1" in refused("train", people, "--out", new)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name, values in {
            "image_size": (-1, 0, 10**30, True, 64.5),
            "sigma": (10**30, 0, math.nan),
            "box_margin": (-1, 0, 10**30, math.nan),
            "model.kwargs.stacks": (10**30, -1, True, math.nan),
            "model.kwargs.width": (10**30, True),
            "model.kwargs.groups": (True,),
            "training.threads": (True, -1, 10**30),
            "training.image_size": (-1, 10**30),
            "training.batch_size": (0, 10**30),
            "training.seed": (-1, 10**30),
            "training.workers": (10**6,),
        }.items()
        for value in values
    ],
    ids=str,
)
def test_stored_values_have_ranges(
    changed: Changed, people: Path, refused: Callable[..., str], name: str, value: Any
) -> None:
    out = changed({name: value})
    for words in (
        ("predict", out, people / "images/im0001.jpg", "--out", out / "poses"),
        ("train", "--out", out, "--resume"),
    ):
        line = refused(*words)
        assert "config.json: " in line and (name.split(".")[-1] in line)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in ("elapsed", "epoch", "best")
        for value in (math.nan, math.inf, -2, 10**30, True, "x", None)
    ],
)
def test_numbers_of_a_training_state_have_ranges(
    changed: Changed, refused: Callable[..., str], name: str, value: Any
) -> None:
    line = refused("train", "--out", changed(**{name: value}), "--resume", "--epochs", 3)
    assert f"training.pt: {name}: got {value!r}; takes a " in line


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"


def test_postscript_is_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import EpsImagePlugin

    def start(*arguments: Any, **options: Any) -> None:
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", start)
    path = tmp_path / "a.jpg"
    path.write_bytes(POSTSCRIPT)
    assert kind_of(path) == "picture" and page_count(path) == 1
    with pytest.raises(InputError, match="is not a picture that can be read"):
        read_image(path)


def test_pictures_are_opened_by_name_of_format() -> None:
    """Everywhere: without `formats`, Pillow tries whatever it knows."""
    for path in Path(command.__file__).parents[1].rglob("*.py"):
        for call in path.read_text(encoding="utf-8").split("Image.open(")[1:]:
            assert "formats=" in call.split("\n")[0], path


def test_yaml_that_grows(tmp_path: Path, refused: Callable[..., str]) -> None:
    """A few lines whose aliases stand for a thousand million names."""
    file = tmp_path / "data.yaml"
    lines = ["kpt_shape: [3, 3]", "train: images", "a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    file.write_text("\n".join([*lines, "names: [*a9]"]))
    assert "it has aliases, which are not read" in refused("data", "check", file)
