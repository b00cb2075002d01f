from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from softgate_ext.data import mpii
from softgate_ext.data.mpii import published_split, read_mpii
from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError

from official import point, rect, struct, struct_array, write_mpii  # isort: skip

HELD = f"{int(published_split()['test_images'][0]):09d}.jpg"  # its people are for validation


def one(root: Path, *people: np.ndarray, split: Any = "train") -> PoseSet:
    return read_mpii(write_mpii(root, [("000000001.jpg", people, 1)]), split)


@pytest.mark.parametrize(
    ("extra", "visible"),
    [
        ({"is_visible": np.uint8(1)}, True),
        ({"is_visible": np.uint8(0)}, False),
        ({"is_visible": "1"}, True),
        ({"is_visible": "0"}, False),
        ({"is_visible": np.empty((0, 0))}, True),
        ({"is_visible": np.empty((1, 0), "U1")}, True),
        ({}, True),
    ],
)
def test_visibility_in_all_its_forms(tmp_path: Path, extra: dict[str, Any], visible: bool) -> None:
    people = one(tmp_path, rect([point(3, 11.5, 21, **extra)]))
    assert np.flatnonzero(people.labelled[0]).tolist() == [3]
    assert people.joints[0, 3].tolist() == [10.5, 20]
    assert people.visible[0, 3] == visible


def test_points_with_and_without_visibility_in_one_person(tmp_path: Path) -> None:
    people = one(
        tmp_path,
        rect([point(0, 1, 1, is_visible=np.uint8(0)), point(9, 2, -3), point(6, np.nan, 5)]),
    )
    assert np.flatnonzero(people.labelled[0]).tolist() == [0, 9]
    assert np.flatnonzero(people.visible[0]).tolist() == [9]
    assert people.joints[0, 9].tolist() == [1, -4]  # above the picture, and real


def test_crop_and_head_box(tmp_path: Path) -> None:
    people = one(tmp_path, rect([point(0, 1, 1)], x=61, y=41, scale=0.4))
    assert people.centers[0].tolist() == pytest.approx([60, 40 + 15 * 0.4])
    assert people.sizes[0] == pytest.approx(1.25 * 200 * 0.4)
    assert people.head_boxes is not None
    assert people.head_boxes[0].tolist() == [49, 9, 69, 34]


def test_people_that_lack_something(tmp_path: Path) -> None:
    nobody = struct(x1=1.0, y1=1.0, x2=2.0, y2=2.0)  # a head box and nothing else
    no_place = struct(
        annopoints=struct(point=struct_array([point(0, 5, 5)])), scale=np.empty((0, 0)),
        objpos=np.empty((0, 0)),
    )  # fmt: skip
    empty = struct(annopoints=np.empty((0, 0)), scale=1.0, objpos=struct(x=3.0, y=3.0))
    whole = rect([point(0, 7, 7)], head=None)
    people = one(tmp_path, nobody, no_place, empty, whole)
    assert len(people) == 1 and people.joints[0, 0].tolist() == [6, 6]
    assert people.persons is not None and people.persons.tolist() == [[0, 3]]
    assert people.head_boxes is not None and np.isnan(people.head_boxes).all()
    assert people.notes == ("1 person without position or scale is left out",)
    with pytest.raises(
        InputError,
        match=r"^split 'train' of .* is empty \(1 person without position or scale is left out\); ",
    ):
        one(tmp_path, no_place)


def test_structs_in_cells(tmp_path: Path) -> None:
    """Points, people and the one position in cell arrays, as other tools nest them."""

    def cell(*items: np.ndarray) -> np.ndarray:
        array = np.empty((len(items), 1), object)
        for i, item in enumerate(items):
            array[i, 0] = item
        return array

    person = struct(
        scale=cell(np.array([[0.5]])), objpos=cell(struct(x=31.0, y=41.0)),
        annopoints=struct(point=cell(point(2, 4, 5), point(7, 6, 7, is_visible="0"))),
    )  # fmt: skip
    root = write_mpii(tmp_path, [("000000001.jpg", [person], 1)])
    file = root / "mpii_human_pose_v1_u12_1.mat"
    release = scipy.io.loadmat(file)["RELEASE"]
    entry = release["annolist"][0, 0]
    entry["annorect"][0, 0] = cell(entry["annorect"][0, 0])
    scipy.io.savemat(file, {"RELEASE": release})
    people = read_mpii(root)
    assert np.flatnonzero(people.labelled[0]).tolist() == [2, 7]
    assert np.flatnonzero(people.visible[0]).tolist() == [2]
    assert people.centers[0].tolist() == [30, 47.5] and people.sizes[0] == 125


def test_several_people_and_images_without(tmp_path: Path) -> None:
    person = rect([point(0, 7, 7)])
    root = write_mpii(
        tmp_path,
        [
            ("000000001.jpg", [person, person], 1),
            ("000000002.jpg", None, 1),
            (HELD, [person], 1),
            ("x01_" + HELD, [person], 1),
            ("000000003.jpg", [rect(None)], 0),
        ],
    )
    train, test, everybody = (read_mpii(root, split) for split in ("train", "test", "all"))
    assert [path.name for path in train.image_paths] == ["000000001.jpg"] * 2
    assert [path.name for path in test.image_paths] == [HELD, "x01_" + HELD]
    assert len(everybody) == 4
    assert train.persons is not None and train.persons.tolist() == [[0, 0], [0, 1]]


def test_test_images_have_people_and_no_joints(tmp_path: Path) -> None:
    root = write_mpii(
        tmp_path,
        [
            ("000000001.jpg", [rect([point(0, 7, 7)])], 1),
            ("000000002.jpg", [rect(None, x=30), rect(None, x=50)], 0),
        ],
        single=[[1], [2]],
    )
    people = read_mpii(root, "unlabelled")
    assert len(people) == 1 and people.centers[0, 0] == 49 and not people.labelled.any()
    assert people.persons is not None and people.persons.tolist() == [[1, 1]]


def test_the_published_split_is_whole_and_apart() -> None:
    split = published_split()
    train, test = split["train"], split["test"]
    assert train.shape == (22_246, 2) and test.shape == (2_958, 2)
    assert len(np.unique(np.concatenate([train, test]), axis=0)) == 25_204
    assert not set(train[:, 0]) & set(test[:, 0])  # no image is in both
    assert max(train[:, 0].max(), test[:, 0].max()) < mpii.OFFICIAL_IMAGES


def test_the_complete_release_is_split_by_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three images stand for all, with indices of their own; the names then do not count."""
    person = rect([point(0, 7, 7)])
    names = ("000000001.jpg", HELD, "000000003.jpg")
    root = write_mpii(tmp_path, [(name, [person, person], 1) for name in names])
    monkeypatch.setattr(mpii, "OFFICIAL_IMAGES", 3)
    indices = {
        "train": np.array([[0, 1], [1, 0]]), "test": np.array([[2, 1]]),
        "test_images": np.array([], int),
    }  # fmt: skip
    monkeypatch.setattr(mpii, "published_split", lambda: indices)
    for split in ("train", "test"):
        people = read_mpii(root, split)
        assert people.persons is not None
        np.testing.assert_array_equal(people.persons, indices[split])
        assert people.notes == ()
    indices["test"] = np.array([[2, 1], [2, 2]])
    assert read_mpii(root, "all").notes == ("1 of the published people is not in the file",)


def test_the_archives_side_by_side(tmp_path: Path) -> None:
    root = write_mpii(tmp_path, [("000000001.jpg", [rect([point(0, 7, 7)])], 1)])
    (root / "mpii_human_pose_v1_u12_2").mkdir()
    (root / "mpii_human_pose_v1_u12_1.mat").rename(
        root / "mpii_human_pose_v1_u12_2" / "mpii_human_pose_v1_u12_1.mat"
    )
    assert read_mpii(root).image_paths == [root / "images" / "000000001.jpg"]


def test_bad_releases_are_one_sentence(tmp_path: Path) -> None:
    good = [("000000001.jpg", [rect([point(0, 7, 7)])], 1)]

    def refused(words: str, split: Any = "train") -> None:
        with pytest.raises(InputError, match=words) as error:
            read_mpii(tmp_path, split)
        assert "\n" not in str(error.value)

    refused("must hold mpii_human_pose_v1_u12_1.mat")
    write_mpii(tmp_path, good)
    refused("split 'test' of .* is empty", "test")
    refused("split must be one of train, test, all, got 'val'", "val")
    (tmp_path / "images" / "000000001.jpg").unlink()
    refused("1 image of 1 is missing, first .*000000001.jpg")
    assert len(read_mpii(tmp_path, check_images=False)) == 1
    write_mpii(tmp_path, [("000000001.jpg", [rect([point(16, 7, 7)])], 1)])
    refused("point id of 000000001.jpg in .* must be 0 to 15, got 16")
    write_mpii(tmp_path, [("../elsewhere.jpg", [rect([point(0, 7, 7)])], 1)])
    refused(r"annolist\(1\) of .* must have the name of an image file")
    file = tmp_path / "mpii_human_pose_v1_u12_1.mat"
    release = scipy.io.loadmat(file)["RELEASE"]
    release["img_train"][0, 0] = np.empty((0, 0))
    scipy.io.savemat(file, {"RELEASE": release})
    refused("img_train in .* one value for each of 1 image, got 0")
    scipy.io.savemat(file, {"RELEASE": np.zeros(3)})
    refused("RELEASE in .* must be one struct with a field annolist")
    scipy.io.savemat(file, {"other": 1})
    refused("must hold a variable named RELEASE")
    file.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n")
    refused("not a readable MATLAB file .*7.3")
    file.write_bytes(b"")
    refused("not a readable MATLAB file")


def test_the_subset_of_the_official_release(shared_data: Path) -> None:
    root = shared_data / "mpii_subset"
    if not (root / "mpii_human_pose_v1_u12_1.mat").is_file():
        pytest.skip(f"needs the MPII subset at {root}")
    train, test = read_mpii(root), read_mpii(root, "test")
    assert (len(train), len(test)) == (2074, 16)
    assert {path.name[0] for path in test.image_paths} == {"v"}
    assert test.head_boxes is not None and np.isfinite(test.head_boxes).all()
    low = train.centers - train.sizes[:, None] / 2
    at = (train.joints - low[:, None]) / train.sizes[:, None, None]
    assert (((at > 0) & (at < 1)).all(-1)[train.labelled]).mean() > 0.99  # the crops fit
