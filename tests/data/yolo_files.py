"""Writes datasets in YOLO's form, complete and with faults."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from official import picture

# Pictures are 120 x 90. The box is (30, 9) to (90, 63); the third joint is not labelled.
LINE = "0 0.5 0.4 0.5 0.6 0.25 0.1 2 0.75 0.5 1 0 0 0"


SETTINGS = {
    "path": ".", "train": "images/train", "val": "images/val", "kpt_shape": [3, 3],
    "flip_idx": [0, 2, 1], "names": {0: "Doll"}, "kpt_names": {0: ["Nose", "hand1", "hand2"]},
}  # fmt: skip


def write_yaml(root: Path, **changes: Any) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    settings = {key: value for key, value in {**SETTINGS, **changes}.items() if value is not None}
    (root / "data.yaml").write_text(yaml.safe_dump(settings))
    return root / "data.yaml"


def label(root: Path, part: str, name: str = "1", lines: str = LINE, suffix: str = ".jpg") -> None:
    """A picture and its labels."""
    picture(root / "images" / part / f"{name}{suffix}")
    file = root / "labels" / part / f"{name}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(lines)


def ultralytics(root: Path, **changes: Any) -> Path:
    for part in ("train", "val"):
        label(root, part)
    return write_yaml(root, **changes)


def of_another_machine(root: Path) -> None:
    ultralytics(root, path="/somebody/datasets/dolls")


def above_its_root(root: Path) -> None:
    ultralytics(root / "dolls")
    (root / "dolls" / "data.yaml").unlink()
    write_yaml(root, path="dolls")


def of_roboflow(root: Path) -> None:
    for part, folder in (("train", "train"), ("val", "valid")):
        label(root / folder, ".", name=part)
    write_yaml(root, path=None, train="../train/images", val="../valid/images")


def of_cvat(root: Path) -> None:
    ultralytics(root, path="./", train="train.txt", val="val.txt")
    for part in ("train", "val"):
        (root / f"{part}.txt").write_text(f"data/images/{part}/1.jpg\n")


def of_a_list(root: Path) -> None:
    ultralytics(root, train=["images/train", "more.txt"])
    label(root, "more", suffix=".PNG")
    (root / "more.txt").write_text("./images/more/1.PNG\n\n")


def beside_the_pictures(root: Path) -> None:
    for part in ("train", "val"):
        picture(root / part / "1.jpg")
        (root / part / "1.txt").write_text(LINE)
    write_yaml(root, train="train", val="val")


def pairs_unlike_the_names(root: Path) -> None:
    joints = ["left_eye", "right_eye", "left_ear", "right_ear"]
    ultralytics(root, kpt_shape=[4, 3], kpt_names=joints, flip_idx=[2, 3, 0, 1])
    for part in ("train", "val"):
        label(root, part, lines=f"{LINE} 0 0 0")


def class_not_listed(root: Path) -> None:
    ultralytics(root)
    label(root, "train", lines=f"{LINE}\n1{LINE[1:]}\n")


def absent_folder(root: Path) -> None:
    ultralytics(root, train="images/none")


def no_labels(root: Path) -> None:
    ultralytics(root)
    (root / "labels").rename(root / "texts")


def absent_picture(root: Path) -> None:
    of_cvat(root)
    (root / "images" / "train" / "1.jpg").unlink()


def wrong_settings(**changes: Any) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        ultralytics(root, **changes)

    return write


def text(contents: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        root.mkdir()
        (root / "data.yaml").write_text(contents)

    return write
