"""Writes datasets in the folders that annotation tools use."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from official import coco, picture

PERSON = {"keypoints": [5, 6, 2, 7, 8, 1, 0, 0, 0]}


def annotate(path: Path, pictures: Path, names: Sequence[str], people: int = 1) -> None:
    """A file in COCO's form with a person in the first of these pictures, which it writes too."""
    contents = coco([PERSON] * people, images=len(names))
    for image, name in zip(contents["images"], names, strict=True):
        image["file_name"] = name
        picture(pictures / name.replace("\\", "/"), seed=len(str(pictures)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(contents), encoding="utf-8")


def mpii_people(path: Path, pictures: Path, name: str, people: int = 1) -> None:
    person = {
        "joints_vis": [1] * 16, "joints": [[10 + i, 20 + i] for i in range(16)],
        "image": name, "scale": 0.4, "center": [31.0, 41.0],
    }  # fmt: skip
    picture(pictures / name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([person] * people), encoding="utf-8")


def coco_itself(root: Path) -> None:
    for part in ("train2017", "val2017"):
        annotate(root / f"annotations/person_keypoints_{part}.json", root / part, ["1.jpg"])


def hrnet(root: Path) -> None:
    for part in ("train2017", "val2017"):
        file = root / f"annotations/person_keypoints_{part}.json"
        annotate(file, root / "images" / part, ["1.jpg"])


def cvat(root: Path) -> None:
    for part in ("Train", "Validation"):
        file = root / f"annotations/person_keypoints_{part}.json"
        annotate(file, root / "images" / part, ["1.jpg"])


def cvat_of_one_subset(root: Path) -> None:
    file = root / "annotations/person_keypoints_my_frames.json"
    annotate(file, root / "images" / "my_frames", ["a/1.jpg", "b/1.jpg"])


def label_studio(root: Path) -> None:
    annotate(root / "result.json", root, ["images/1.jpg"])


def label_studio_of_windows(root: Path) -> None:
    annotate(root / "result.json", root, ["images\\1.jpg"])


def roboflow(root: Path) -> None:
    for part in ("train", "valid", "test"):
        annotate(root / part / "_annotations.coco.json", root / part, [f"{part}.jpg"])


def posetrack(root: Path) -> None:
    for part, videos in (("train", ("1_bonn_train", "2_mpii_test")), ("val", ("3_mpii_test",))):
        for video in videos:
            names = [f"images/{part}/{video}/{i:06d}.jpg" for i in range(2)]
            annotate(root / "annotations" / part / f"{video}.json", root, names)
    # Of the third video in val nobody is labelled.
    annotate(root / "annotations/val/4_mpii_test.json", root, ["images/val/4/0.jpg"], people=0)


def mmpose_mpii(root: Path) -> None:
    for part in ("train", "val", "trainval", "test"):
        people = {"train": 3, "val": 2, "trainval": 5, "test": 4}[part]
        mpii_people(root / f"annotations/mpii_{part}.json", root / "images", "1.jpg", people)


def hrnet_mpii(root: Path) -> None:
    for part, people in (("train", 3), ("valid", 2), ("trainval", 5), ("test", 4)):
        mpii_people(root / f"annot/{part}.json", root / "images", "1.jpg", people)


def trainval_and_test(root: Path) -> None:
    for part, people in (("trainval", 5), ("test", 4)):
        mpii_people(root / f"annotations/mpii_{part}.json", root / "images", "1.jpg", people)


def pictures_in_data(root: Path) -> None:
    annotate(root / "labels.json", root / "data", ["1.jpg"])


def flat_pictures_of_names_with_folders(root: Path) -> None:
    annotate(root / "people.json", root / "images", ["1.jpg"])
    contents = json.loads((root / "people.json").read_text())
    contents["images"][0]["file_name"] = "/home/else/upload/7/1.jpg"
    (root / "people.json").write_text(json.dumps(contents))


def names_of_another_case(root: Path) -> None:
    file = root / "Annotations" / "Person_Keypoints_TRAIN.JSON"
    annotate(file, root / "Images", ["Frames/1.JPG", "Frames/2.jpg"])
    contents = json.loads(file.read_text())
    contents["images"][0]["file_name"] = "frames/1.jpg"
    file.write_text(json.dumps(contents))


def boxes_and_captions_beside(root: Path) -> None:
    """COCO's other files under names that do not tell them."""
    for part in ("train", "val"):
        annotate(root / f"annotations/{part}.json", root / "images", [f"{part}.jpg"])
        box = {"id": 1, "image_id": 10, "category_id": 1, "bbox": [1, 2, 3, 4]}
        category = {"id": 1, "name": "Doll"}
        images = coco([])["images"]
        for name, annotation in (("instances", box), ("captions", {"id": 1, "caption": "a doll"})):
            contents = {"images": images, "annotations": [annotation], "categories": [category]}
            (root / f"annotations/{name}_{part}.json").write_text(json.dumps(contents))


Layout = tuple[Callable[[Path], None], int, int, str]


LAYOUTS: list[Layout] = [
    (coco_itself, 1, 1, "train2017/1.jpg"),
    (hrnet, 1, 1, "images/train2017/1.jpg"),
    (cvat, 1, 1, "images/Train/1.jpg"),
    (cvat_of_one_subset, 1, 0, "images/my_frames/a/1.jpg"),
    (label_studio, 1, 0, "images/1.jpg"),
    (label_studio_of_windows, 1, 0, "images/1.jpg"),
    (roboflow, 1, 1, "train/train.jpg"),
    (posetrack, 2, 1, "images/train/1_bonn_train/000000.jpg"),
    (mmpose_mpii, 3, 2, "images/1.jpg"),
    (hrnet_mpii, 3, 2, "images/1.jpg"),
    (trainval_and_test, 5, 4, "images/1.jpg"),
    (pictures_in_data, 1, 0, "data/1.jpg"),
    (flat_pictures_of_names_with_folders, 1, 0, "images/1.jpg"),
    (names_of_another_case, 1, 0, "Images/Frames/1.JPG"),
    (boxes_and_captions_beside, 1, 1, "images/train.jpg"),
]
