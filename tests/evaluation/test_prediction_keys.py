"""Keys of prediction files: other spellings, and keys that no reader knows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dolls import BOXES, FOUND, IDS, PICTURES, SHUFFLE, kept, refused, save

from softgate_ext.data.poseset import PoseSet

NAMES = [f"{number - 10:012d}.jpg" for number in PICTURES]


def entries(**fields: Callable[[int], Any]) -> list[dict[str, Any]]:
    """Shuffled people, who in the order of the file would be others."""
    return [
        {**{key: field(i) for key, field in fields.items()}, "keypoints": FOUND[i].tolist()}
        for i in SHUFFLE
    ]


@pytest.mark.parametrize("key", ["imageId", "Image_ID", "IMAGE ID", "image-id", "imgId", "ImgID"])
def test_case_and_separators_do_not_count(key: str, doll_set: PoseSet, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    boxed = entries(**{key: PICTURES.__getitem__, "bboxXYWH": BOXES.__getitem__})
    kept(save(path, boxed), doll_set, *range(5))
    kept(save(path, {"Predictions": boxed}), doll_set, *range(5))
    people = [{key: number, "People": [one for one in boxed if one[key] == number]}
              for number in (12, 10, 11)]  # fmt: skip
    kept(save(path, people), doll_set, *range(5))
    lists = {"preds": FOUND[SHUFFLE], f"{key}s": np.array(PICTURES)[SHUFFLE],
             "BBox": np.array(BOXES)[SHUFFLE]}  # fmt: skip
    np.savez(tmp_path / "a.npz", **lists)
    kept(tmp_path / "a.npz", doll_set, *range(5))
    kept(save(path, {name: value.tolist() for name, value in lists.items()}), doll_set, *range(5))
    wrong = entries(**{key: lambda i: 900 + i})
    refused(save(path, wrong), doll_set, "has people of 903, 900, 904 and no person")


def test_keys_of_a_whole_object_in_another_case(doll_set: PoseSet, tmp_path: Path) -> None:
    whole = {
        "Images": [{"Id": n, "fileName": f"{n - 10:012d}.jpg"} for n in (10, 11, 12)],
        "Annotations": entries(ImageId=PICTURES.__getitem__, BBox=BOXES.__getitem__),
    }
    kept(save(tmp_path / "a.json", whole), doll_set, *range(5))


@pytest.mark.parametrize("key", ["name", "photo_name", "sample_token"])
def test_names_of_files_are_read_by_whatever_key(
    key: str, doll_set: PoseSet, tmp_path: Path
) -> None:
    said = f"pictures are matched by {key}, whose values are names of their files"
    path = tmp_path / "a.json"
    given = entries(**{key: lambda i: f"x/{NAMES[i]}", "bbox": BOXES.__getitem__})
    assert said in kept(save(path, given), doll_set, *range(5))
    given[0][key] = given[1][key] = None
    notes = kept(save(path, given), doll_set, *SHUFFLE[2:])
    assert "2 entries without a picture or an id, which others have, are left out: number 1, number 2" in notes  # fmt: skip
    people = [
        {key: name, "people": [one for one in entries(photo=NAMES.__getitem__, bbox=BOXES.__getitem__)
                               if one.pop("photo", "") == name]}
        for name in sorted(set(NAMES), reverse=True)
    ]  # fmt: skip
    kept(save(path, people), doll_set, *range(5))
    inner = entries(about=lambda i: {key: NAMES[i]}, bbox=BOXES.__getitem__)
    kept(save(path, inner), doll_set, *range(5))
    lists = {"preds": FOUND[SHUFFLE], key: np.array(NAMES)[SHUFFLE],
             "bbox": np.array(BOXES)[SHUFFLE]}  # fmt: skip
    np.savez(tmp_path / "a.npz", **lists)
    assert said in kept(tmp_path / "a.npz", doll_set, *range(5))
    columns = {name: value.tolist() for name, value in lists.items()}
    assert said in kept(save(path, columns), doll_set, *range(5))


@pytest.mark.parametrize("key", ["frame", "frame_id", "frameId"])
def test_frames_of_a_list(key: str, doll_set: PoseSet, tmp_path: Path) -> None:
    """Of people, or beside the joints; a video may be named, and a picture that is named is meant."""
    path, lists = tmp_path / "a.json", {"bbox": BOXES.__getitem__}
    numbers = {key: lambda i: PICTURES[i] - 10}
    said = "frames are matched by the last numbers in the names of pictures: frame 0 is 000000000000.jpg"
    assert said in kept(save(path, entries(**numbers, **lists)), doll_set, *range(5))
    video = entries(file=lambda i: "walk.mp4", **numbers, **lists)
    assert said in kept(save(path, video), doll_set, *range(5))
    columns = {"preds": FOUND[SHUFFLE], f"{key}s": np.array(PICTURES)[SHUFFLE] - 10,
               "bbox": np.array(BOXES)[SHUFFLE]}  # fmt: skip
    np.savez(tmp_path / "a.npz", **columns)
    assert said in kept(tmp_path / "a.npz", doll_set, *range(5))
    save(path, {name: value.tolist() for name, value in columns.items()})
    assert said in kept(path, doll_set, *range(5))
    for other in ({"image_id": lambda i: 900 + i}, {"file": lambda i: f"{i}.jpg"}):
        refused(save(path, entries(**other, **numbers, **lists)), doll_set, "and no person of")
    named = entries(file=NAMES.__getitem__, **{key: lambda i: "last"}, **lists)
    kept(save(path, named), doll_set, *range(5))


@pytest.mark.parametrize("key", ["ids", "image_ids", "files", "images", "frames"])
def test_a_name_of_a_column_in_an_entry(key: str, doll_set: PoseSet, tmp_path: Path) -> None:
    given = entries(**{key: PICTURES.__getitem__})
    refused(save(tmp_path / "a.json", given), doll_set, f"has 3 values called {key}, such as 11")


def test_objects_beside_the_joints(doll_set: PoseSet, tmp_path: Path) -> None:
    """As COCO's `images`, one for each person."""
    path, joints = tmp_path / "a.json", FOUND[SHUFFLE].tolist()
    images = [{"id": PICTURES[i], "file_name": NAMES[i]} for i in SHUFFLE]
    notes = kept(save(path, {"images": images, "predictions": joints}), doll_set, *range(5))
    assert (
        "pictures are matched by images.file_name, whose values are names of their files" in notes
    )
    numbers = [{"id": image["id"]} for image in images]
    words = "has 3 values called images.id, such as 11, which may tell whose"
    refused(save(path, {"images": numbers, "preds": joints}), doll_set, words)


def test_names_of_files_count_beside_running_numbers(doll_set: PoseSet, tmp_path: Path) -> None:
    """Which are ids of the dataset by chance."""
    given = entries(photo=NAMES.__getitem__, bbox=BOXES.__getitem__)
    for number, entry in enumerate(given):
        entry["id"] = 100 + number
    notes = kept(save(tmp_path / "a.json", given), doll_set, *range(5))
    assert any(
        "id is not used: it seems to count the entries of the file" in note for note in notes
    )


def test_two_keys_with_names_of_files(doll_set: PoseSet, tmp_path: Path) -> None:
    given = entries(photo=NAMES.__getitem__, thumb=lambda i: NAMES[i - 1])
    refused(
        save(tmp_path / "a.json", given),
        doll_set,
        "names pictures of dolls_val-test by photo and thumb; takes one of these as image",
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("token", lambda i: f"{i:032x}"),  # different
        ("photo", lambda i: f"other/{PICTURES[i]}.jpg"),  # of pictures that are not there
        ("photo", lambda i: NAMES[i].removesuffix(".jpg")),
        ("photo", lambda i: NAMES[i].replace("jpg", "png")),
        ("number", lambda i: PICTURES[i]),
        ("number", lambda i: 900.0 + PICTURES[i]),
        ("number", lambda i: IDS[i]),
        ("number", lambda i: 10**400 + i if i < 2 else i),
        ("about", lambda i: {"picture": {"number": PICTURES[i]}}),
    ],
)
def test_an_unknown_key_that_may_tell_is_refused(
    key: str, value: Callable[[int], Any], doll_set: PoseSet, tmp_path: Path
) -> None:
    """Rather than read by order, as a file is that says nothing."""
    path = tmp_path / "a.json"
    given = entries(**{key: value})
    words = rf"has \d values called {key}[a-z.]*, such as .*, which may tell whose the joints are; takes"
    refused(save(path, given), doll_set, words)
    column = [entry[key] for entry in given]
    if key != "about":
        refused(save(path, {"preds": FOUND[SHUFFLE].tolist(), key: column}), doll_set, words)
    if isinstance(column[0], str | float):
        np.savez(tmp_path / "a.npz", preds=FOUND[SHUFFLE], **{key: np.array(column)})
        refused(tmp_path / "a.npz", doll_set, words)


def test_unknown_keys_that_tell_nothing(doll_set: PoseSet, tmp_path: Path) -> None:
    given = [
        {"keypoints": joints, "label": "doll", "seconds": 0.1 + row, "split": "val",
         "centre": [row, row], "flipped": row > 2, "note": None, "parts": 3}
        for row, joints in enumerate(FOUND.tolist())
    ]  # fmt: skip
    notes = kept(save(tmp_path / "a.json", given), doll_set, *range(5))
    assert (
        "the file names no pictures; its entries are taken to be in the order of the dataset"
        in notes
    )
