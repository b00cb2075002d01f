"""Which metric is used for a dataset: the one that fits it, or the one that a user names."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from official import KEYPOINTS, coco, write_coco

from softgate_ext.cli.run import main
from softgate_ext.data.coco import read_coco
from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.evaluation.evaluate import evaluate
from softgate_ext.evaluation.evaluate_config import EvalConfig
from softgate_ext.evaluation.measure import protocol_for, reference_lengths, score
from softgate_ext.pose.protocols import named_protocol
from softgate_ext.pose.skeleton import FLIC, LSP, name_skeleton

SIGMAS = (0.05, 0.1, 0.1)


def dolls(path: Path, people: int = 4, **category: Any) -> Path:
    """People of a nose and two hands, two in a picture."""
    points = [[24 + i, 20, 2, 44, 30 + i, 1, 52, 62, 2] for i in range(people)]
    contents = coco([{"keypoints": xy, "image_id": 10 + i % 2} for i, xy in enumerate(points)])
    contents["categories"][0].update(category)
    return write_coco(path / "annotations" / "val.json", contents)


@pytest.fixture
def toys(tmp_path: Path) -> PoseSet:
    return read_coco(dolls(tmp_path), "test")


def test_without_a_torso_the_box_is_the_unit(toys: PoseSet) -> None:
    """PCK@0.2 of the longer side, which is 60 pixels here."""
    protocol = protocol_for(toys)
    assert (protocol.metric, protocol.unit) == ("PCK@0.2 (box)", "longer side of the person's box")
    assert reference_lengths(toys, protocol).tolist() == [60] * 4
    for off, expected in ((12, 100), (12.01, 0)):
        assert score(toys.joints + [off, 0], toys, protocol).main == expected


def test_without_a_box_it_is_that_of_the_labelled_joints(toys: PoseSet) -> None:
    labelled = toys.labelled.copy()
    labelled[0, 2] = False
    labelled[1, 1:] = False  # one joint has no extent
    boxes = np.vstack([np.full((3, 4), np.nan), [0, 0, 30, 80]]).astype(np.float32)
    for given, last in ((None, 42), (boxes, 80)):
        some = replace(toys, labelled=labelled, boxes=given)
        lengths = reference_lengths(some, protocol_for(some))
        np.testing.assert_array_equal(lengths, [20, np.nan, 42, last])


def test_a_torso_that_nobody_has_labelled_gives_way_to_the_box() -> None:
    flags = np.ones((2, 14), bool)
    flags[:, LSP.index("right_hip")] = False
    faces = PoseSet(
        name="faces", skeleton=LSP, image_paths=[Path("x.jpg")] * 2,
        joints=np.random.default_rng(0).uniform(0, 9, (2, 14, 2)).astype(np.float32),
        labelled=flags, visible=flags, centers=np.zeros((2, 2), np.float32),
        sizes=np.ones(2, np.float32),
    )  # fmt: skip
    assert protocol_for(faces).metric == "PCK@0.2 (box)"
    with pytest.raises(
        InputError, match=r"metric \(the labelled joints are right_ankle, right_knee, left_hip"
    ):
        score(faces.joints, faces, protocol_for(faces, "torso"))


def test_a_length_between_two_joints(toys: PoseSet) -> None:
    protocol = protocol_for(toys, "left_hand,right_hand")
    assert protocol.metric == "PCK@0.2 (left_hand, right_hand)"
    assert protocol.unit == "distance from left hand to right hand"
    expected = np.hypot(8, 32 - np.arange(4))
    np.testing.assert_allclose(reference_lengths(toys, protocol), expected)
    spaced = replace(toys, skeleton=name_skeleton("odd", ["a, b", "Left Hand", "c"]))
    assert protocol_for(spaced, "a, b,Left Hand").reference == (0, 1)


@pytest.mark.parametrize(
    ("metric", "ends"),
    [
        ("wrist_a,hip_one", (0, 1)),
        ("Wrist A,Hip One", (0, 1)),
        ("Wrist, Middle1", (2, 3)),
        ("hipOne , wrist", (1, 2)),
        ("WRIST_B,wrist-b", (4, 5)),  # as they are printed, though each is called as the other
        ("a,b,c", None),  # which of two pairs?
        ("wrist,WRIST", None),
        ("wrist.b,wrist", None),  # which of two joints?
        ("wrist a", None),
        (",", None),
    ],
)
def test_the_two_joints_are_found_in_any_spelling_that_names_one(
    metric: str, ends: tuple[int, int] | None
) -> None:
    names = ["Wrist A", "Hip One", "Wrist", "Middle1", "wrist_b", "Wrist-B", "a", "b,c", "a,b", "c"]
    own = name_skeleton("own", names)
    if ends is not None:
        assert named_protocol(metric, own, (), {}).reference == ends
        return
    with pytest.raises(InputError, match=r"^metric: got .*; takes auto, torso, box, oks, or two"):
        named_protocol(metric, own, (), {})


def test_areas_are_those_of_the_file_else_of_the_box(toys: PoseSet) -> None:
    areas = np.array([900, 0, np.nan, 400], np.float32)
    some = replace(toys, areas=areas)
    of_box = np.sqrt(0.53 * 40 * 60)
    lengths = reference_lengths(some, protocol_for(some, "oks", SIGMAS))
    np.testing.assert_allclose(lengths, [30, of_box, of_box, 20])


def test_sigmas_of_coco_of_the_file_and_of_the_user(tmp_path: Path, toys: PoseSet) -> None:
    own = read_coco(dolls(tmp_path / "own", sigmas=[0.1, 0.2, 0.3]), "test")
    assert protocol_for(own, "oks").sigmas == (0.1, 0.2, 0.3)
    assert protocol_for(own, "oks", SIGMAS).sigmas == SIGMAS
    for odd in ([0.1], [0.1, 0.2, -1], [0.1, 0.2, "x"], 5):
        people = read_coco(dolls(tmp_path / "odd", sigmas=odd), "test")
        assert not people.sigmas and "sigmas are ignored" in " ".join(people.notes)
    part = replace(toys, skeleton=name_skeleton("part", ["nose", "left_eye", "right_eye"]))
    assert protocol_for(part, "oks").sigmas == (0.026, 0.025, 0.025)


@pytest.mark.parametrize(
    ("metric", "sigmas", "words"),
    [
        ("torso", (), r"metric: got torso, .* takes another metric \(the joints are {}\)$"),
        ("nose,tail", (), "metric: got nose,tail; takes auto, torso, box, oks, or two of .* {}$"),
        ("PCK", (), "metric: got PCK; takes .* {}$"),
        ("oks", (), "oks_sigmas: got none, and .* for left_hand, right_hand; takes one .*: {}$"),
        ("oks", (0.1,), "oks_sigmas: got 1; takes one number for each of these joints, .*: {}$"),
        ("oks", (0.1, 0.1, 0.0), "oks_sigmas: got 0.1 0.1 0.0; takes numbers above 0"),
        ("box", SIGMAS, "oks_sigmas: got them with the metric box; they belong to --metric oks"),
        ("auto", SIGMAS, "oks_sigmas: got them with the metric auto; they belong to --metric oks"),
    ],
)
def test_a_metric_that_cannot_be_used_names_the_joints_found(
    toys: PoseSet, metric: str, sigmas: tuple[float, ...], words: str
) -> None:
    with pytest.raises(InputError, match=words.format(", ".join(KEYPOINTS))):
        protocol_for(toys, metric, sigmas)


def test_a_run_by_every_metric(run: Path, people: Path, tmp_path: Path) -> None:
    """On the joints of LSP, which none but `oks` needs sigmas for."""
    words = ["evaluate", run, people, "--workers", 0, "--device", "cpu", "--json", tmp_path / "j"]
    sigmas = ["--oks-sigmas", *[0.1] * 14]
    for metric, name in (
        (["box"], "PCK@0.2 (box)"),
        (["torso"], "PCK@0.2"),
        (["neck,head_top"], "PCK@0.2 (neck, head_top)"),
        (["oks", *sigmas], "OKS AP"),
    ):
        assert main([*map(str, [*words, "--metric", *metric])]) == 0
        figures = json.loads((tmp_path / "j").read_text())
        assert figures["metric"] == name and figures["people"] == 8
        network, constant = figures["rows"]
        assert (network["name"], constant["name"]) == ("network", "mean pose")
        assert ("AP" in network) == (metric[0] == "oks")


def test_the_table_of_oks(run: Path, people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", run, people, "--workers", 0, "--device", "cpu", "--metric", "oks"]
    assert main([*map(str, [*words, "--oks-sigmas", *[0.1] * 14])]) == 0
    text = capsys.readouterr().out
    for word in ("OKS AP of 8 people", "AP50", "ARl", "similarity; AP and AR: COCO's", "hidden"):
        assert word in text
    assert "@0.1" not in text and "AUC" not in text


def test_joints_that_nobody_has_in_training_are_wrong_in_the_mean_pose(tmp_path: Path) -> None:
    """A part without them trains and is measured all the same."""
    for part, flag in (("train", 0), ("val", 2)):
        points = [[24 + i, 20, 2, 44, 30 + i, flag, 52, 62, 2] for i in range(4)]
        write_coco(
            tmp_path / "annotations" / f"{part}.json",
            coco([{"keypoints": xy} for xy in points], images=1),
        )
    people = read_coco(tmp_path / "annotations" / "val.json", "test")
    saved = tmp_path / "theirs.npz"
    np.savez(saved, preds=people.joints)
    result = evaluate(EvalConfig(None, tmp_path, predictions=saved))
    assert result.scores["predictions"].main == 100
    assert result.scores["mean pose"].pck.per_joint.tolist() == [100, 0, 100]


def test_the_unit_does_not_follow_the_joints_that_are_looked_for(run: Path, tmp_path: Path) -> None:
    """The run knows no tail, yet the distance to it is a length."""
    names = [*FLIC.joints[:8], "tail"]
    flags = np.tile([[10.0, 10, 2]], (9, 1))
    flags[:, :2] += np.random.default_rng(0).uniform(0, 60, (9, 2)).round()
    contents = coco([{"keypoints": flags.ravel().tolist()}] * 2)
    contents["categories"][0].update(keypoints=names, skeleton=[])
    path = write_coco(tmp_path / "annotations" / "val.json", contents)
    config = EvalConfig(run, path, metric="left_wrist,tail", workers=0, device="cpu")
    result = evaluate(config)
    assert result.people == 2 and result.scores["network"].pck.counts.tolist() == [2] * 8 + [0]
