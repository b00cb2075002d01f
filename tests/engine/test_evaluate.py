"""PCK@0.2 of a run."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from softgate_ext.data.lsp import read_lsp
from softgate_ext.engine.config import EvalConfig
from softgate_ext.engine.evaluate import evaluate, measure, measure_mean_pose
from softgate_ext.engine.log import read_log
from softgate_ext.errors import InputError


@pytest.fixture
def config(run: Path, people: Path) -> EvalConfig:
    return EvalConfig(run, people, workers=0, device="cpu")


def test_it_measures_what_the_training_watched(config: EvalConfig) -> None:
    result = evaluate(config)
    watched = read_log(config.run / "log.jsonl")[-1]["pck"]
    assert result.to_json()["network"] == watched
    assert result.people == 8


def test_the_truth_is_right_and_a_shifted_truth_is_not(people: Path) -> None:
    test = read_lsp(people, "test")
    assert measure(test.joints, test).pooled == 100
    torso = np.linalg.norm(test.joints[:, 9] - test.joints[:, 2], axis=-1)
    for share, expected in ((0.19, 100), (0.21, 0)):
        moved = test.joints + np.stack([share * torso, 0 * torso], -1)[:, None]
        assert measure(moved, test).pooled == expected


def test_the_mean_pose_of_one_person_fits_that_person(people: Path) -> None:
    one = read_lsp(people, "train").subset([0])
    assert measure_mean_pose(one, one).pooled == 100


def test_the_flip_test_and_the_batch_size(config: EvalConfig) -> None:
    single = evaluate(replace(config, batch_size=1))
    assert single.network.pooled == evaluate(config).network.pooled
    assert evaluate(replace(config, flip_test=True)).about["flip_test"] is True


def test_figures_as_json_and_as_a_table(config: EvalConfig, tmp_path: Path) -> None:
    result = evaluate(replace(config, json=tmp_path / "figures.json"))
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["people"] == 8 and figures["threshold"] == 0.2
    for which in ("network", "mean_pose"):
        joints = figures[which]["per_joint"]
        assert len(joints) == 14
        assert figures[which]["mean"] == pytest.approx(np.mean(list(joints.values())), abs=1e-3)
    console = Console(width=80, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(result.table())
    text = console.export_text()
    assert "left ankle" in text and "plain mean of joints" in text and "pooled" in text


@pytest.mark.parametrize("split", ["train", "all"])
def test_other_halves(config: EvalConfig, split: str) -> None:
    people = evaluate(replace(config, split=split)).people  # type: ignore[arg-type]
    assert people == {"train": 8, "all": 16}[split]


def test_wrong_input(config: EvalConfig, people: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent"):
        evaluate(replace(config, data=tmp_path / "absent"))
    with pytest.raises(InputError, match="there is no folder"):
        evaluate(replace(config, run=tmp_path / "absent"))
    with pytest.raises(InputError, match="batch_size"):
        evaluate(replace(config, batch_size=0))
    data = Path(shutil.copytree(people, tmp_path / "people"))
    image = data / "images" / "im0012.jpg"
    image.write_bytes(image.read_bytes()[:700])
    for workers in (0, 1):
        with pytest.raises(InputError, match="im0012.jpg") as caught:
            evaluate(replace(config, data=data, workers=workers, json=tmp_path / "figures.json"))
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "figures.json").exists()


def test_people_without_a_labelled_torso_do_not_count(people: Path) -> None:
    test = read_lsp(people, "test")
    labelled = test.labelled.copy()
    labelled[0, 9] = False
    joints = test.joints.copy()
    joints[0, 9] += 1000
    some = replace(test, labelled=labelled, joints=joints)
    result = measure(joints + 1000 * (np.arange(len(test)) == 0)[:, None, None], some)
    assert result.pooled == 100 and result.counts.tolist() == [len(test) - 1] * 14
    with pytest.raises(InputError, match="nobody of"):
        measure(joints, replace(test, labelled=np.zeros_like(labelled)))


def test_where_the_figures_go_is_checked_first(config: EvalConfig, tmp_path: Path) -> None:
    for target in (tmp_path / "absent" / "x.json", tmp_path):
        with pytest.raises(InputError, match="json: got"):
            evaluate(replace(config, json=target, run=Path("absent")))


def test_weights_selected_on_the_people_measured_are_called_so(config: EvalConfig) -> None:
    assert evaluate(replace(config, weights="best")).about["selected_here"]
    assert evaluate(replace(config, weights="best")).table().caption
    assert not evaluate(config).about["selected_here"]
