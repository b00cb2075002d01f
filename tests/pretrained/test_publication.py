"""Publishing a run: the files, their content, and what is refused before anything is written."""

import errno
import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from shelf import Shelf

from softgate_ext.cli.publish import PUBLISH
from softgate_ext.cli.run import main, parse
from softgate_ext.commands import publication
from softgate_ext.commands.publication import half_precision
from softgate_ext.commands.training_account import commit_named, train_command
from softgate_ext.errors import InputError
from softgate_ext.evaluation.evaluate import evaluate
from softgate_ext.evaluation.evaluate_config import EvalConfig
from softgate_ext.files.atomic import write_json
from softgate_ext.files.reading import read_json
from softgate_ext.pretrained.model_card import model_page
from softgate_ext.runs.opening import load_run
from softgate_ext.runs.train_config import TrainConfig

ROOT = Path(__file__).parents[2]


def test_what_is_written(shelf: Shelf, run: Path) -> None:
    card = shelf.publish(failures=("It has seen drawings alone.",))
    assert shelf.files() == ["tiny.json", "tiny.safetensors"]
    assert read_json(shelf.folder / "tiny.json") == card
    assert shelf.page.read_text() == model_page([card])
    curve = shelf.page.parent / "images" / "tiny_learning_curve.png"
    assert curve.read_bytes().startswith(b"\x89PNG") and "](images/tiny_learn" in model_page([card])
    with safe_open(shelf.folder / "tiny.safetensors", "pt") as file:
        kinds = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
        header = json.loads(file.metadata()["softgate"])
    assert kinds == {torch.float16, torch.int64}
    stored = read_json(run / "config.json")
    for key in ("model", "skeleton", "image_size", "sigma", "box_margin"):
        assert header["config"][key] == stored[key]
    assert card["data"] == [
        {"title": "Leeds Sports Pose", "people": 8, "licence": "none stated; its authors ask for citation"}
    ]  # fmt: skip
    assert (card["epochs"], card["finished"], card["model"]) == (2, True, "hybrid_1x32")
    assert "- It has seen drawings alone." in shelf.page.read_text()
    everything = (shelf.folder / "tiny.json").read_text() + json.dumps(header)
    assert str(run.parent) not in everything  # places of the machine that trained it


def test_the_cards_figures_are_what_its_commands_print(tiny_weights: Shelf, people: Path) -> None:
    figures = read_json(tiny_weights.folder / "tiny.json")["figures"]
    assert len(figures) == 3
    for figure in figures:
        asked = parse(shlex.split(figure["command"])[1:])
        assert isinstance(asked, EvalConfig) and asked.data == Path(people.name)
        asked.data, asked.workers = people, 0
        measured = evaluate(asked)
        assert round(measured.scores["network"].main, 2) == figure["figure"]
        assert (measured.people, measured.protocol.metric) == (figure["people"], figure["metric"])


def test_the_weights_are_those_of_the_run_in_half_precision(tiny_weights: Shelf, run: Path) -> None:
    ours, theirs = load_run("tiny")[0].state_dict(), load_run(run)[0].state_dict()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype
        assert torch.equal(ours[name], tensor.half().to(tensor.dtype)), name


def test_a_command_of_a_training_is_that_training(tiny_options: dict[str, Any]) -> None:
    options = {**tiny_options, "extra": (Path("a b"), Path("c")), "init": Path("w"), "ema": 0.5}
    for training in (
        TrainConfig(Path("data"), Path("out")),
        TrainConfig(Path("data"), Path("out"), **options),
    ):
        command = train_command(training)
        assert parse(shlex.split(command)[1:]) == training
        # Defaults change, and a card does not.
        assert f"--optimizer {training.optimizer} --lr {training.lr} " in command + " "


def test_an_unfinished_run_is_refused_unless_it_is_said_to_be_one(
    shelf: Shelf, copied_run: Path
) -> None:
    stored = read_json(copied_run / "config.json")
    stored["training"]["epochs"] = 3
    write_json(copied_run / "config.json", stored)
    with pytest.raises(InputError, match="training of .* is not over after 2 epochs"):
        shelf.publish(copied_run)
    assert shelf.files() == [] and not shelf.page.exists()
    assert shelf.publish(copied_run, unfinished=True)["finished"] is False
    assert "The training was not over" in shelf.page.read_text()


def test_a_run_that_is_being_written_is_refused(shelf: Shelf, copied_run: Path) -> None:
    log = copied_run / "log.jsonl"
    last = json.loads(log.read_text().splitlines()[-1])
    log.write_text(log.read_text() + json.dumps({**last, "epoch": 3}) + "\n")
    with pytest.raises(InputError, match="weights are of epoch 2 and the log ends at epoch 3"):
        shelf.publish(copied_run)
    log.write_text(json.dumps({"epoch": 2, "loss": 0.5}) + "\n")
    with pytest.raises(InputError, match="does not tell steps and seconds"):
        shelf.publish(copied_run)
    log.unlink()
    with pytest.raises(InputError, match="has no log"):
        shelf.publish(copied_run)
    assert shelf.files() == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "../x"}, "name: got '../x'; takes small letters"),
        ({"of": Path("absent")}, "run: got absent; takes the folder that"),
        ({"cores": None}, "cores: got none, and the run does not say"),
        ({"measure": (Path("absent"),)}, "data: got absent, which does not exist"),
    ],
)
def test_wrong_input(shelf: Shelf, copied_run: Path, changes: dict[str, Any], words: str) -> None:
    stored = read_json(copied_run / "config.json")
    stored["training"]["threads"] = None
    write_json(copied_run / "config.json", stored)
    with pytest.raises(InputError, match=words):
        shelf.publish(**{"of": copied_run, **changes})
    assert shelf.files() == [] and not shelf.page.exists()


@pytest.mark.parametrize("number", range(4))
def test_weights_card_and_page_are_replaced_together(
    number: int, tiny_weights: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tiny_weights.folder / "tiny.safetensors"
    pages = tiny_weights.page.parent
    curve = pages / "images" / "tiny_learning_curve.png"
    files = [weights, weights.with_suffix(".json"), tiny_weights.page, curve]
    before, genuine = [file.read_bytes() for file in files], os.replace

    def replace(source: Path, target: Path) -> None:
        if target == files[number]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        genuine(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(InputError, match=r"cannot write .*tiny.safetensors.*No space left"):
        tiny_weights.publish(failures=("It is new.",))
    assert before == [file.read_bytes() for file in files]
    assert len(tiny_weights.files()) == 2 and len([*pages.rglob("*.*")]) == 2


def test_cores_are_counted_by_the_run(shelf: Shelf, copied_run: Path) -> None:
    """The log says how many processes trained, the configuration how many threads each had."""
    stored = read_json(copied_run / "config.json")
    stored["training"]["threads"] = 3
    write_json(copied_run / "config.json", stored)
    log = copied_run / "log.jsonl"
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry["processes"] for entry in entries] == [1, 1]
    log.write_text(
        "".join(json.dumps({**e, "processes": 2, "elapsed": 1800}) + "\n" for e in entries)
    )
    card = shelf.publish(copied_run, cores=None)
    assert (card["cores"], card["hours"], card["core_hours"]) == (6, 0.5, 3.0)
    assert card["command"].startswith("torchrun --nproc-per-node 2 -m softgate_ext.cli train ")


def test_a_training_that_started_from_shipped_weights_says_so(
    shelf: Shelf, copied_run: Path
) -> None:
    first = shelf.publish(copied_run)
    assert first["continues"] == []
    stored = read_json(copied_run / "config.json")
    stored["training"]["init"] = first["name"]
    write_json(copied_run / "config.json", stored)
    (told,) = shelf.publish(copied_run)["continues"]
    assert told == {key: first[key] for key in told} and told["sha256"] == first["sha256"]
    (again, other) = shelf.publish(copied_run)["continues"]
    assert other == told and again["command"] != told["command"]
    page = shelf.page.read_text()
    assert "3 trainings of 0.0 core hours in all" in page and told["sha256"][:12] in page
    # The run knows which weights of that name it started from.
    write_json(copied_run / "config.json", stored | {"init_sha256": first["sha256"]})
    assert shelf.publish(copied_run)["continues"] == [told]
    write_json(copied_run / "config.json", stored | {"init_sha256": "0" * 64})
    with pytest.raises(InputError, match="SHA-256 000000000000, of which no card tells"):
        shelf.publish(copied_run)


def test_values_that_float16_cannot_hold() -> None:
    kinds = {"wide": [1e6, 1.0], "narrow": [1e4, 1.0]}
    halves = half_precision({name: torch.tensor(values) for name, values in kinds.items()})
    assert halves["wide"].tolist() == kinds["wide"] and halves["wide"].dtype == torch.float32
    assert halves["narrow"].tolist() == kinds["narrow"] and halves["narrow"].dtype == torch.float16
    with pytest.raises(InputError, match="endless has values that are not finite"):
        half_precision({"endless": torch.tensor([1.0, float("inf")])})
    counters = {"steps": torch.tensor(2**40)}
    assert half_precision(counters) == counters


def test_commits_are_those_of_the_repository(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], run: Path
) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("needs a clone: a commit is looked up in its history")
    head = commit_named("HEAD")
    assert len(head) == 40 and set(head) <= set("0123456789abcdef")
    assert main(["publish", str(run), "tiny", "--cores", "1", "--commit", "absent"], PUBLISH) == 2
    assert "commit: got 'absent'; takes a commit of" in capsys.readouterr().err
    assert np.all(["tiny" not in path.name for path in publication.shipped.FOLDER.iterdir()])


def test_a_training_that_started_from_a_run_says_so(
    shelf: Shelf, copied_run: Path, tmp_path: Path
) -> None:
    before = tmp_path / "before"
    shutil.copytree(copied_run, before)
    stored = read_json(copied_run / "config.json")
    stored["training"]["init"] = str(before)
    write_json(copied_run / "config.json", stored)
    commits = "a" * 40, "b" * 40
    card = shelf.publish(copied_run, commit=commits)
    (told,) = card["continues"]
    assert (told["name"], told["epochs"]) == ("before", 2) and "--out runs/before" in told[
        "command"
    ]
    assert told["sha256"][:12] in shelf.page.read_text()
    assert told["data"] == card["data"] and told["licence"] == card["licence"]
    told["data"] = [{"title": "Drawn people", "people": 3, "licence": "free"}]
    page = model_page([card])
    assert page.count("| Leeds Sports Pose | 8 |") == 1
    assert "| Drawn people, before the last training | 3 | free |" in page
    assert (card["commit"], told["commit"]) == commits
    write_json(
        copied_run / "config.json", stored | {"init_sha256": "0" * 64}
    )  # since trained further
    with pytest.raises(InputError, match="started from .*before with the SHA-256 000000000000"):
        shelf.publish(copied_run)


def test_a_start_is_found_by_its_name_or_the_run_is_refused(
    shelf: Shelf, copied_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `train --init` found it; a card that is silent about it would claim too little training."""
    runs = tmp_path / "runs"
    shutil.copytree(copied_run, runs / "before")
    monkeypatch.setenv("SOFTGATE_RUNS", str(runs))
    stored = read_json(copied_run / "config.json")
    stored["training"]["init"] = "before"
    write_json(copied_run / "config.json", stored)
    (told,) = shelf.publish(copied_run)["continues"]
    assert told["name"] == "before" and told["epochs"] == 2
    shutil.rmtree(runs)
    with pytest.raises(InputError, match="run: its training started from before"):
        shelf.publish(copied_run)
