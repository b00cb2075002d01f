"""The person of each entry in arrays, as stated by other arrays of the same file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from dolls import BOXES, FOUND, IDS, PICTURES, SHUFFLE, refused, save

from softgate_ext.data.poseset import PoseSet
from softgate_ext.evaluation.joint_files import read_predictions

ARRAYS: dict[str, dict[str, Any]] = {
    "image_ids ids": {"image_ids": PICTURES, "ids": IDS},
    "image_id annotation_ids": {"image_id": PICTURES, "annotation_ids": IDS},
    "ids": {"ids": IDS},
    "image_names": {"image_names": [f"{i - 10:012d}.jpg" for i in PICTURES], "bbox": BOXES},
    "filenames": {"filenames": [f"x/images/{i - 10:012d}.jpg" for i in PICTURES], "box_xywh": BOXES},
    "images": {"images": [f"{i - 10}".zfill(12) for i in PICTURES], "annotation_id": IDS},
    "floats": {"image_ids": [float(i) for i in PICTURES], "ids": [float(i) for i in IDS]},
}  # fmt: skip


def array_file(path: Path, arrays: dict[str, Any]) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **{name: np.asarray(value) for name, value in arrays.items()})
    elif path.suffix == ".mat":
        cells = {
            name: np.array(value, object) if isinstance(value[0], str) else np.asarray(value)
            for name, value in arrays.items()
        }
        scipy.io.savemat(path, cells)
    elif path.suffix == ".json":
        save(path, {name: np.asarray(value).tolist() for name, value in arrays.items()})
    else:
        with pytest.importorskip("h5py").File(path, "w") as store:
            for name, value in arrays.items():
                store[name] = value
    return path


@pytest.mark.parametrize("suffix", [".npz", ".mat", ".h5", ".json"])
@pytest.mark.parametrize("names", ARRAYS.values(), ids=list(ARRAYS))
def test_arrays_beside_the_joints(
    suffix: str, names: dict[str, Any], doll_set: PoseSet, tmp_path: Path
) -> None:
    """Shuffled together; the file may hold more people, and fewer."""
    origin = 1 if suffix in (".mat", ".h5") else 0
    order = [*SHUFFLE, 0]
    given = {name: [values[i] for i in order] for name, values in names.items()}
    for own in given.values():
        own[-1] = "other.jpg" if isinstance(own[-1], str) else own[-1]
        if isinstance(own[-1], int | float):
            own[-1] = 77
    scores = [0.9 - i / 10 for i in order]
    preds = FOUND[order] + origin
    path = array_file(tmp_path / f"a{suffix}", {"preds": preds, "scores": scores, **given})
    found = read_predictions(path, doll_set)
    np.testing.assert_allclose(found.joints, FOUND, atol=1e-9)
    np.testing.assert_allclose(found.scores, [[0.9 - i / 10] * 3 for i in range(5)])
    assert "1 prediction is not used, because dolls_val-test does not have" in (found.notes[-1])


def test_arrays_that_are_no_identity(doll_set: PoseSet, tmp_path: Path) -> None:
    """Pixels called images, and scores of joints, as HRNet's and others' files have them."""
    arrays = {"preds": FOUND, "images": np.zeros((5, 3, 8, 8)), "scores": FOUND[..., 0]}
    found = read_predictions(array_file(tmp_path / "a.npz", arrays), doll_set)
    np.testing.assert_array_equal(found.joints, FOUND)
    np.testing.assert_array_equal(found.scores, FOUND[..., 0])
    for wrong, words in (
        ({"image_names": np.array([["a", "b"]] * 5)}, "name has the shape .5, 2."),
        ({"image_ids": PICTURES, "ids": IDS[:4]}, "5 image_id, 4 id; these numbers must be equal"),
        ({"image_ids": PICTURES[:4], "ids": IDS[:4]}, "must hold 4 people with 3 joints"),
        (
            {"image_ids": [0.5] * 5},
            "5 entries whose image_id is not an id are left out: number 1, .*; takes",
        ),
    ):
        refused(array_file(tmp_path / "a.npz", {"preds": FOUND, **wrong}), doll_set, words)


def test_names_in_cells_of_matlab_7_3(doll_set: PoseSet, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "new.mat", "w", userblock_size=512) as store:
        store["preds"] = (FOUND[SHUFFLE] + 1).transpose()
        store["ids"] = np.array([IDS[i] for i in SHUFFLE], float)[None]
        cells = store.create_dataset("image_names", (5, 1), h5py.ref_dtype)
        for row, i in enumerate(SHUFFLE):
            letters = [[ord(letter)] for letter in f"{PICTURES[i] - 10:012d}.jpg"]
            cells[row, 0] = store.create_dataset(f"refs/{row}", data=np.array(letters)).ref
    with open(tmp_path / "new.mat", "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    np.testing.assert_array_equal(read_predictions(tmp_path / "new.mat", doll_set).joints, FOUND)
