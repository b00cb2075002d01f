import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softgate_ext.errors import InputError
from softgate_ext.pose.metrics import (
    PCK,
    area_under_curve,
    box_diagonal,
    box_overlaps,
    half_up,
    joint_distance,
    mean_pose,
    mpii_head_size,
    normalized_distances,
    not_below,
    pck_of,
    place_pose,
)


def pck(predicted, target, labelled, reference_length, threshold: float = 0.2) -> PCK:
    return pck_of(normalized_distances(predicted, target, labelled, reference_length), threshold)


def square(people: int = 1) -> np.ndarray:
    """LSP poses whose reference length is exactly 10 px."""
    target = np.zeros((people, 14, 2))
    target[:, 9] = (6, 8)
    return target


def test_the_limit_itself_is_correct() -> None:
    target = square()
    assert joint_distance(target, (9, 2)).tolist() == [10]
    predicted = target.copy()
    predicted[0, 0] = (2, 0)
    predicted[0, 1] = (2.0001, 0)
    result = pck(predicted, target, np.ones((1, 14), bool), [10], threshold=0.2)
    assert result.per_joint[:2].tolist() == [100, 0]


@given(
    st.integers(1, 10_000),
    st.sampled_from([(3, 4, 5), (5, 12, 13), (8, 15, 17)]),
    st.sampled_from([(0.5, 2), (0.1, 10), (0.2, 5), (0.05, 20)]),
)
def test_rounding_does_not_decide_at_the_limit(
    size: int, sides: tuple[int, int, int], limit: tuple[float, int]
) -> None:
    """Whole-pixel heads and distances at exactly the limit: 0.6 of the diagonal is no float."""
    threshold, part = limit
    width, height, diagonal = (5 * part * size * side for side in sides)
    head = mpii_head_size([[0, 0, width, height]])
    at_limit = 3 * diagonal // (5 * part)
    predicted = np.array([[[at_limit, 0], [0, -at_limit], [at_limit + 0.001, 0]]], np.float32)
    truth, labelled = np.zeros((1, 3, 2)), np.ones((1, 3), bool)
    result = pck(predicted, truth, labelled, head, threshold)
    assert result.per_joint[:2].tolist() == [100, 100]
    if predicted[0, 2, 0] > at_limit * (1 + 1e-8):  # float32 can tell them apart
        assert result.per_joint[2] == 0


def test_area_under_the_curve_of_known_distances() -> None:
    """One joint at 0, one at the end, one beyond, one at a quarter: 1, half a step, 0, 3/4."""
    distances = np.array([[0, 0.5, 0.6, 0.125, np.nan]])
    result = area_under_curve(distances, 0.5)
    np.testing.assert_allclose(result.per_joint, [100, 1, 0, 75, np.nan])
    assert result.mean == pytest.approx(176 / 4)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.sampled_from([0.05, 0.1, 0.2, 0.5]))
def test_pck_grows_with_the_threshold_and_the_area_is_below_it(
    distances: list[float], threshold: float
) -> None:
    column = np.array(distances)[:, None]
    strict, loose = pck_of(column, threshold), pck_of(column, 2 * threshold)
    assert strict.pooled <= loose.pooled
    assert area_under_curve(column, threshold).pooled <= strict.pooled + 1e-9


def test_permuting_people_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    target = rng.uniform(0, 100, (50, 14, 2))
    predicted = target + rng.normal(0, 10, target.shape)
    labelled = rng.random((50, 14)) < 0.8
    length = rng.uniform(20, 60, 50)
    order = rng.permutation(50)
    plain = pck(predicted, target, labelled, length)
    mixed = pck(predicted[order], target[order], labelled[order], length[order])
    assert plain.per_joint.tolist() == mixed.per_joint.tolist()


def test_boxes() -> None:
    boxes = np.array([[10, 20, 40, 60], [40, 60, 10, 20], [0, 0, np.nan, 1]])
    np.testing.assert_allclose(box_diagonal(boxes), [50, 50, np.nan])
    np.testing.assert_allclose(mpii_head_size(boxes), [30, 30, np.nan])
    with pytest.raises(InputError, match=r"boxes must have shape \(N, 4\), got \(3, 2, 2\)"):
        box_diagonal(np.zeros((3, 2, 2)))


def test_a_length_of_zero_takes_only_the_truth_itself() -> None:
    target = np.zeros((1, 2, 2))
    predicted = np.array([[[0, 0], [1e-9, 0]]])
    distances = normalized_distances(predicted, target, np.ones((1, 2), bool), [0])
    assert distances.tolist() == [[0, np.inf]]


def test_lengths_of_less_than_a_pixel_are_lengths() -> None:
    found = normalized_distances([[[0.25, 0.0]]], [[[0.0, 0.0]]], [[True]], [0.5])
    assert found.tolist() == [[0.5]]


def test_overlaps_of_boxes() -> None:
    one = [[0, 0, 2, 2], [0, 0, np.nan, 2]]
    other = [[0, 0, 2, 2], [1, 1, 3, 3], [2, 0, 4, 2], [5, 5, 6, 6], [0.5, 0.5, 1.5, 1.5]]
    expected = [[1, 1 / 7, 0, 0, 1 / 4], [0] * 5]
    np.testing.assert_allclose(box_overlaps(one, other), expected)


def test_people_without_a_label_need_no_length() -> None:
    target, labelled = square(2), np.array([[True] * 14, [False] * 14])
    result = pck(target, target, labelled, [10, np.nan])
    assert result.counts.tolist() == [1] * 14 and result.pooled == 100


def test_columns_are_plain_means_of_their_joints() -> None:
    """As in the published tables, although left and right are not labelled equally often."""
    target, labelled = square(10), np.ones((10, 14), bool)
    labelled[1:, 7] = False
    predicted = target.copy()
    predicted[:, 7] += 100
    result = pck(predicted, target, labelled, np.full(10, 10.0))
    assert result.grouped()["Elb"] == 50
    labelled[:, 7] = False
    result = pck(predicted, target, labelled, np.full(10, 10.0))
    assert result.grouped()["Elb"] == 100


@pytest.mark.parametrize(
    ("value", "digits", "printed"),
    [(92.05, 1, "92.1"), (78.25, 1, "78.3"), (97.15, 1, "97.2"), (100, 2, "100.00"),
     (80.3734, 2, "80.37"), (83.364577, 2, "83.36"), (0.05, 1, "0.1"), (float("nan"), 1, "-")],
)  # fmt: skip
def test_ties_round_up_as_in_the_published_tables(value: float, digits: int, printed: str) -> None:
    assert half_up(value, digits) == printed


def test_whoever_rounds_a_percentage_of_counts_gets_the_published_digit() -> None:
    """Python's own rounding of the stored value, for every count of 2000 joints that is a tie."""
    for count in range(0, 2001):
        exact = count / 20
        value = not_below(np.mean([100 * (count - 1) / 2000, 100 * (count + 1) / 2000]))
        assert value == pytest.approx(exact, abs=1e-12) and 0 <= value <= 100
        binary_tie = (exact * 4).is_integer()  # .25 and .75 are exact: Python rounds them to even
        if not binary_tie:
            assert f"{value:.1f}" == half_up(exact, 1)


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
    labelled[:, 3] = False
    np.testing.assert_array_equal(
        np.isnan(mean_pose(joints, labelled, centers, sizes)).all(1), np.arange(14) == 3
    )


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
    with pytest.raises(InputError, match=r"target must have shape \(N, 10 or more, 2\), got"):
        joint_distance(np.zeros((1, 9, 2)), (9, 2))
    with pytest.raises(InputError, match="limit must be at least 0.01, got 0"):
        area_under_curve(np.zeros((1, 1)), 0)
