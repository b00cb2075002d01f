"""Shipped weights in all places that take a run, and messages for damaged ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from shelf import Shelf

from softgate_ext import PosePredictor
from softgate_ext.cli import main
from softgate_ext.errors import InputError
from softgate_ext.files.reading import read_json
from softgate_ext.models import build_model, create_model, list_models, list_pretrained
from softgate_ext.prediction import sources
from softgate_ext.pretrained import shipped
from softgate_ext.pretrained.model_card import model_page
from softgate_ext.runs.opening import load_run
from softgate_ext.runs.places import find_run
from softgate_ext.training.trainer import Trainer

ROOT = Path(__file__).parents[2]
LSP = ROOT.parent / "shared" / "data" / "lsp_dataset"


def sentence(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What a command says that is refused."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert said.out == ""
    return line


def rewrite(shelf: Shelf, header: Any, checksum: bool = True) -> None:
    """Replaces the header of the weights "tiny", and their checksum where asked to."""
    path = shelf.folder / "tiny.safetensors"
    save_file(load_file(path), path, {"softgate": json.dumps(header)})
    if checksum:
        card = read_json(path.with_suffix(".json"))
        path.with_suffix(".json").write_text(json.dumps({**card, "sha256": shipped.sha256(path)}))


def test_every_command_takes_the_name(
    tiny_weights: Shelf, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = people / "images" / "im0001.jpg"
    cpu = ["--device", "cpu"]
    for words in (
        ["predict", "tiny", image, "--out", "poses", *cpu],
        ["evaluate", "tiny", people, "--workers", "0", *cpu],
        ["gates", "tiny", "--prune", "0.01", "--out", "pruned"],
        ["export", "tiny", "--out", "net.pt2", "--format", "torch"],
        ["info"],
    ):
        assert main(list(map(str, words))) == 0, words
    assert "pretrained: tiny" in capsys.readouterr().out
    for name in ("poses/im0001.png", "pruned/model.safetensors", "net.pt2"):
        assert (tmp_path / name).is_file()
    assert load_run(tmp_path / "pruned")[1].image_size == 64


def test_a_training_starts_from_it(tiny_weights: Shelf, tiny: Any, quiet: Console) -> None:
    trainer = Trainer(tiny(init=Path("tiny")), quiet)
    stored = load_run("tiny")[0].state_dict()
    for name, tensor in trainer.learner.model.state_dict().items():
        assert torch.equal(tensor, stored[name]), name


def test_a_picture_alone_is_for_the_default(
    tiny_weights: Shelf, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "DEFAULT", "tiny")
    image = str(people / "images" / "im0001.jpg")
    assert main(["predict", image, "--device", "cpu"]) == 0
    written = read_json(tmp_path / "poses" / "predictions.json")
    assert written["run"] == "tiny" and [entry["file"] for entry in written["images"]] == [image]


def test_the_first_word_is_a_run_or_a_picture(
    run: Path, tiny_weights: Shelf, people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = people / "images" / "im0001.jpg"
    default = Path(shipped.DEFAULT)
    for words, expected in {
        (run, "a.jpg"): (run, ("a.jpg",)),
        (Path("tiny"), "a.jpg"): (Path("tiny"), ("a.jpg",)),
        (image, "a.jpg"): (default, (str(image), "a.jpg")),
        (people / "images",): (default, (str(people / "images"),)),
        (people / "images" / "*.jpg",): (default, (str(people / "images" / "*.jpg"),)),
        (Path("0"),): (default, ("0",)),
        (run,): (run, ()),
        (None,): (default, ()),
    }.items():
        assert sources.run_and_images(words[0], words[1:]) == expected  # type: ignore[arg-type]
    assert "there is no folder absent; give one that `softgate train` wrote or tiny" in sentence(
        capsys, "predict", "absent", image
    )
    assert "which is neither a run nor a picture" in sentence(capsys, "predict", "absent.jpg")
    assert "images: got none" in sentence(capsys, "predict", run)
    assert "images: got none" in sentence(capsys, "predict")


def test_a_folder_goes_before_weights_of_its_name(
    tiny_weights: Shelf, run: Path, tmp_path: Path
) -> None:
    assert find_run("tiny") == tiny_weights.folder / "tiny.safetensors"
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "tiny").symlink_to(run)
    assert find_run("tiny") == Path("runs/tiny")
    (tmp_path / "tiny").symlink_to(run)
    assert find_run("tiny") == Path("tiny")


def test_from_python(tiny_weights: Shelf) -> None:
    model = create_model("hybrid_1x32", pretrained=True)
    predictor = PosePredictor.from_pretrained("tiny", device="cpu")
    assert len(predictor(np.zeros((60, 80, 3), np.uint8))[0].joints) == 14
    assert model.training and model.config == load_run("tiny")[0].config
    for name, tensor in load_run("tiny")[0].state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    assert create_model("hybrid_1x32", pretrained="tiny", joints=14).config == model.config
    assert list_models(pretrained=True) == ["hybrid_1x32"] and list_pretrained() == ["tiny"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (("hybrid_1x32", True, {"joints": 16}), "joints: got 16, .* tiny have 14; .*`--init tiny`"),
        (("hybrid_1x32", True, {"jonts": 14}), "hybrid_1x32 has no option 'jonts'"),
        (("hybrid_2x48", True, {}), "no weights of hybrid_2x48; takes hybrid_1x32"),
        (("hybrid_2x48", "tiny", {}), "tiny are weights of hybrid_1x32, got hybrid_2x48"),
        (("hybrid_1x32", "absent", {}), "there are no weights 'absent'; takes tiny"),
    ],
)
def test_a_network_with_weights_of_another(
    tiny_weights: Shelf, call: tuple[str, Any, dict[str, Any]], words: str
) -> None:
    name, pretrained, options = call
    with pytest.raises(InputError, match=words):
        create_model(name, pretrained=pretrained, **options)


def test_a_stored_network_cannot_ask_for_weights(tiny_weights: Shelf) -> None:
    with pytest.raises(InputError, match="no option 'pretrained'"):
        build_model("hybrid_1x32", {"pretrained": True})


def test_a_name_that_nobody_knows(
    tiny_weights: Shelf, people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "`softgate train` wrote or tiny" in sentence(capsys, "evaluate", "absent", people)
    assert "takes last" in sentence(capsys, "gates", "tiny", "--weights", "best")


@pytest.mark.parametrize("at", [0, 1000, -1])
def test_a_broken_file(
    tiny_weights: Shelf, people: Path, capsys: pytest.CaptureFixture[str], at: int
) -> None:
    """One bit is enough, wherever it is."""
    path = tiny_weights.folder / "tiny.safetensors"
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    for words in (["evaluate", "tiny", people], ["gates", "tiny"]):
        assert "where its card says" in sentence(capsys, *words)
    with pytest.raises(InputError, match="where its card says"):
        create_model("hybrid_1x32", pretrained=True)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"sha256": 5, "model": "x"}'])
def test_a_broken_card(tiny_weights: Shelf, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (tiny_weights.folder / "tiny.json").write_text(text)
    assert "tiny.json is" in sentence(capsys, "gates", "tiny")
    (tiny_weights.folder / "tiny.json").unlink()
    assert "tiny.json" in sentence(capsys, "gates", "tiny")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda header: {}, "holds no configuration"),
        (lambda header: {"config": {"model": 3}}, "holds no configuration"),
        (lambda header: {"config": {**header["config"], "image_size": "x"}}, "config: image_size"),
        (
            lambda header: {"config": {**header["config"], "model": {"name": "hybrid_1x32"}}},
            "'kwargs' is missing",
        ),
        (
            lambda header: {
                "config": {**header["config"], "model": {"name": "hybrid_1x32", "kwargs": {}}}
            },
            "another architecture than .* says",
        ),
    ],
)
def test_a_header_that_is_wrong(
    tiny_weights: Shelf, capsys: pytest.CaptureFixture[str], change: Any, words: str
) -> None:
    _, about = shipped.read_pretrained("tiny")
    rewrite(tiny_weights, change(about))
    line = sentence(capsys, "gates", "tiny")
    assert "tiny.safetensors" in line
    with pytest.raises(InputError, match=words):
        load_run("tiny")


def test_the_page_is_that_of_the_cards() -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert page == model_page([shipped.read_card(name) for name in list_pretrained()])


def test_what_is_shipped_loads_and_is_small() -> None:
    assert shipped.DEFAULT in list_pretrained()
    for name in list_pretrained():
        model, config, _ = load_run(name)
        card = shipped.read_card(name)
        assert sum(p.numel() for p in model.parameters()) == card["parameters"]
        assert config.image_size == card["image_size"]
        assert not config.training.data.is_absolute()
        assert shipped.weights_file(name).stat().st_size == card["bytes"] < 4 * 2**20


@pytest.mark.slow
def test_the_figure_of_the_card_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    if not LSP.is_dir():
        pytest.skip(f"needs Leeds Sports Pose in {LSP}")
    figure = shipped.read_card(shipped.DEFAULT)["figures"][0]
    assert figure["command"] == f"softgate evaluate {shipped.DEFAULT} ../shared/data/lsp_dataset"
    assert main(["evaluate", shipped.DEFAULT, str(LSP), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    (row,) = (line for line in said.splitlines() if line.startswith("│ weighted mean "))
    assert float(row.split("│")[2]) == pytest.approx(figure["figure"], abs=0.1)
    without = said.split("nearly repeat a training picture; without them network:")[1].split()[0]
    assert float(without) == pytest.approx(figure["figure"], abs=0.3)
