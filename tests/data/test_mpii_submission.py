"""The file for a submission to the MPII benchmark."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from official import point, rect, write_mpii

from softgate_ext.data.mpii import read_mpii
from softgate_ext.data.mpii_submission import write_submission
from softgate_ext.errors import InputError

NAMES = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Test images 0, 2 and 3, of 1, 0 and 3 people; image 1 trains. `rect(None)`: no joints."""
    people: list[Any] = [
        [rect(None)],
        [rect([point(0, 3, 4)])],
        None,
        [rect(None, x=i) for i in (20, 40, 60)],
    ]
    images = list(zip(NAMES, people, (0, 1, 0, 0), strict=True))
    return write_mpii(tmp_path, images, single=[[1], [1], [], [1, 3]])


def official(path: Path) -> list[Any]:
    return list(scipy.io.loadmat(path, struct_as_record=False, squeeze_me=True)["pred"])


def test_every_test_image_and_person_is_in_its_place(root: Path, tmp_path: Path) -> None:
    people = read_mpii(root, "unlabelled")
    assert people.persons is not None and people.persons.tolist() == [[0, 0], [3, 0], [3, 2]]
    joints = np.random.default_rng(0).uniform(0, 90, (3, 16, 2))
    write_submission(
        tmp_path / "pred.mat", root / "mpii_human_pose_v1_u12_1.mat", people.persons, joints
    )
    pred = official(tmp_path / "pred.mat")
    assert [entry.image.name for entry in pred] == ["a.jpg", "c.jpg", "d.jpg"]
    alone, crowd = pred[0].annorect, pred[2].annorect
    assert len(crowd) == 3 and np.size(pred[1].annorect) == 0
    assert [r.objpos.x for r in crowd] == [20, 40, 60]  # what was there stays
    for place, found in zip((alone, crowd[0], crowd[2]), joints, strict=True):
        points = place.annopoints.point
        assert [p.id for p in points] == list(range(16))
        np.testing.assert_allclose([(p.x, p.y) for p in points], found + 1)
    assert np.size(crowd[1].annopoints) == 0  # not among the people of single_person


def test_what_cannot_be_submitted(root: Path, tmp_path: Path) -> None:
    release, out = root / "mpii_human_pose_v1_u12_1.mat", tmp_path / "pred.mat"
    joints = np.zeros((1, 16, 2))

    def refused(persons: list[list[int]], joints: np.ndarray) -> str:
        with pytest.raises(InputError) as caught:
            write_submission(out, release, np.array(persons), joints)
        return str(caught.value)

    assert "test images, got image 1" in refused([[1, 0]], joints)
    assert "test images, got image 9" in refused([[9, 0]], joints)
    assert "got 3 of 3 in image 3" in refused([[3, 3]], joints)
    assert "(1, 16, 2), got (1, 14, 2)" in refused([[0, 0]], joints[:, :14])
    assert "must be finite" in refused([[0, 0]], joints * np.nan)
    assert not out.exists()
