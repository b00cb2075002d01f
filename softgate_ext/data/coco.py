"""The reader of key points in COCO's JSON form: COCO itself, and users' own data."""

from pathlib import Path

import numpy as np

from softgate_ext.data.coco_categories import PoseCategories, choose_categories
from softgate_ext.data.coco_people import (
    CocoPerson,
    ListedImage,
    annotated_people,
    listed_images,
)
from softgate_ext.data.entries import ReadingNotes
from softgate_ext.data.jsonfile import find_pictures, is_test_part
from softgate_ext.data.misplaced import tell_misplaced
from softgate_ext.data.poseset import EmptySplit, PoseSet, Split, check_split
from softgate_ext.data.stated_size import without_contradicted
from softgate_ext.errors import InputError
from softgate_ext.files.reading import read_json

MARGIN = 1.25
"""The side of a crop over the longer side of the annotated box."""


def read_coco(path: Path | str, split: Split = "train", check_images: bool = True) -> PoseSet:
    """Reads a JSON file with `images`, `annotations` and usually `categories`.

    The joints' names, in lower case, and the limbs are those of the category whose annotations have key
    points. Several categories are read as one if their joints are equal. Left and right are paired by
    the names in any usual spelling, or by entries of a category (`told_pairs`). Coordinates are
    0-based. Flag 0 means not labelled, 1 labelled and hidden, 2 visible. Crowds, people without a
    labelled joint and annotations that cannot be read are left out. `PoseSet.notes` lists them, and
    whatever else was decided by a rule.

    The crop is a square with a side of 1.25 times the longer side of `bbox`, and with its centre. A
    missing `bbox` is made from the labelled joints.

    Args:
        path: the file, which may be gzipped. Its images are searched by `find_pictures`.
        split: the whole file is one part: "test" if its name, or else its folder's name, contains val
            or test; else "train".
        check_images: whether a missing image is an error, and whether the people of an image with
            another size than stated are left out.

    Raises:
        InputError: the file or an image is missing, the file has another form, or none of its
            annotations can be read.
    """
    path = Path(path)
    check_split(split)
    part = "test" if is_test_part(path) else "train"
    if split not in (part, "all"):
        raise EmptySplit(
            f"split {split!r} of {path} is empty: the name of the file says that it is the {part} part",
            f"{part!r} or 'all'",
        )
    notes = ReadingNotes()
    _, categories, annotated = read_annotations(path, notes)
    people = [person for person in annotated if not person.apart]
    if not people:
        raise EmptySplit(f"split {split!r} of {path} is empty", notes=notes.lines())
    names = [person.image.name for person in people]
    paths, absent = find_pictures(path, names, check_images)
    values = np.array([person.keypoints for person in people])
    boxes = np.array([person.box for person in people])
    counts: dict[int, int] = {}
    places = []
    for person in people:
        image = person.image.place
        places.append((image, counts.setdefault(image, 0)))
        counts[image] += 1
    labelled = values[..., 2] > 0
    stated = np.array([person.image.size for person in people])
    which = [person.which for person in people]
    tell_misplaced(notes, "annotation[s]", which, values[..., :2], labelled, boxes, stated)
    found = PoseSet(
        name=f"{path.name.split('.')[0]}-{split}",
        skeleton=categories.skeleton,
        image_paths=paths,
        joints=np.where(labelled[..., None], values[..., :2], 0).astype(np.float32),
        labelled=labelled,
        visible=values[..., 2] > 1,
        centers=(boxes[:, :2] + (boxes[:, 2:] - 1) / 2).astype(np.float32),
        sizes=(MARGIN * boxes[:, 2:].max(1)).astype(np.float32),
        boxes=np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]).astype(np.float32),
        areas=np.array([person.area for person in people], np.float32),
        ids=np.array([(person.image.id, person.id) for person in people], object),
        stated_sizes=stated.astype(np.float32),
        persons=np.array(places, np.int64),
        sigmas=categories.sigmas,
        categories=categories.read,
        annotation_file=path,
        notes=(*notes.lines(), *absent),
    )
    return without_contradicted(found) if check_images else found


def read_annotations(
    path: Path, notes: ReadingNotes
) -> tuple[dict[str, ListedImage], PoseCategories, list[CocoPerson]]:
    """The contents of a file in COCO's form.

    Args:
        path: the file, which may be gzipped.
        notes: gets a note on everything that cannot be read, or that was decided by a rule.

    Returns:
        The images by their ids as text, the categories that are read, and all their annotations.

    Raises:
        InputError: the file cannot be read, or has another form.
    """
    contents = read_json(path)
    parts = ("images", "annotations")
    if not isinstance(contents, dict) or not all(
        isinstance(contents.get(part), list) for part in parts
    ):
        raise InputError(f"{path} must be an object with images and annotations, each a list")
    images = listed_images(contents["images"], notes)
    annotations = contents["annotations"]
    categories = choose_categories(contents.get("categories"), annotations, path, notes)
    return images, categories, list(annotated_people(annotations, categories, images, notes))
