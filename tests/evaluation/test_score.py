"""The figures of joints against labels: the length of a person, and which people count."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from softgate_ext.data.lsp import read_lsp
from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.evaluation.measure import constant_pose, protocol_for, reference_lengths, score
from softgate_ext.pose.protocols import FLIC_PCK, LSP_PCK, PCKH, torso_pck
from softgate_ext.pose.skeleton import FLIC, MPII


def person(**changes: Any) -> PoseSet:
    """Four people with MPII's joints and head boxes of 30 x 40 pixels."""
    joints = np.random.default_rng(0).uniform(50, 90, (4, 16, 2)).astype(np.float32)
    return PoseSet(
        **{
            "name": "few",
            "skeleton": MPII,
            "image_paths": [Path("x.jpg")] * 4,
            "joints": joints,
            "labelled": np.ones((4, 16), bool),
            "visible": np.arange(4)[:, None].repeat(16, 1) < 2,
            "centers": np.full((4, 2), 70, np.float32),
            "sizes": np.full(4, 100, np.float32),
            "head_boxes": np.array([[10, 10, 40, 50]] * 3 + [[np.nan] * 4], np.float32),
            **changes,
        }
    )


def test_the_truth_is_right_and_a_shifted_truth_is_not(people: Path) -> None:
    test = read_lsp(people, "test")
    assert score(test.joints, test, LSP_PCK).main == 100
    torso = np.linalg.norm(test.joints[:, 9] - test.joints[:, 2], axis=-1)
    for share, expected in ((0.19, 100), (0.21, 0)):
        moved = test.joints + np.stack([share * torso, 0 * torso], -1)[:, None]
        assert score(moved, test, LSP_PCK).main == expected


def test_the_mean_pose_of_one_person_fits_that_person(people: Path) -> None:
    one = read_lsp(people, "train").subset([0])
    assert score(constant_pose(one, one), one, LSP_PCK).main == 100


def test_mpii_is_measured_by_its_head_boxes() -> None:
    people = person()
    assert protocol_for(people) is PCKH
    np.testing.assert_allclose(reference_lengths(people, PCKH), [30, 30, 30, np.nan])
    moved = people.joints + np.array([14.9, 0])
    moved[3] += 500
    result = score(moved, people, PCKH)
    assert result.pck.pooled == 100 and result.pck.counts.tolist() == [3] * 16
    assert result.parts["visible"].pooled == 100
    assert score(people.joints + np.array([15.1, 0]), people, PCKH).pck.pooled == 0


def test_visible_and_hidden_are_told_apart_only_where_the_data_tell() -> None:
    people = person(visible=np.ones((4, 16), bool))
    assert "visible" not in score(people.joints, people, PCKH).parts


def test_without_head_boxes_mpii_is_measured_by_the_torso() -> None:
    for boxes in (None, np.full((4, 4), np.nan, np.float32)):
        people = person(head_boxes=boxes)
        assert protocol_for(people) == torso_pck(MPII)
        ends = (
            people.joints[:, MPII.index("left_shoulder")],
            people.joints[:, MPII.index("right_hip")],
        )
        expected = np.linalg.norm(ends[0] - ends[1], axis=-1)
        np.testing.assert_allclose(reference_lengths(people, torso_pck(MPII)), expected, rtol=1e-6)


def test_flic_is_measured_by_its_torso_boxes() -> None:
    boxes = np.array([[0, 0, 30, 40]] * 4, np.float32)
    joints = np.zeros((4, 11, 2), np.float32)
    flags = np.ones((4, 11), bool)
    people = person(
        skeleton=FLIC, joints=joints, labelled=flags, visible=flags, head_boxes=None,
        torso_boxes=boxes,
    )  # fmt: skip
    assert protocol_for(people) is FLIC_PCK
    assert score(joints + np.float32(7), people, FLIC_PCK).pck.pooled == 100
    assert score(joints + np.float32(7.1), people, FLIC_PCK).pck.pooled == 0


def test_people_without_a_labelled_torso_do_not_count(people: Path) -> None:
    test = read_lsp(people, "test")
    labelled = test.labelled.copy()
    labelled[0, 9] = False
    joints = test.joints.copy()
    joints[0, 9] += 1000
    some = replace(test, labelled=labelled, joints=joints)
    moved = joints + 1000 * (np.arange(len(test)) == 0)[:, None, None]
    result = score(moved, some, LSP_PCK).pck
    assert result.pooled == 100 and result.counts.tolist() == [len(test) - 1] * 14
    labelled[:, 9] = False
    with pytest.raises(
        InputError, match="no sample of .* another metric .the labelled joints are right_ankle, "
    ):
        score(joints, replace(test, labelled=labelled), LSP_PCK)
