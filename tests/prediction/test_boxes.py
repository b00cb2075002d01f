"""Boxes from files of several forms, by the names and numbers of images."""

import os
from pathlib import Path
from typing import Any

import pytest

from softgate_ext.errors import InputError
from softgate_ext.files.atomic import write_json
from softgate_ext.prediction.boxes import BoxList, ListedBox

A, B, C, D = ([n, n, 10 * n, 10 * n] for n in (1, 2, 3, 4))


def listed(folder: Path, stored: Any, min_score: float = 0.5) -> BoxList:
    write_json(folder / "boxes.json", stored)
    return BoxList(folder / "boxes.json", min_score)


def values(boxes: BoxList, picture: str | Path) -> list[Any]:
    return [box.values for box in boxes.of(Path(picture))]


def result(image: Any, box: Any, score: float = 0.9, category: int = 1) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def test_a_path_or_the_end_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "deep").mkdir(parents=True)
    (tmp_path / "here" / "deep" / "link.jpg").symlink_to(tmp_path / "other.jpg")
    monkeypatch.chdir(tmp_path / "here")
    entries = {
        "a.jpg": A,  # the end of any
        "deep/a.jpg": B,  # of some; seen from here
        "./here/deep/../deep/a.jpg": C,  # seen from the list
        str(tmp_path / "here" / "a.jpg"): D,
        "deep/link.jpg": D,
        "..": A,
        "": A,
    }
    form = [{"file": file, "bbox_xywh": box} for file, box in entries.items()]
    boxes = listed(tmp_path, form)
    assert values(boxes, "deep/a.jpg") == [A, B, C]
    assert values(boxes, tmp_path / "here" / "a.jpg") == [A, D]
    assert values(boxes, "/elsewhere/deep/a.jpg") == [A, B]
    assert values(boxes, "deep/link.jpg") == values(boxes, tmp_path / "other.jpg") == [D]
    for other in ("b.jpg", "aa.jpg"):
        with pytest.raises(InputError, match=f"has no entry for {other}"):
            boxes.of(Path(other))
    assert not boxes.odd


def test_a_list_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each entry for each picture, with its path resolved, took 89 ms a picture at 3000."""
    entries = [{"file": f"images/{n}.jpg", "bbox_xywh": [n, 0, 5, 5]} for n in range(3000)]
    boxes = listed(tmp_path, entries)
    genuine, looks = os.lstat, []
    monkeypatch.setattr(os, "lstat", lambda *a, **k: looks.append(a) or genuine(*a, **k))
    for n in (0, 1500, 2999):
        assert values(boxes, tmp_path / "images" / f"{n}.jpg") == [[n, 0, 5, 5]]
    assert len(looks) < 3 * 50


def test_detection_results(tmp_path: Path) -> None:
    boxes = listed(
        tmp_path,
        [
            result(9, A),
            result(785, B, 0.51),
            result(785, C, 0.49),
            result(785, D, category=18),  # a dog
            result("street/im0001", D),
            result("7", C),
            {"image_id": 8, "category_id": 1, "bbox": A},
            result(6, A, 0.1),
        ],
    )
    assert boxes.of(Path("COCO_val2014_000000000785.jpg")) == [ListedBox(B, 0.51)]
    assert boxes.of(Path("of/000000000785.jpg")) == [ListedBox(B, 0.51)]
    assert values(boxes, "street/im0001.jpg") == [D]
    assert values(boxes, "0007.png") == [C]
    assert boxes.of(Path("8.jpg")) == [ListedBox(A)]
    assert boxes.of(Path("6.jpg")) == []  # looked at, and nobody was found
    for absent in ("street/im0002.jpg", "785_1.jpg", "nobody.jpg"):
        with pytest.raises(InputError, match="has no entry for"):
            boxes.of(Path(absent))
    assert not boxes.odd


def test_results_of_a_detector_of_one_category(tmp_path: Path) -> None:
    assert values(listed(tmp_path, [result(1, A, category=0)]), "1.jpg") == [A]
    dogs = listed(tmp_path, [result(1, A, category=18), result(1, A, category=17)])
    assert values(dogs, "1.jpg") == []


def test_annotations(tmp_path: Path) -> None:
    stored = {
        "images": [{"id": n, "file_name": f"val/photo{n}.jpg"} for n in ("x", 2, 3)],
        "annotations": [
            {"image_id": 2, "category_id": 5, "bbox": A},
            {"image_id": "x", "category_id": 5, "bbox": B, "iscrowd": 0},
            {"image_id": 2, "category_id": 5, "bbox": C, "iscrowd": 1},
            {"image_id": 2, "category_id": 1, "bbox": D},
        ],
        "categories": [{"id": 1, "name": "dog"}, {"id": 5, "name": "person"}],
    }
    boxes = listed(tmp_path, stored)
    assert values(boxes, "data/val/photo2.jpg") == [A]
    assert values(boxes, "val/photox.jpg") == [B]
    assert values(boxes, "val/photo3.jpg") == []
    with pytest.raises(InputError, match="has no entry for"):
        boxes.of(Path("val/photo4.jpg"))
    dogs = listed(tmp_path, stored | {"categories": [{"id": 1, "name": "dog"}]})
    assert values(dogs, "val/photo2.jpg") == [A, D]


def test_pictures_that_are_not_asked_about(tmp_path: Path) -> None:
    stored = {
        "images": [{"id": n, "file_name": f"{n}.jpg"} for n in range(9)],
        "annotations": [{"image_id": n, "bbox": A} for n in range(8)],
    }
    path = tmp_path / "boxes.json"
    sentence = listed(tmp_path, stored).others([Path("a/0.jpg"), Path("8.jpg")])
    words = (
        "7 pictures that are not among the sources: 1.jpg, 2.jpg, 3.jpg, 4.jpg, 5.jpg and 2 more"
    )
    assert sentence == f"boxes: {path} has boxes of {words}"
    numbered = listed(tmp_path, [result(7, A), result(8, B)])
    one = "1 picture that is not among the sources: 8"
    assert numbered.others([Path("7.jpg")]) == f"boxes: {path} has boxes of {one}"
    assert numbered.others([Path("7.jpg"), Path("im_008.jpg")]) == ""


ODD: list[Any] = [
    None,
    3,
    "text",
    [1, 2],
    {},
    {"file": "b.jpg"},
    {"file": 3, "bbox_xywh": A},
    {"file": "b\0.jpg", "bbox_xywh": A},
    {"file": "\ud83d.jpg", "bbox_xywh": A},
    {"image_id": 1},
    result(None, A),
    result(True, A),
    result(1.5, A),
    result([1], A),
]


@pytest.mark.parametrize("entry", ODD, ids=lambda entry: repr(entry)[:40])
def test_an_odd_entry_costs_itself(tmp_path: Path, entry: Any) -> None:
    boxes = listed(tmp_path, [{"file": "a.jpg", "bbox_xywh": B}, entry])
    assert values(boxes, "a.jpg") == [B]
    (sentence,) = boxes.odd
    assert sentence.startswith("boxes: entry 2 of ") and "; takes {" in sentence
    with pytest.raises(InputError, match="boxes: .* is neither a list of"):
        listed(tmp_path, [entry])


@pytest.mark.parametrize("score", ["high", 10**400, float("nan"), True, [0.9]], ids=repr)
def test_a_score_that_is_no_number(tmp_path: Path, score: Any) -> None:
    """In each form, since boxes of a low score are left out."""
    image = {"id": 1, "file_name": "a.jpg"}
    for form, what in (
        ([{"file": "a.jpg", "bbox_xywh": A, "score": score}], "entry"),
        ([{**result("a.jpg", A), "score": score}], "entry"),
        (
            {"images": [image], "annotations": [{"image_id": 1, "bbox": A, "score": score}]},
            "annotation",
        ),
    ):
        rest = form if isinstance(form, list) else form["annotations"]
        rest.append({"file": "a.jpg", "image_id": 1, "bbox_xywh": B, "bbox": B, "score": 0.9})
        rest.append({"file": "a.jpg", "image_id": 1, "bbox_xywh": C, "bbox": C, "score": 0.4})
        boxes = listed(tmp_path, form)
        assert boxes.of(Path("a.jpg")) == [ListedBox(B, 0.9)]
        (sentence,) = boxes.odd
        assert sentence.startswith(f"boxes: {what} 1 of {tmp_path / 'boxes.json'} has the score ")
        assert sentence.endswith("; takes a finite number") and len(sentence) < 300


def test_an_annotation_of_an_image_that_is_not_listed(tmp_path: Path) -> None:
    """Ids are compared as text, as in other files."""
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": "2", "file_name": "b.jpg"}]
    own = [{"image_id": n, "bbox": A, "iscrowd": "0"} for n in ("1", 2, 77, 10**400)]
    crowd = {"image_id": 1, "bbox": B, "iscrowd": "1"}
    boxes = listed(tmp_path, {"images": images, "annotations": [*own, crowd]})
    assert values(boxes, "a.jpg") == values(boxes, "b.jpg") == [A]
    first, second = boxes.odd
    assert first == (
        f"boxes: annotation 3 of {tmp_path / 'boxes.json'} is of the image 77, which is not listed; "
        "takes the id of one of the images"
    )
    assert "annotation 4 of" in second and len(second) < 250


def test_pictures_that_are_not_asked_about_have_short_names(tmp_path: Path) -> None:
    numbered = listed(tmp_path, [result(10**400, A), result("\x1b[31m.jpg", A)])
    sentence = numbered.others([])
    assert len(sentence) < 350 and "?[31m.jpg" in sentence


def test_an_odd_annotation_costs_itself(tmp_path: Path) -> None:
    image, annotation = {"id": 1, "file_name": "a.jpg"}, {"image_id": 1, "bbox": A}
    for odd in (None, {}, {"image_id": 9, "bbox": A}, {"image_id": [], "bbox": A}):
        boxes = listed(tmp_path, {"images": [image], "annotations": [odd, annotation]})
        assert values(boxes, "a.jpg") == [A]
        assert len(boxes.odd) == 1 and boxes.odd[0].startswith("boxes: annotation 1 of ")
    for odd in (None, {"id": 2}, {"id": [], "file_name": "b"}, {"id": 2, "file_name": 2}):
        boxes = listed(tmp_path, {"images": [odd, image], "annotations": [annotation]})
        assert values(boxes, "a.jpg") == [A]
        assert len(boxes.odd) == 1 and boxes.odd[0].startswith("boxes: image 1 of ")
