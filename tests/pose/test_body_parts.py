"""PCP by both rules and PDJ, on poses whose distances are computed by hand."""

import json

import numpy as np
import pytest

from softgate_ext.errors import InputError
from softgate_ext.pose.body_parts import BodyParts, part_distances
from softgate_ext.pose.protocol import Score
from softgate_ext.pose.protocols import FLIC_PCK, LSP_PCK, PCKH
from softgate_ext.pose.skeleton import COCO, FLIC, LSP, MPII, Skeleton

WRIST, ELBOW, SHOULDER = (LSP.index(f"right_{joint}") for joint in ("wrist", "elbow", "shoulder"))
HIPS = [LSP.index("right_hip"), LSP.index("left_hip")]


def standing() -> np.ndarray:
    """One person of LSP's joints: legs of 20 + 20, arms of 10 + 10, a torso of 30, a head of 8.

    The torso's diagonal, left shoulder to right hip, is 50 long.
    """
    x = {"right": -20.0, "left": 20.0, "neck": 0.0, "head": 0.0}
    y = {"ankle": 70.0, "knee": 50.0, "hip": 30.0, "shoulder": 0.0, "elbow": 10.0, "wrist": 20.0}
    y |= {"neck": -2.0, "top": -10.0}
    names = [name.split("_") for name in LSP.joints]
    return np.array([[[x[name[0]], y[name[-1]]] for name in names]])


def scored(moves: dict[int, tuple[float, float]], hidden: tuple[int, ...] = ()) -> Score:
    """Figures of the person with joints moved by so many pixels; `hidden` are not labelled."""
    truth, labelled = standing(), np.ones((1, 14), bool)
    labelled[0, list(hidden)] = False
    found = truth.copy()
    for joint, move in moves.items():
        found[0, joint] += move
    return LSP_PCK.score_joints(found, truth, labelled, [50.0])


def wrong(score: Score, name: str) -> set[str]:
    parts, figures = BodyParts.of(LSP).names, score.pcp[name].per_joint
    return {part for part, percent in zip(parts, figures, strict=True) if percent == 0}


def test_the_parts_of_each_skeleton() -> None:
    assert {t: len(p) for t, p in BodyParts.of(LSP).columns.items()} == {
        "Torso": 1, "U.leg": 2, "L.leg": 2, "U.arm": 2, "L.arm": 2, "Head": 1,
    }  # fmt: skip
    assert BodyParts.of(MPII).names == BodyParts.of(LSP).names
    assert list(BodyParts.of(FLIC).columns) == ["Torso", "U.arm", "L.arm"]
    assert list(BodyParts.of(COCO).columns) == ["Torso", "U.leg", "L.leg", "U.arm", "L.arm"]
    assert BodyParts.of(Skeleton("hand", ("thumb",), (), ())).names == ()


@pytest.mark.parametrize(
    ("moves", "strict", "loose"),
    [
        ({}, set(), set()),
        ({WRIST: (0, 5)}, set(), set()),  # half of the lower arm, and the limit counts
        ({WRIST: (0, 5.1)}, {"right_elbow-wrist"}, set()),
        ({WRIST: (6, 0), ELBOW: (0, 4)}, {"right_elbow-wrist"}, set()),  # (0.6 + 0.4) / 2
        ({WRIST: (6, 0), ELBOW: (0, 4.2)}, {"right_elbow-wrist"}, {"right_elbow-wrist"}),
        # The ends of the torso are the middles: one hip may be off by its whole length.
        ({HIPS[0]: (0, 30)}, {"right_hip-knee"}, {"right_hip-knee"}),
        ({HIPS[0]: (31, 0), HIPS[1]: (-31, 0)}, {"right_hip-knee", "left_hip-knee"},
         {"right_hip-knee", "left_hip-knee"}),
        ({WRIST: (np.nan, 0)}, {"right_elbow-wrist"}, {"right_elbow-wrist"}),
        ({HIPS[0]: (np.inf, 0)}, {"torso", "right_hip-knee"}, {"torso", "right_hip-knee"}),
    ],
)  # fmt: skip
def test_a_part_is_correct_within_half_of_its_length(
    moves: dict[int, tuple[float, float]], strict: set[str], loose: set[str]
) -> None:
    score = scored(moves)
    assert (wrong(score, "PCP"), wrong(score, "PCP loose")) == (strict, loose)
    assert score.pcp["PCP"].pooled == 100 * (10 - len(strict)) / 10


def test_parts_with_a_joint_that_is_not_labelled_do_not_count() -> None:
    result = scored({WRIST: (50, 0)}, hidden=(WRIST, HIPS[1])).pcp["PCP"]
    counted = dict(zip(BodyParts.of(LSP).names, result.counts.tolist(), strict=True))
    assert {name for name, count in counted.items() if not count} == {
        "torso", "left_hip-knee", "right_elbow-wrist",
    }  # fmt: skip
    assert result.pooled == result.mean == 100


def test_a_part_without_length_is_correct_where_it_is_hit() -> None:
    truth = standing()
    truth[0, WRIST] = truth[0, ELBOW]
    off = truth.copy()
    off[0, WRIST] += 0.1
    place = BodyParts.of(LSP).names.index("right_elbow-wrist")
    for found, expected in ((truth, 0), (off, np.inf)):
        for strict in (True, False):
            every = part_distances(found, truth, np.ones((1, 14)), BodyParts.of(LSP), strict)
            assert every[0, place] == expected
    with pytest.raises(InputError, match=r"must have shapes .* got \(1, 13, 2\), \(1, 14, 2\) and"):
        part_distances(truth[:, 1:], truth, np.ones((1, 14)), BodyParts.of(LSP))


@pytest.mark.parametrize(("pixels", "right_from"), [(5, 0.1), (5.1, 0.2), (24, 0.5), (26, None)])
def test_a_joint_is_detected_within_a_fraction_of_the_torso(
    pixels: float, right_from: float | None
) -> None:
    """The diagonal is 50 pixels: 5 are its tenth."""
    score = scored({WRIST: (pixels, 0)})
    percents = {name: one.per_joint[WRIST] for name, one in score.pdj.items()}
    fractions = (0.1, 0.2, 0.3, 0.4, 0.5)
    assert percents == {f"PDJ@{f}": 100 * (f >= (right_from or 1)) for f in fractions}
    assert all(one.per_joint[ELBOW] == 100 for one in score.pdj.values())


def test_detected_joints_are_of_people_whose_torso_is_labelled() -> None:
    score = scored({WRIST: (50, 0)}, hidden=(LSP.index("left_shoulder"),))
    assert not score.pdj["PDJ@0.2"].counts.any() and score.pck.counts.sum() == 13


def test_lsp_has_one_figure_by_two_names() -> None:
    rng = np.random.default_rng(0)
    truth = standing() + rng.normal(0, 2, (50, 14, 2))
    lengths = np.linalg.norm(truth[:, 9] - truth[:, 2], axis=-1)
    found = truth + rng.normal(0, 6, truth.shape)
    score = LSP_PCK.score_joints(found, truth, np.ones((50, 14), bool), lengths)
    assert 0 < score.pdj["PDJ@0.2"].pooled == score.pck.pooled < 100
    assert score.pdj["PDJ@0.1"].pooled == score.parts["@0.1"].pooled


def test_what_is_printed_and_written() -> None:
    score = scored({WRIST: (0, 5.1)})
    assert list(score.totals()) == ["@0.1", "AUC", "PDJ@0.2", "PCP", "PCP loose"]
    written = json.loads(json.dumps(score.to_json(), allow_nan=False))
    assert list(written)[:6] == ["per_joint", "mean", "weighted_mean", "joints", "@0.1", "AUC"]
    assert written["PDJ@0.5"]["joints"]["right_wrist"] == 100
    assert written["PCP"]["per_part"]["L.arm"] == 50 and written["PCP"]["weighted_mean"] == 90
    assert written["PCP"]["parts"]["right_elbow-wrist"] == 0
    assert written["PCP loose"]["parts"]["right_elbow-wrist"] == 100


def test_the_means_of_detected_joints_are_those_of_the_benchmark() -> None:
    assert FLIC_PCK.score_joints(*flat(11)).pdj["PDJ@0.2"].members == FLIC_PCK.members
    assert PCKH.score_joints(*flat(16)).pdj["PDJ@0.2"].members == PCKH.members


def flat(joints: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    truth = np.arange(joints * 2.0).reshape(1, joints, 2)
    return truth, truth, np.ones((1, joints), bool), np.array([10.0])
