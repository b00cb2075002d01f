"""The table of gates by block and depth, and pruning."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from softgate_ext.commands.gates import by_depth, gates_of, prune, show_gates
from softgate_ext.commands.gates_config import GatesConfig
from softgate_ext.data.images import read_image
from softgate_ext.errors import InputError
from softgate_ext.files.reading import read_json
from softgate_ext.files.tensors import save_tensors
from softgate_ext.models import create_model
from softgate_ext.runs.opening import load_run


@pytest.fixture
def known(run: Path, tmp_path: Path) -> Path:
    """A run whose gates are 0, 0.01, 0.02, ... from the image on."""
    folder = Path(shutil.copytree(run, tmp_path / "known"))
    model, _, _ = load_run(folder)
    at = 0
    with torch.no_grad():
        for name, alpha in model.named_parameters():
            if name.endswith(".alpha"):
                alpha.copy_(0.01 * torch.arange(at, at + alpha.numel()))
                at += alpha.numel()
    save_tensors(folder / "model.safetensors", model.state_dict(), {"epoch": 2})
    return folder


def test_depth_is_the_resolution_at_which_a_block_works() -> None:
    model = create_model("hybrid_1x48", depth=3, joints=14).eval()
    strides = {block.name: block.stride for block in gates_of(model, 64)}
    assert strides["stem.block1"] == 2 and strides["stem.block2"] == strides["stem.block3"] == 4
    for level, stride in enumerate((4, 8, 16)):
        assert strides[f"stacks.0.hourglass.down.{level}.skip"] == stride
        assert strides[f"stacks.0.hourglass.down.{level}.encoder"] == 2 * stride
        assert strides[f"stacks.0.hourglass.up.{level}.decoder"] == (32, 16, 8)[level]
    assert strides["stacks.0.block"] == 4
    depths = by_depth(gates_of(model, 64))
    assert [depth.stride for depth in depths] == [2, 4, 8, 16, 32]
    total = sum(alpha.numel() for alpha in model.gates().values())
    assert sum(depth.values.size for depth in depths) == total


def test_what_is_shown(known: Path, tmp_path: Path, quiet: Console) -> None:
    config = GatesConfig(
        known, eps=0.045, png=tmp_path / "g.png", json=tmp_path / "g.json", device="cpu"
    )
    figures = show_gates(config, quiet)
    assert read_json(tmp_path / "g.json") == figures
    assert figures["closed"] == 5  # 0, 0.01, ..., 0.04
    values = 0.01 * np.arange(figures["gates"])
    first = figures["blocks"][0]
    assert first["closed"] == min(5, first["gates"])
    assert first["max"] == pytest.approx(0.01 * (first["gates"] - 1))
    for parts in (figures["blocks"], figures["depths"]):
        assert sum(part["gates"] for part in parts) == figures["gates"]
        assert sum(part["closed"] for part in parts) == 5
        counts = np.sum([part["histogram"] for part in parts], axis=0)
        assert counts.sum() == figures["gates"]
    assert figures["edges"][0] == 0 and figures["edges"][-1] == pytest.approx(values[-1])
    for name in ("g.png", "g_by_depth.png"):
        assert read_image(tmp_path / name).std() > 5


def test_pruned_gates_are_exactly_0_and_the_others_are_untouched(
    known: Path, people: Path, tmp_path: Path, quiet: Console
) -> None:
    out = tmp_path / "pruned"
    config = GatesConfig(known, prune=0.105, out=out, data=people, device="cpu")
    figures = show_gates(config, quiet)["pruned"]
    assert figures["closed"] == 11 and figures["images"] == 8
    assert set(figures["seconds"]) == set(figures["pck"]) == {"before", "after"}
    assert all(value > 0 for value in figures["seconds"].values())
    before, stored, _ = load_run(known)
    after, again, about = load_run(out)
    assert again == stored and about == {"epoch": 2, "pruned": 0.105}
    state = after.state_dict()
    for name, tensor in before.state_dict().items():
        if name.endswith(".alpha"):
            tensor = torch.where(tensor < 0.105, 0.0, tensor)
        assert torch.equal(state[name], tensor), name
    with pytest.raises(InputError, match="holds a run already"):
        show_gates(config, quiet)


def test_only_small_magnitudes_are_pruned() -> None:
    model = create_model("hybrid_1x32", width=8, depth=2, groups=1)
    alpha = model.get_parameter("stem.block1.alpha")
    with torch.no_grad():
        alpha.copy_(torch.tensor([-0.5, -0.05, 0.05, 0.1]))
    prune(model, 0.1)
    assert alpha.tolist() == pytest.approx([-0.5, 0.0, 0.0, 0.1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"eps": 0.0}, "eps: got 0.0"),
        ({"prune": float("nan"), "out": Path("x")}, "prune: got nan"),
        ({"prune": 0.1}, "a pruned run needs both"),
        ({"out": Path("x")}, "a pruned run needs both"),
        ({"data": Path("x")}, "data: got it without prune; it measures a pruned run"),
        ({"run": Path("absent")}, "there is no folder absent"),
    ],
    ids=str,
)
def test_options_that_are_none(run: Path, quiet: Console, change: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        show_gates(replace(GatesConfig(run, device="cpu"), **change), quiet)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"json": "absent/gates.json"}, "json: got .*gates.json; takes"),
        ({"png": "absent/gates.png"}, "png: got .*gates.png; takes"),
        ({"png": "taken.png"}, "png: got .*taken_by_depth.png; takes"),
        ({"data": "."}, "not a known dataset"),
        ({"device": "tpu"}, "device: got 'tpu'"),
        ({"out": "file/run"}, "out: cannot write to the folder"),
    ],
    ids=str,
)
def test_what_is_refused_leaves_nothing_written(
    run: Path, tmp_path: Path, quiet: Console, change: dict[str, str], words: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "taken_by_depth.png").mkdir()
    before = sorted(tmp_path.rglob("*"))
    named = {"out": "run", "json": "gates.json", "png": "gates.png", **change}
    paths = {key: value if key == "device" else tmp_path / value for key, value in named.items()}
    with pytest.raises(InputError, match=words):
        show_gates(GatesConfig(run, prune=0.1, **{"device": "cpu", **paths}), quiet)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_picture_that_cannot_be_read_leaves_nothing_written(
    run: Path, people: Path, tmp_path: Path, quiet: Console
) -> None:
    data = Path(shutil.copytree(people, tmp_path / "people"))
    image = data / "images" / "im0016.jpg"
    image.write_bytes(image.read_bytes()[:600])
    config = GatesConfig(
        run, prune=0.1, out=tmp_path / "out", json=tmp_path / "gates.json", data=data, device="cpu"
    )
    with pytest.raises(InputError, match="im0016.jpg"):
        show_gates(config, quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["people"]


def test_a_network_without_gates() -> None:
    with pytest.raises(InputError, match="gates: the network has none"):
        gates_of(create_model("hybrid_1x32", gate="none"), 64)
