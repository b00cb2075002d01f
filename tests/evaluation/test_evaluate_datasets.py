"""Each benchmark is evaluated by its own metric, from its official files."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from official import point, rect, write_flic, write_mpii

from softgate_ext.cli.run import main
from softgate_ext.data.flic import read_flic
from softgate_ext.data.mpii import read_mpii
from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.evaluation.evaluate import evaluate, submit
from softgate_ext.evaluation.evaluate_config import EvalConfig
from softgate_ext.evaluation.joint_files import read_predictions, write_predictions
from softgate_ext.pose.skeleton import MPII
from softgate_ext.prediction.predict import predict
from softgate_ext.prediction.predict_config import PredictConfig


@pytest.fixture
def mpii(tmp_path: Path) -> Path:
    """Two training images, one of them in the published validation part by its number, and a test
    image with two people; heads of 20 x 25 pixels."""
    rng = np.random.default_rng(0)

    def person(hidden: int = 3) -> np.ndarray:
        xy = rng.integers(20, 70, (16, 2))
        return rect([point(i, x, y, is_visible=int(i != hidden)) for i, (x, y) in enumerate(xy)])

    names = ("v000_005808361.jpg", "t000_000000001.jpg", "test.jpg")
    people = ([person(), person()], [person()], [rect(None, x=30), rect(None, x=60)])
    return write_mpii(tmp_path / "mpii", list(zip(names, people, (1, 1, 0), strict=True)))


def test_mpii(mpii: Path, tmp_path: Path) -> None:
    people = read_mpii(mpii, "test")
    assert len(people) == 2
    off = 0.5 * 0.6 * np.hypot(20, 25)
    joints = people.joints.astype(np.float64) + [off - 1e-3, 0]
    joints[0, 3, 0] += 1
    joints[:, MPII.index("pelvis")] += 100
    path = tmp_path / "theirs.mat"
    write_predictions(path, joints, np.ones((2, 16)), people)
    result = evaluate(EvalConfig(mpii, predictions=path))
    ours = result.scores["predictions"]
    assert result.protocol.metric == "PCKh@0.5" and result.people == 2
    assert ours.pck.pooled == pytest.approx(100 * 27 / 28)
    assert {"visible", "hidden"} <= set(ours.parts)
    assert tuple(ours.parts[name].pooled for name in ("visible", "hidden")) == (100, 50)
    assert ours.parts["@0.1"].pooled == 0
    assert list(result.scores) == ["predictions", "mean pose"]


def test_flic(tmp_path: Path) -> None:
    root = write_flic(tmp_path / "flic")
    people = read_flic(root, "test")
    joints = people.joints + np.float32(0.2 * np.hypot(20, 30) / np.sqrt(2) - 0.01)
    path = tmp_path / "theirs.npz"
    write_predictions(path, joints.astype(np.float64), np.ones((2, 11)), people)
    result = evaluate(EvalConfig(root, predictions=path))
    assert (result.protocol.metric, list(result.protocol.columns)) == ("PCK@0.2", ["Elb", "Wri"])
    assert result.protocol.unit == "diagonal of the torso box"
    assert result.scores["predictions"].pck.pooled == 100
    assert result.scores["predictions"].parts["@0.1"].pooled == 0


def test_a_test_part_alone_is_measured_without_the_mean_pose(
    mpii: Path, dolls: Path, doll_set: PoseSet, run: Path, tmp_path: Path
) -> None:
    """Validation people alone, in the official file and in a file that is a part by its name."""
    head = [point(i, 20 + i, 30 + 2 * i) for i in range(16)]
    alone = write_mpii(tmp_path / "valid", [("v000_005808361.jpg", [rect(head)], 1)])
    said = "the mean pose is left out, because the data have no training samples"
    result = evaluate(EvalConfig(run, alone, workers=0, device="cpu"))
    assert (list(result.scores), result.people) == (["network"], 1)
    assert result.notes.count(said) == 1 and said in str(result.details().caption)
    write_predictions(tmp_path / "own.json", doll_set.joints, np.ones((5, 3)), doll_set)
    result = evaluate(EvalConfig(dolls, predictions=tmp_path / "own.json"))
    assert list(result.scores) == ["predictions"] and result.notes.count(said) == 1
    both = evaluate(EvalConfig(run, mpii, workers=0, device="cpu"))
    assert list(both.scores) == ["network", "mean pose"] and said not in both.notes


def test_what_a_run_does_not_look_for_is_said(run: Path, mpii: Path) -> None:
    """The run knows LSP's joints."""
    result = evaluate(EvalConfig(run, mpii, workers=0, device="cpu"))
    counts = [score.pck.counts.tolist() for score in result.scores.values()]
    assert counts[0] == counts[1] and result.protocol.metric == "PCKh@0.5"
    assert "pelvis, thorax, upper_neck" in str(result.details().caption)


def test_a_submission_for_the_test_people(mpii: Path, tmp_path: Path) -> None:
    """By subprocess, from the predictions of another program, 1-based as MATLAB has them."""
    joints = np.random.default_rng(1).uniform(1, 90, (2, 16, 2))
    scipy.io.savemat(tmp_path / "theirs.mat", {"preds": joints})
    out = tmp_path / "pred_keypoints_mpii.mat"
    words = ["evaluate", mpii, "--predictions", tmp_path / "theirs.mat", "--submission", out]
    command = [sys.executable, "-m", "softgate_ext.cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{out}\n")
    based, _, axes = done.stderr.splitlines()  # two people of two coordinates
    assert based == "predictions read as 1-based" and "preds (2, 16, 2) are ambiguous" in axes
    pred = scipy.io.loadmat(out, struct_as_record=False, squeeze_me=True)["pred"]
    rects = np.ravel(pred)[0].annorect
    stored = [[(p.x, p.y) for p in r.annopoints.point] for r in rects]
    np.testing.assert_allclose(stored, joints)


def test_what_cannot_be_submitted(
    run: Path, mpii: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.mat"

    def refused(*words: object) -> str:
        assert main(["evaluate", *map(str, words), "--submission", str(out)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert not out.exists()
        return line

    assert "must hold mpii_human_pose" in refused(run, people)
    assert "must be finite" in refused(run, mpii, "--workers", 0, "--device", "cpu")
    assert "give it alone" in refused("--reference", tmp_path / "x.npz")


def test_the_predictions_of_a_run_are_those_of_its_json(
    run: Path, people: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "joints.json"
    words = [
        "evaluate",
        run,
        people,
        "--workers",
        0,
        "--device",
        "cpu",
        "--save-predictions",
        saved,
    ]
    assert main(list(map(str, words))) == 0
    stored = json.loads(saved.read_text())
    assert len(stored["predictions"]) == 8 and stored["origin"] == 0
    first = stored["predictions"][0]
    assert first["image"] == "im0009.jpg" and np.shape(first["joints"]) == (14, 2)


def test_the_form_of_a_submission_is_read(mpii: Path, people: Path, tmp_path: Path) -> None:
    """Of the test people as it is written, and of all images, as others keep it."""
    theirs, first, again = (tmp_path / name for name in ("theirs.mat", "first.mat", "again.mat"))
    joints = np.random.default_rng(1).uniform(1, 90, (2, 16, 2))
    scipy.io.savemat(theirs, {"preds": joints})
    submit(EvalConfig(None, mpii, predictions=theirs, submission=first))
    assert submit(EvalConfig(None, mpii, predictions=first, submission=again)) == (
        "predictions read as 1-based",
    )
    unlabelled = read_mpii(mpii, "unlabelled")
    np.testing.assert_allclose(read_predictions(again, unlabelled).joints, joints - 1)
    with pytest.raises(
        InputError, match=r"has people of test.jpg and no person of mpii-test; takes"
    ):
        evaluate(EvalConfig(None, mpii, predictions=first))
    with pytest.raises(InputError, match="is a submission to MPII, .*, so give MPII as data"):
        evaluate(EvalConfig(None, people, predictions=first))
    release = scipy.io.loadmat(mpii / "mpii_human_pose_v1_u12_1.mat")["RELEASE"]
    scipy.io.savemat(theirs, {"pred": release["annolist"][0, 0]})
    truth = evaluate(EvalConfig(None, mpii, predictions=theirs))
    assert truth.people == 2 and truth.scores["predictions"].pck.pooled == 100


def test_several_people_found_in_a_picture_go_by_their_boxes(
    run: Path, mpii: Path, tmp_path: Path
) -> None:
    """In whatever order the boxes were asked about."""
    people = read_mpii(mpii, "test")
    people = replace(people, centers=np.array([[30, 40], [80, 40]], np.float32))
    people = replace(people, sizes=np.array([40, 50], np.float32))
    picture = people.image_paths[0]
    boxes = [[55, 15, 50, 50], [10, 20, 40, 40]]
    entries = [{"file": str(picture), "bbox_xywh": box} for box in boxes]
    (tmp_path / "boxes.json").write_text(json.dumps(entries))
    words = PredictConfig(run, (str(picture),), tmp_path, boxes=tmp_path / "boxes.json")
    predict(replace(words, outputs=("json",), device="cpu"))
    path = tmp_path / "predictions.json"
    found = read_predictions(path, people)
    stored = json.loads(path.read_text())["images"][0]["people"]
    for joints, person in zip(found.joints, reversed(stored), strict=True):
        for name, joint in person["joints"].items():
            if name in MPII.joints:
                assert joints[MPII.index(name)].tolist() == [joint["x"], joint["y"]]
    assert found.notes[-1].startswith("2 people in pictures with several were told apart by the ov")
    assert evaluate(EvalConfig(None, mpii, predictions=path)).people == 2


def test_nobody_to_measure_is_said_before_the_network_runs(
    run: Path, people: Path, tmp_path: Path
) -> None:
    contents = scipy.io.loadmat(people / "joints.mat")
    joints = contents["joints"].transpose(1, 0, 2).copy()  # as LSP-extended: 1 = labelled
    joints[9, 2] = 0
    data = tmp_path / "people"
    data.mkdir()
    (data / "images").symlink_to(people / "images")
    scipy.io.savemat(data / "joints.mat", {"joints": joints})
    with pytest.raises(InputError, match="no sample of .* the unit of the"):
        evaluate(EvalConfig(run, data, split="train", metric="torso", workers=0))


def test_the_published_validation_people(shared_data: Path, tmp_path: Path) -> None:
    """Their head boxes are in the file, so the truth itself scores 100 and half a head less."""
    root = shared_data / "mpii_subset"
    if not root.is_dir():
        pytest.skip(f"needs {root}")
    people = read_mpii(root, "test")
    path = tmp_path / "truth.npz"
    write_predictions(path, people.joints.astype(np.float64), np.ones((16, 16)), people)
    result = evaluate(EvalConfig(root, predictions=path))
    assert result.protocol.metric == "PCKh@0.5" and result.people == 16
    assert result.scores["predictions"].pck.pooled == 100
    assert 0 < result.scores["mean pose"].pck.pooled < 60
