from pathlib import Path

import numpy as np
import pytest
import scipy.io
from official import struct, write_flic

from softgate_ext.data.flic import read_flic
from softgate_ext.errors import InputError
from softgate_ext.pose.skeleton import FLIC


def test_columns_splits_and_crops(tmp_path: Path) -> None:
    root = write_flic(tmp_path)
    train, test, everybody = (read_flic(root, split) for split in ("train", "test", "all"))
    assert (len(train), len(test), len(everybody)) == (2, 2, 4)
    assert train.image_paths + test.image_paths == everybody.image_paths
    coords = scipy.io.loadmat(root / "examples.mat")["examples"]["coords"][0, 0]
    for joint, column in (("left_shoulder", 0), ("right_hip", 9), ("nose", 16)):
        found = train.joints[0, FLIC.index(joint)]
        np.testing.assert_allclose(found, coords[:, column] - 1, rtol=1e-6)
    assert train.labelled.all()
    assert train.torso_boxes is not None and train.torso_boxes[0].tolist() == [40, 30, 60, 60]
    assert train.centers[0].tolist() == [50, 45] and train.sizes[0] == 90


def test_missing_joints_and_bad_examples(tmp_path: Path) -> None:
    coords = np.full((2, 29), np.nan)
    coords[:, 16] = 30
    people = read_flic(write_flic(tmp_path / "a", coords=coords), "train")
    assert np.flatnonzero(people.labelled[0]).tolist() == [FLIC.index("nose")]
    assert np.isfinite(people.joints).all()
    with pytest.raises(InputError, match="split 'train' of .* is empty"):
        read_flic(write_flic(tmp_path / "b", isbad=np.uint8(1)), "train")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"coords": np.zeros((2, 11))}, r"examples\(1\) .* coords of shape \(2, 29\)"),
        ({"torsobox": np.array([[9.0, 9.0, 9.0, 20.0]])}, "must have a torsobox"),
        ({"torsobox": np.empty((0, 0))}, "must have a torsobox"),
        ({"filepath": "../x.jpg"}, "name of an image file"),
        ({"filepath": np.empty((0, 0))}, "name of an image file"),
    ],
)
def test_bad_examples_are_one_sentence(
    tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    root = tmp_path / "flic"
    write_flic(root, **{"filepath": "a.jpg", **changes})
    with pytest.raises(InputError, match=sentence) as error:
        read_flic(root, "train")
    assert "\n" not in str(error.value)


def test_missing_images_and_variables(tmp_path: Path) -> None:
    root = write_flic(tmp_path)
    for path in (root / "images").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="2 images of 2 are missing"):
        read_flic(root, "train")
    assert len(read_flic(root, "train", check_images=False)) == 2
    scipy.io.savemat(root / "examples.mat", {"example": struct(a=1)})
    with pytest.raises(InputError, match="a variable named examples"):
        read_flic(root, "train")


def test_the_official_examples(shared_data: Path) -> None:
    root = shared_data / "FLIC"
    if not root.is_dir():
        pytest.skip(f"needs FLIC at {root}")
    people = read_flic(root, "train")
    assert len(people) == 3987 and people.labelled.all()
    low = people.centers[:, None] - people.sizes[:, None, None] / 2
    at = (people.joints - low) / people.sizes[:, None, None]
    assert ((at > 0) & (at < 1)).all((1, 2)).mean() > 0.985
    # Person-centric: some turn their back, and the left shoulder is then on the left.
    left, right = (FLIC.index(f"{side}_shoulder") for side in ("left", "right"))
    assert (people.joints[:, left, 0] < people.joints[:, right, 0]).sum() == 199
