"""Person-centric and observer-centric figures of LSP, of a run and of predictions in files."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from official import coco, write_coco
from rich.console import Console

from softgate_ext.cli.run import main
from softgate_ext.data.coco import read_coco
from softgate_ext.data.lsp import read_lsp
from softgate_ext.errors import InputError
from softgate_ext.evaluation.evaluate import evaluate
from softgate_ext.evaluation.evaluate_config import EvalConfig
from softgate_ext.evaluation.joint_files import write_predictions
from softgate_ext.pose.metrics import half_up
from softgate_ext.pose.sides import Sides, observer_order, take_joints
from softgate_ext.pose.skeleton import LSP
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.trainer import train


@pytest.fixture
def truth(people: Path) -> np.ndarray:
    """Of the test half, half of whom are seen from behind or twisted."""
    joints = read_lsp(people, "test").joints.astype(np.float64)
    changed = (observer_order(joints, LSP) != np.arange(14)).any(1)
    assert 0 < changed.sum() < len(joints)
    return joints


def figure(people: Path, joints: np.ndarray, path: Path, labels: Sides) -> float:
    write_predictions(path, joints, np.ones(joints.shape[:2]), read_lsp(people, "test"))
    result = evaluate(EvalConfig(None, people, predictions=path, labels=labels))
    return result.scores["predictions"].pck.pooled


def test_joints_named_by_the_person_and_by_the_picture(
    people: Path, truth: np.ndarray, tmp_path: Path
) -> None:
    by_picture = take_joints(truth, observer_order(truth, LSP))
    path = tmp_path / "joints.npz"
    assert figure(people, truth, path, "pc") == figure(people, truth, path, "oc") == 100
    assert figure(people, by_picture, path, "oc") == 100
    assert figure(people, by_picture, path, "pc") < 90
    exchanged = truth[:, list(LSP.flip_permutation)]  # right by the picture whoever turns round
    assert figure(people, exchanged, path, "oc") == 100
    assert figure(people, exchanged, path, "pc") < 60


def test_places_count_as_before(people: Path, truth: np.ndarray, tmp_path: Path) -> None:
    """The unit is the diagonal between the joints that have its names then."""
    by_picture = take_joints(truth, observer_order(truth, LSP))
    unit = np.linalg.norm(by_picture[:, 9] - by_picture[:, 2], axis=-1)
    for share, expected in ((0.199, 100.0), (0.201, 0.0)):
        moved = truth + (share * unit)[:, None, None] * [0, 1]
        assert figure(people, moved, tmp_path / "joints.npz", "oc") == expected


def test_a_run_by_either_labels(
    run: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the command prints names them, and what it saves gives the same figures again."""
    saved, found = tmp_path / "joints.json", tmp_path / "figures.json"
    words = ["evaluate", str(run), str(people), "--workers", "0", "--device", "cpu"]
    figures = {}
    for option, name in (
        ([], "person-centric"), (["--labels", "pc"], "person-centric"),
        (["--labels", "oc"], "observer-centric"),
    ):  # fmt: skip
        save = ["--save-predictions", str(saved), "--json", str(found)]
        assert main([*words, *option, *save]) == 0
        assert f"PCK@0.2 of 8 people, {name}, in percent" in capsys.readouterr().out
        figures[name] = json.loads(found.read_text())
        assert figures[name]["labels"] == name
        again = ["evaluate", str(people), "--predictions", str(saved), *option, "--json"]
        assert main(again) == 0
        theirs = json.loads(capsys.readouterr().out)
        assert [row["joints"] for row in theirs["rows"]] == [
            row["joints"] for row in figures[name]["rows"]
        ]
    means = [figures[name]["rows"][1]["weighted_mean"] for name in sorted(figures)]
    assert means[0] > means[1]  # the mean pose faces the camera, and so does everybody by oc


def test_a_reference_with_both_labels(tmp_path: Path) -> None:
    gt = np.random.default_rng(0).uniform(0, 100, (5, 14, 2))
    path = tmp_path / "both.npz"
    np.savez(path, gt_pc=gt, gt_oc=gt[:, list(LSP.flip_permutation)], pred_ours=gt)
    figures = {}
    for labels in (None, "pc", "oc"):
        result = evaluate(EvalConfig(reference=path, labels=labels))  # type: ignore[arg-type]
        figures[labels] = (result.sides, result.scores["ours"].pck.pooled == 100)
    person = ("person-centric", True)
    assert figures == {None: person, "pc": person, "oc": ("observer-centric", False)}
    assert "--labels oc uses it" in evaluate(EvalConfig(reference=path)).notes[0]
    np.savez(path, gt_pc=gt, pred_ours=gt)
    with pytest.raises(InputError, match="labels: got oc, which needs gt_oc, but .* holds gt_pc"):
        evaluate(EvalConfig(reference=path, labels="oc"))


def test_the_published_people(shared_data: Path, tmp_path: Path) -> None:
    """A third of the 1000 test people are seen from behind. Of a few, hips or shoulders are one
    above the other to the pixel, and then it does matter what they were called."""
    data = shared_data / "lsp_dataset"
    truth = read_lsp(data, "test").joints.astype(np.float64)
    order = observer_order(truth, LSP)
    arms, legs = (order[:, 9] != 9).sum(), (order[:, 3] != 3).sum()
    assert (arms, legs) == (340, 326)
    path = tmp_path / "joints.npz"
    assert figure(data, truth[:, list(LSP.flip_permutation)], path, "oc") > 99.5


SIDES: tuple[Sides, ...] = ("pc", "oc")


def test_published_predictions_by_either_labels(shared_data: Path, tmp_path: Path) -> None:
    """The figures that docs/evaluation.md gives."""
    reference = shared_data / "reference_predictions" / "lsp_test_pc.npz"
    if not reference.is_file():
        pytest.skip(f"needs the published predictions at {reference}")
    expected = {
        "BulatTzimiropoulosECCV16": {"pc": "90.7", "oc": "90.9"},
        "pishchulin13iccv": {"pc": "57.1", "oc": "71.0"},
    }
    with np.load(reference) as arrays:
        for name, printed in expected.items():
            joints = arrays[f"pred_{name}"].astype(np.float64) - 1
            for labels in SIDES:
                found = figure(shared_data / "lsp_dataset", joints, tmp_path / "x.npz", labels)
                assert half_up(found, 1) == printed[labels], (name, labels)


def test_pairs_that_a_run_was_told_count_for_either_labels(
    tiny: Callable[..., TrainConfig], tmp_path: Path, quiet: Console
) -> None:
    """By their names alone the joints have no left and right."""
    contents = coco([{"keypoints": [30, 20, 2, 50, 40, 2, 25, 45, 2]}] * 4)
    contents["categories"][0]["keypoints"] = ["tail", "paw1", "paw2"]
    path = write_coco(tmp_path / "dolls" / "annotations" / "dolls.json", contents)
    config = tiny(data=path, epochs=1, holdout=2, swap=("Paw1", "paw2"), metric="box")
    train(config, quiet)
    asked = EvalConfig(config.out, path, split="train", device="cpu", workers=0, labels="oc")
    assert evaluate(asked).sides == "observer-centric"
    untold = EvalConfig(None, path, split="train", labels="oc", predictions=tmp_path / "joints.npz")
    write_predictions(untold.predictions, np.ones((4, 3, 2)), np.ones((4, 3)), read_coco(path))
    with pytest.raises(InputError, match="labels: got oc, but the joints of doll have no left and"):
        evaluate(untold)
