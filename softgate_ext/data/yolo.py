"""The reader of key points in YOLO's form: a data.yaml, and a text file for each image."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt

from softgate_ext.data.entries import OddEntry, ReadingNotes, identity, tell_flags
from softgate_ext.data.image_files import image_extent
from softgate_ext.data.misplaced import tell_misplaced
from softgate_ext.data.poseset import EmptySplit, PoseSet, Split, check_split
from softgate_ext.data.yolo_layout import (
    label_file,
    listed_classes,
    parts_of,
    pictures_of,
    read_skeleton,
    read_yaml,
    text_lines,
    without_pictures,
)
from softgate_ext.errors import InputError
from softgate_ext.files.counted import counted

MARGIN = 1.25
"""The side of a crop over the longer side of the annotated box."""

SLACK = 0.01
"""The amount by which numbers may be outside of 0 to 1, because of rounding."""


def yolo_splits(path: Path) -> tuple[Split, ...]:
    """The parts that a data.yaml has, at least one.

    Raises:
        InputError: the file cannot be read, has another form, or names no images.
    """
    parts = tuple(parts_of(read_yaml(path)))
    if not parts:
        raise InputError(f"{path} must name pictures as train, val or test, and names none")
    return parts


def read_yolo(path: Path | str, split: Split = "train", check_images: bool = True) -> PoseSet:
    """Reads a data.yaml with `kpt_shape`, and the `labels/*.txt` of the images that it names.

    A line is `class cx cy w h`, followed by x, y or x, y, flag of each joint. All but class and flag are
    divided by the image's width and height. Flag 0 means not labelled, 1 labelled and hidden, 2 visible.
    Without flags, joints at 0, 0 or with a negative coordinate are not labelled. People of all classes
    in `names` are read. Lines of other classes, lines that cannot be read and people without a labelled
    joint are left out.

    The crop is a square with a side of 1.25 times the longer side of the box, and with its centre.

    Args:
        path: the data.yaml.
        split: the part; "test" is the entry `val`, or `test` if there is no `val`.
        check_images: whether a missing image is an error. If not, the crop of a missing image is a
            placeholder.

    Raises:
        InputError: a file or an image is missing or cannot be read, or the split is empty.
    """
    path = Path(path)
    check_split(split)
    contents = read_yaml(path)
    notes = ReadingNotes()
    skeleton, numbers = read_skeleton(contents, path, notes)
    classes = listed_classes(contents)
    pictures: list[Path] = []
    parts = parts_of(contents)
    for part, entry in parts.items():
        if split in ("all", part):
            pictures += pictures_of(contents, entry, path, check_images, notes)
    if contents.get("val") and contents.get("test") and split != "train":
        notes.say("its test part is not read, because val is the part that is measured")
    people: list[npt.NDArray[np.float64]] = []
    boxes: list[npt.NDArray[np.float64]] = []
    paths: list[Path] = []
    persons: list[tuple[int, int]] = []
    which: list[str] = []
    labels = [label_file(picture) for picture in pictures]
    for index, picture in enumerate(pictures):
        for number, line in enumerate(text_lines(labels[index])):
            if not line:
                continue
            where = f"{labels[index].name}:{number + 1}"
            try:
                box, joints = _person(line, len(skeleton), numbers, classes)
            except OddEntry as odd:
                notes.count(f"line[s] {odd} [is|are] left out", where)
                continue
            tell_flags(joints[:, 2], "line[s]", where, notes)
            if not (joints[:, 2] > 0).any():
                notes.count("[person|people] without a labelled joint [is|are] left out", where)
                continue
            if picture != (paths[-1] if paths else None):
                extent = np.array(image_extent(picture, check_images), np.float64)
            people.append(joints * [*extent, 1])
            boxes.append(box * np.tile(extent, 2))
            paths.append(picture)
            persons.append((index, number))
            which.append(where)
    for file in without_pictures(labels):
        notes.count("label file[s] [has|have] no picture", file.name)
    if not people:
        looked = f", such as {labels[0]}" if labels else ""
        raise EmptySplit(
            f"split {split!r} of {path} is empty: it has {counted(len(pictures), 'picture[s]')}, but "
            f"no sample in the label files{looked}",
            notes=notes.lines(),
        )
    values, sides = np.array(people), np.array(boxes)
    labelled = values[..., 2] > 0
    corners = np.hstack([sides[:, :2] - sides[:, 2:] / 2, sides[:, :2] + sides[:, 2:] / 2])
    boxed = np.hstack([corners[:, :2], sides[:, 2:]])
    tell_misplaced(notes, "line[s]", which, values[..., :2], labelled, boxed)
    return PoseSet(
        name=f"{path.absolute().parent.name}-{split}",
        skeleton=skeleton,
        image_paths=paths,
        joints=np.where(labelled[..., None], values[..., :2], 0).astype(np.float32),
        labelled=labelled,
        visible=values[..., 2] > 1,
        centers=(sides[:, :2] - 0.5).astype(np.float32),
        sizes=(MARGIN * sides[:, 2:].max(1)).astype(np.float32),
        boxes=corners.astype(np.float32),
        persons=np.array(persons, np.int64),
        notes=notes.lines(),
    )


def _person(
    line: str, joints: int, numbers: int, classes: Collection[str] | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The box and the joints of a line, divided by the image's width and height.

    Args:
        line: the line.
        joints: number of joints J.
        numbers: numbers per joint, 2 or 3.
        classes: the known classes as text; None to accept any.

    Returns:
        The box (4,) cx, cy, w, h, and the joints (J, 3) x, y, flag.

    Raises:
        OddEntry: the line has another form.
    """
    words = line.split()
    wanted = 5 + joints * numbers
    if len(words) != wanted:
        raise OddEntry(f"with {counted(len(words), 'number[s]')} instead of {wanted}")
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        raise OddEntry("with a word that is not a number") from None
    if classes is not None and identity(values[0].item()) not in classes:
        raise OddEntry("of a class that names does not list")
    box, points = values[1:5], values[5:].reshape(joints, numbers)
    if numbers == 2:
        given = np.asarray((points >= 0).all(1) & (points > 0).any(1))
        points = np.hstack([points, 2.0 * given[:, None]])
    if not np.isfinite(points[:, 2]).all():
        raise OddEntry("with a flag that is not a finite number")
    used = np.concatenate([box, points[np.flatnonzero(points[:, 2] > 0), :2].ravel()])
    if not ((used >= -SLACK) & (used <= 1 + SLACK)).all():
        raise OddEntry("with numbers outside of 0 to 1")
    if not (box[2:] > 0).all():
        raise OddEntry("with a box without width or height")
    return box, points
