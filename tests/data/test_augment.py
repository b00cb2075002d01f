import numpy as np
import pytest

from softgate_ext.data.augment import Augmentation, Change
from softgate_ext.errors import InputError
from softgate_ext.pose.geometry import apply_affine, crop_affine


def draws(augment: Augmentation, count: int = 2000) -> list[Change]:
    rng = np.random.default_rng(0)
    return [augment.sample(rng) for _ in range(count)]


def test_draws_fill_their_ranges() -> None:
    changes = draws(Augmentation())
    magnification = np.array([change.magnification for change in changes])
    rotation = np.array([change.rotation for change in changes])
    assert 0.75 <= magnification.min() < 0.77 and 1.23 < magnification.max() <= 1.25
    assert -30 <= rotation.min() < -29 and 29 < rotation.max() <= 30
    assert 0.45 < np.mean([change.flip for change in changes]) < 0.55


def test_nothing_asked_nothing_changed() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    for change in draws(Augmentation(scale=0, rotation=0, flip=0, colour=0), 20):
        assert change == Change()
        np.testing.assert_array_equal(change.recolour(image), image)


def test_one_range_does_not_shift_the_draws_of_another() -> None:
    plain = draws(Augmentation(flip=0, colour=0), 50)
    other = draws(Augmentation(flip=1, colour=0.4), 50)
    assert [c.rotation for c in plain] == [c.rotation for c in other]
    assert [c.magnification for c in plain] == [c.magnification for c in other]


def test_matrix_is_one_crop_affine() -> None:
    change = Change(magnification=1.25, rotation=20, flip=True)
    matrix = change.matrix(np.array([40.0, 60.0]), 100, 64)
    np.testing.assert_allclose(matrix, crop_affine((40, 60), 80, 64, 20, True))
    np.testing.assert_allclose(apply_affine(matrix, (40, 60)), (31.5, 31.5))


def test_colours_change_mildly_and_saturate() -> None:
    image = np.random.default_rng(0).integers(60, 190, (16, 16, 3), np.uint8)
    changed = [change.recolour(image) for change in draws(Augmentation(colour=0.2), 200)]
    assert all(result.dtype == np.uint8 and result.shape == image.shape for result in changed)
    shifts = np.array([result.mean() - image.mean() for result in changed])
    assert 10 < np.abs(shifts).max() < 70 and abs(shifts.mean()) < 5
    white = np.full((2, 2, 3), 255, np.uint8)
    brightest = max(changed, key=lambda result: float(result.mean()))
    assert brightest.max() > image.max()
    assert all(c.recolour(white).min() > 100 for c in draws(Augmentation(), 200))


@pytest.mark.parametrize(
    ("field", "value"),
    [("scale", -0.1), ("scale", 1.0), ("rotation", 200), ("flip", 1.5), ("colour", float("nan"))],
)
def test_bad_ranges_are_named(field: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{field} must be between 0 and"):
        Augmentation(**{field: value})
