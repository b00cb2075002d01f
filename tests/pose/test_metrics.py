from pathlib import Path

import numpy as np
import pytest

from softgate_ext.errors import InputError
from softgate_ext.pose.metrics import lsp_torso_length, mean_pose, pck, place_pose

# PCK@0.2 as published for these predictions: total, then head to ankle where it is known.
PUBLISHED = {
    "WangLiCVPR13": 54.6,
    "pishchulin13iccv": 57.1,
    "TompsonNIPS14": 72.3,
    "ChenYuilleNIPS14": 73.4,
    "YangCVPR16": 73.6,
    "BelagiannisZissermanARXIV16": 85.2,
    "LifshitzECCV16": 86.7,
    "PishchulinCVPR16": 87.1,
    "BulatTzimiropoulosECCV16": 90.7,
}
BULAT = [97.2, 92.1, 88.1, 85.2, 92.2, 91.4, 88.7]


@pytest.fixture(scope="module")
def published(shared_data: Path) -> dict[str, np.ndarray]:
    path = shared_data / "reference_predictions" / "lsp_test_pc.npz"
    if not path.is_file():
        pytest.skip(f"needs the published predictions at {path}")
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("author", PUBLISHED)
def test_published_figures_of_lsp(published: dict[str, np.ndarray], author: str) -> None:
    target = published["gt_pc"]
    labelled = np.ones(target.shape[:2], bool)
    result = pck(published[f"pred_{author}"], target, labelled, lsp_torso_length(target))
    assert f"{result.pooled + 1e-9:.1f}" == str(PUBLISHED[author])
    if author.startswith("Bulat"):
        assert [round(value + 1e-9, 1) for value in result.grouped().values()] == BULAT


def square(people: int = 1) -> np.ndarray:
    """LSP poses whose reference length is exactly 10 px."""
    target = np.zeros((people, 14, 2))
    target[:, 9] = (6, 8)
    return target


def test_the_limit_itself_is_correct() -> None:
    target = square()
    assert lsp_torso_length(target).tolist() == [10]
    predicted = target.copy()
    predicted[0, 0] = (2, 0)
    predicted[0, 1] = (2.0001, 0)
    result = pck(predicted, target, np.ones((1, 14), bool), [10], threshold=0.2)
    assert result.per_joint[:2].tolist() == [100, 0]


def test_missing_predictions_are_wrong_and_unlabelled_joints_do_not_count() -> None:
    target, labelled = square(2), np.ones((2, 14), bool)
    predicted = target.copy()
    predicted[0, 3] = np.nan
    predicted[1, 4, 0] = np.inf
    labelled[:, 7] = False
    target[:, 7] = np.nan
    result = pck(predicted, target, labelled, [10, 10])
    assert result.per_joint[3] == 50 and result.per_joint[4] == 50
    assert np.isnan(result.per_joint[7]) and result.counts[7] == 0
    assert result.pooled == pytest.approx(100 * 24 / 26)


def test_plain_mean_and_pooled_differ_when_labels_are_uneven() -> None:
    target, labelled = square(10), np.ones((10, 14), bool)
    labelled[1:, 0] = False
    predicted = target.copy()
    predicted[:, 0] += 100
    result = pck(predicted, target, labelled, np.full(10, 10.0))
    assert result.mean == pytest.approx(100 * 13 / 14)
    assert result.pooled == pytest.approx(100 * 130 / 131)


def test_nobody() -> None:
    result = pck(np.zeros((0, 14, 2)), np.zeros((0, 14, 2)), np.zeros((0, 14)), np.zeros(0))
    assert np.isnan(result.mean) and np.isnan(result.pooled)


def test_mean_pose_is_relative_to_the_crop() -> None:
    """The same figure at other places and sizes has the same relative pose."""
    rng = np.random.default_rng(0)
    pose = rng.uniform(-0.5, 0.5, (14, 2))
    centers, sizes = rng.uniform(50, 90, (20, 2)), rng.uniform(100, 200, 20)
    joints = place_pose(pose, centers, sizes)
    labelled = rng.random((20, 14)) < 0.5
    joints[~labelled] = -1e6  # positions without a label must not matter
    np.testing.assert_allclose(mean_pose(joints, labelled, centers, sizes), pose, atol=1e-9)


def test_bad_input_is_named() -> None:
    target, labelled = square(), np.ones((1, 14), bool)
    with pytest.raises(InputError, match=r"predicted must have shape \(1, 14, 2\)"):
        pck(target[0], target, labelled, [10])
    with pytest.raises(InputError, match=r"reference_length must have shape \(1,\), got \(2,\)"):
        pck(target, target, labelled, [10, 10])
    with pytest.raises(InputError, match="reference_length must be finite"):
        pck(target, target, labelled, [np.nan])
    with pytest.raises(InputError, match="target must be finite"):
        pck(target, target * np.nan, labelled, [10])
    with pytest.raises(InputError, match=r"target must have shape \(N, 14, 2\)"):
        lsp_torso_length(np.zeros((1, 16, 2)))
    with pytest.raises(InputError, match="labelled"):
        mean_pose(target, ~labelled, np.zeros((1, 2)), np.ones(1))
