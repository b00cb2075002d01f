"""Makes the list in docs/data.md of what `softgate data check` prints for sample files.

python tests/data/check_words.py docs/data.md      # writes the list again
"""

import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import tool_layouts  # noqa: E402
import yolo_files  # noqa: E402
from odd_coco import GOOD, good, hands, sized, two_categories  # noqa: E402
from official import coco, write_coco  # noqa: E402

from softgate_ext.cli.run import main  # noqa: E402

START, END = "<!-- check: begin -->", "<!-- check: end -->"
Write = Callable[[Path], Any]


def dolls(contents: dict[str, Any]) -> Write:
    return lambda root: write_coco(root / "annotations" / "dolls.json", contents)


def of(*people: dict[str, Any], **category: Any) -> dict[str, Any]:
    contents = coco([{"keypoints": GOOD}, *({"keypoints": good(1), **person} for person in people)])
    contents["categories"][0].update(category)
    return contents


def samples() -> Iterator[tuple[str, Write]]:
    """What is odd, and who writes it."""
    for write, *_ in tool_layouts.LAYOUTS:
        yield write.__name__.replace("_", " "), write
    yield "limbs to no joint", dolls(of(skeleton=[[1, 2], [3, 17]]))
    yield "limbs from 0", dolls(of(skeleton=[[0, 1], [0, 2]]))
    chairs = two_categories([{"keypoints": [1, 2, 2, 5, 6, 2], "category_id": 2}])
    yield "another category without annotations", dolls(chairs)
    both = [{"keypoints": GOOD}, {"keypoints": [1, 2, 2, 5, 6, 2], "category_id": 2}]
    yield "categories with different keypoints", dolls(two_categories(both))
    yield "no bbox", dolls(of({"bbox": None}))
    yield "too few numbers", dolls(of({"keypoints": [1, 2]}))
    yield "51 numbers for 21 names", dolls(hands(51, 51))
    yield "somebody twice", dolls(of({"keypoints": GOOD}))
    only = of({"category_id": None})
    del only["categories"][1:]
    yield "no category_id", dolls(only)
    yield "joints without names", dolls(of(keypoints=[]))
    yield "bbox with null", dolls(of({"bbox": [1, 2, 3, None]}))
    yield "image not listed", dolls(of({"image_id": 99}))
    yield "category not listed", dolls(of({"category_id": 99}))
    yield "a crowd", dolls(of({"iscrowd": 1}))
    twice = of({"image_id": 11})
    twice["images"].append({"id": 10, "file_name": "other.jpg"})
    yield "two pictures of one id", dolls(twice)
    yield "one id of two annotations", dolls(of({"id": 100}))
    yield "flags of another scheme", dolls(of({"keypoints": [5, 6, 7, *GOOD[3:]]}))
    yield "box of another person", dolls(of({"bbox": [60, 30, 50, 50]}))
    yield (
        "joints as shares of the picture",
        dolls(of({"keypoints": [0.1, 0.2, 2, 0.3, 0.4, 1, 0, 0, 0]})),
    )
    yield "a joint's name twice", dolls(of(keypoints=["nose", "hand", "hand"]))
    bare = of()
    del bare["categories"]
    yield "no categories", dolls(bare)
    yield "turned after labelling", dolls(sized(90, 120))
    yield "resized after labelling", dolls(sized(240, 180))
    for name in ("of_another_machine", "of_roboflow", "of_cvat", "of_a_list"):
        yield f"YOLO {name.replace('_', ' ')}", getattr(yolo_files, name)
    yield "YOLO without names of joints", lambda root: yolo_files.ultralytics(root, kpt_names=None)
    yield (
        "YOLO, classes with different joints",
        lambda root: yolo_files.ultralytics(
            root,
            names=["Doll", "cat"],
            kpt_names={0: ["nose", "hand1", "hand2"], 1: ["nose", "ear1", "ear2"]},
        ),
    )
    yield (
        "YOLO, pairs of too few joints",
        lambda root: yolo_files.ultralytics(root, flip_idx=[1, 0]),
    )
    yield "YOLO, a line cut short", lambda root: yolo_lines(root, "0 0.5 0.4 0.5 0.6")
    yield "YOLO in pixels", lambda root: yolo_lines(root, yolo_files.LINE.replace("0.25", "30"))
    for name in (
        "pairs_unlike_the_names", "class_not_listed", "absent_folder", "no_labels", "absent_picture",
    ):  # fmt: skip
        yield f"YOLO, {name.replace('_', ' ')}", getattr(yolo_files, name)


def yolo_lines(root: Path, line: str) -> None:
    yolo_files.ultralytics(root)
    yolo_files.label(root, "train", lines=f"{yolo_files.LINE}\n{line}\n")


def said(write: Write, root: Path) -> list[str]:
    """The sentences about a sample in the folder `set` of `root`, paths from there."""
    write(root / "set")
    out, err = io.StringIO(), io.StringIO()
    before = os.getcwd()
    os.chdir(root)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(["data", "check", "set", "--sheet", "None", "--json", "found.json"])
    finally:
        os.chdir(before)
    lines = [*out.getvalue().splitlines(), *err.getvalue().splitlines()]
    found = Path(root / "found.json")
    splits = json.loads(found.read_text())["splits"].values() if found.is_file() else ()
    notes = {note for people in splits for note in people["notes"]}
    kept = [
        line.strip()
        for line in lines
        if line.strip() in notes or line.startswith(("softgate: ", "no train: ", "no test: "))
    ]
    local = [line.replace(f"{root.resolve()}/", "").replace(f"{root}/", "") for line in kept]
    return [line.removeprefix("softgate: ") for line in dict.fromkeys(local)]


def table() -> str:
    """Every sample with what is said of it."""
    rows = ["| sample | what is said |", "|---|---|"]
    for title, write in samples():
        with tempfile.TemporaryDirectory() as folder:
            words = said(write, Path(folder).resolve())
        cells = "<br>".join(words).replace("|", "\\|") or "nothing: it is read as it is"
        rows.append(f"| {title} | {cells} |")
    return "\n".join(rows)


def with_table(page: str) -> str:
    """The page with the table between its marks."""
    before, rest = page.split(START)
    return f"{before}{START}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(with_table(target.read_text(encoding="utf-8")), encoding="utf-8")
