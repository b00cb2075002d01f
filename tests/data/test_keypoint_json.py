"""Keypoints as JSON: COCO's form, and the two forms of MPII's people."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from official import coco, picture, write_coco

from softgate_ext.data.coco import read_coco
from softgate_ext.data.jsonfile import is_test_part
from softgate_ext.data.mpii_json import read_mpii_json
from softgate_ext.errors import InputError
from softgate_ext.pose.skeleton import COCO


def test_coco_flags_boxes_and_names(tmp_path: Path) -> None:
    contents = coco(
        [
            {"keypoints": [5, 6, 2, 7, 8, 1, 0, 0, 0]},
            {"keypoints": [9, 9, 2, 0, 0, 0, 0, 0, 0], "image_id": 11},
            {"keypoints": [8, 9, 2, 0, 0, 0, 0, 0, 0], "image_id": 11},
            {"keypoints": [0] * 9},
            {"keypoints": [1, 1, 2] * 3, "iscrowd": 1},
            {"keypoints": [1, 1, 2] * 3, "bbox": [3, 3, 0, 0]},
            {"category_id": 2},
        ]
    )
    people = read_coco(write_coco(tmp_path / "annotations" / "dolls.json", contents))
    assert people.skeleton.name == "doll"
    assert people.skeleton.joints == ("nose", "left_hand", "right_hand")
    assert people.skeleton.flip_pairs == ((2, 1),) and people.skeleton.limbs == ((0, 1), (0, 2))
    assert people.joints[0].tolist() == [[5, 6], [7, 8], [0, 0]]  # 0-based in the file already
    assert people.labelled[0].tolist() == [True, True, False]
    assert people.visible[0].tolist() == [True, False, False]
    assert people.centers[0].tolist() == [19.5, 29.5] and people.sizes[0] == 75
    assert people.persons is not None and people.persons.tolist() == [[0, 0], [1, 0], [1, 1]]
    assert people.image_paths[0] == tmp_path / "images" / "000000000000.jpg"
    assert people.notes == (
        "1 annotation without a labelled joint is not among the samples: 103",
        "1 annotation of a crowd is not among the samples: 104",
        "1 annotation without a bbox, whose joints are in one place, is not among the samples: 105",
    )


def test_coco_without_anybody_says_who_was_left_out(tmp_path: Path) -> None:
    contents = coco([{"keypoints": [0] * 9}, {"keypoints": [1, 1, 2] * 3, "iscrowd": 1}])
    with pytest.raises(
        InputError, match=r"'train' of .* is empty \(1 annotation without .* of a crowd"
    ):
        read_coco(write_coco(tmp_path / "annotations" / "dolls.json", contents))


def test_coco_finds_its_own_folders_and_parts(tmp_path: Path) -> None:
    contents = coco([{"keypoints": [5, 6, 2, 7, 8, 1, 0, 0, 0]}])
    contents["categories"][0].update(keypoints=list(COCO.joints), skeleton=[])
    contents["annotations"][0]["keypoints"] = [4, 4, 2] * 17
    path = tmp_path / "annotations" / "person_keypoints_val2017.json"
    people = read_coco(write_coco(path, contents, "val2017"), "test")
    assert people.skeleton == COCO
    assert people.image_paths[0].parent.name == "val2017"
    with pytest.raises(InputError, match="split 'train' of .* is empty"):
        read_coco(path, "train")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"categories": [], "annotations": []}, "must have a category with keypoints and an id"),
        ({"images": None}, "must be an object with images and annotations, each a list"),
        ({"annotations": [{"id": 1}]}, "1 annotation of a category that is not listed .*: 1"),
        ({"annotations": []}, "is empty"),
        ({"images": []}, "of an image that is not listed"),
        ({"images": [{"id": 10}]}, "1 image without an id or a file_name is skipped: 10"),
    ],
)
def test_bad_coco_files_are_one_sentence(
    tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    path = tmp_path / "a" / "x.json"
    write_coco(path, contents := coco([{"keypoints": [5, 6, 2, 7, 8, 1, 0, 0, 0]}]))
    path.write_text(json.dumps({**contents, **change}))
    with pytest.raises(InputError, match=sentence) as error:
        read_coco(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("person_keypoints_val2017.json", True), ("valid.json.gz", True), ("test.json", True),
        ("dolls-validation.json", True), ("person_keypoints_train2017.json", False),
        ("valley.json", False), ("contest.json", False),
    ],
)  # fmt: skip
def test_the_part_that_a_name_says(name: str, held: bool) -> None:
    assert is_test_part(Path(name)) == held


def mpii_person(**changes: Any) -> dict[str, Any]:
    joints = [[10.0 + i, 20.0 + i, i % 2] for i in range(16)]
    joints[6] = [0.0, 0.0, 0.0]
    return {
        "dataset": "MPI", "isValidation": 0.0, "img_paths": "1.jpg", "objpos": [31.0, 41.0],
        "joint_self": joints, "scale_provided": 0.4, "annolist_index": 5.0, "people_index": 2.0,
        **changes,
    }  # fmt: skip


OTHER_FORM = {
    "joints": [[10 + i, 20 + i] for i in range(16)], "joints_vis": [1] * 15 + [0],
    "center": [31.0, 41.0], "scale": 0.4, "image": "1.jpg",
}  # fmt: skip


def write(path: Path, people: list[Any]) -> Path:
    picture(path.parent / "images" / "1.jpg")
    data = json.dumps(people).encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_mpii_people(tmp_path: Path, name: str) -> None:
    everybody = [mpii_person(), mpii_person(isValidation=1.0, joint_self=[[3, 4, 1]])]
    path = write(tmp_path / name, everybody)
    train, test = read_mpii_json(path), read_mpii_json(path, "test")
    assert train.joints[0, 2].tolist() == [11, 21]
    assert np.flatnonzero(~train.labelled[0]).tolist() == [6]
    assert np.flatnonzero(train.visible[0]).tolist() == [1, 3, 5, 7, 9, 11, 13, 15]
    assert train.centers[0].tolist() == [30, 46] and train.sizes[0] == pytest.approx(100)
    assert train.persons is not None and train.persons.tolist() == [[4, 1]]
    assert test.labelled.sum() == 1 and test.joints[0, 0].tolist() == [2, 3]


def test_mpii_people_of_the_other_form(tmp_path: Path) -> None:
    nowhere = {**OTHER_FORM, "center": [-1, -1]}
    path = tmp_path / "valid.json"
    with pytest.raises(InputError, match=r"empty \(1 person without position or scale is left out"):
        read_mpii_json(write(path, [nowhere]), "test")
    people = read_mpii_json(write(path, [OTHER_FORM, nowhere]), "test")
    assert len(people) == 1 and people.notes
    assert people.joints[0, 0].tolist() == [9, 19] and not people.labelled[0, 15]
    assert people.centers[0].tolist() == [30, 46] and people.persons is None


@pytest.mark.parametrize(
    ("contents", "sentence"),
    [
        ([], "list of people"),
        ([None], "list of people"),
        (["joint_self"], "list of people"),
        ([mpii_person(objpos=None)], "is empty .*: number 1"),
    ],
)
def test_mpii_files_without_anybody_are_one_sentence(
    tmp_path: Path, contents: list[Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence) as error:
        read_mpii_json(write(tmp_path / "a.json", contents))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("odd", "kind"),
    [
        (None, "that are not objects"),
        (3, "that are not objects"),
        (mpii_person(joint_self=[[1, 2]]), "without 1 x 3 finite numbers as joint_self"),
        (
            mpii_person(joint_self=[[1, float("nan"), 1]] * 16),
            "without 16 x 3 finite numbers as joint_self",
        ),
        (mpii_person(joint_self=[["1", 2, 1]] * 16), "without 16 x 3 finite numbers as joint_self"),
        (mpii_person(joint_self=[[1, 2, 1]] * 17), "without 16 x 3 finite numbers as joint_self"),
        (mpii_person(joint_self=None), "without 16 x 3 finite numbers as joint_self"),
        (mpii_person(scale_provided=10**400), "without a finite number as scale_provided"),
        (mpii_person(objpos=None), "without 2 finite numbers as objpos"),
        (mpii_person(annolist_index=-(2**63)), "without a finite number as annolist_index"),
        (mpii_person(people_index="2"), "without a finite number as people_index"),
        (mpii_person(isValidation=None), "without a finite number as isValidation"),
        (mpii_person(img_paths=None), "without a name as img_paths"),
        ({**OTHER_FORM, "joints_vis": [1] * 15}, "without 16 finite numbers as joints_vis"),
        (
            {**OTHER_FORM, "joints": [[1, float("inf")]] * 16},
            "without 16 x 2 finite numbers as joints",
        ),
        ({**OTHER_FORM, "image": 7}, "without a name as image"),
    ],
)
def test_an_odd_mpii_person_costs_itself(tmp_path: Path, odd: Any, kind: str) -> None:
    good = OTHER_FORM if isinstance(odd, dict) and "joints" in odd else mpii_person()
    people = read_mpii_json(write(tmp_path / "a.json", [odd, good, odd]))
    assert len(people) == 1 and people.image_paths[0].name == "1.jpg"
    (note,) = people.notes
    assert note.startswith("2 people ") and kind in note
    assert note.endswith("are left out: number 1, number 3")


@pytest.mark.parametrize(
    ("odd", "meaning"),
    [
        ({**OTHER_FORM, "joints_vis": [7] * 16}, "labelled"),
        ({**OTHER_FORM, "joints_vis": [1] * 15 + [-1]}, "labelled"),
        (mpii_person(joint_self=[[3 + i, 4, 0.5] for i in range(16)]), "visible"),
    ],
)
def test_odd_flags_of_mpii_people_are_told(
    tmp_path: Path, odd: dict[str, Any], meaning: str
) -> None:
    people = read_mpii_json(write(tmp_path / "a.json", [odd]))
    assert len(people) == 1 and people.notes == (
        f"1 person has flags other than 0, 1 and 2; those above 0 are read as {meaning}: number 1",
    )


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.json", b"{"),
        ("a.json", b"\xff\xfe"),
        ("a.json.gz", gzip.compress(b"[]" * 99, mtime=0)[:-9]),
    ],
)
def test_damaged_files_are_one_sentence(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    for reader in (read_coco, read_mpii_json):
        with pytest.raises(InputError, match="not valid JSON|cannot read"):
            reader(path)
        with pytest.raises(InputError, match="No such file"):
            reader(tmp_path / "absent.json")


@pytest.mark.slow
def test_the_published_annotations_agree_with_the_published_arrays(shared_data: Path) -> None:
    path = shared_data / "mpii_subset" / "mpii_annotations.json.gz"
    if not path.is_file():
        pytest.skip(f"needs MPII's published annotations at {path}")
    people = read_mpii_json(path, "test", check_images=False)
    assert (people.labelled & ~people.visible).sum() == 10_243
    with np.load(shared_data / "reference_predictions" / "mpii_valid.npz") as published:
        np.testing.assert_array_equal(people.labelled, published["missing"] == 0)
        np.testing.assert_allclose(people.centers + 1, published["center"], atol=0.01)
        np.testing.assert_allclose(people.sizes / 200, published["scale"], atol=0.001)
        # Ten of the people there have a coordinate set to 0 by mistake.
        close = np.abs(people.joints + 1 - published["gt"]).max(-1)[people.labelled] < 0.01
        assert (~close).sum() == 13
