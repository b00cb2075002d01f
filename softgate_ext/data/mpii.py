"""The reader of MPII Human Pose in its official MATLAB file, with the published split."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from softgate_ext.data.image_files import find_images
from softgate_ext.data.matfile import field, load_variable, number, structs, text
from softgate_ext.data.poseset import EmptySplit, PoseSet, check_split
from softgate_ext.errors import InputError
from softgate_ext.files.counted import counted
from softgate_ext.pose.skeleton import MPII

OFFICIAL_IMAGES = 24_987
"""The number of entries of `annolist` in the complete release, which the published indices refer to."""

MpiiSplit = Literal["train", "test", "all", "unlabelled"]


@dataclasses.dataclass
class AnnotatedPerson:
    """One `annorect`, 0-based; NaN or False for what the file does not have.

    Attributes:
        image: name of the image file.
        place: index of the image in `annolist`, and of the person in `annorect`.
        center: `objpos`, in pixels.
        scale: height of the person over 200 pixels.
        joints: (16, 2), in pixels.
        labelled: (16,) bool.
        visible: (16,) bool.
        head: x1, y1, x2, y2 of the head box, in pixels.
    """

    image: str
    place: tuple[int, int]
    center: tuple[float, float]
    scale: float
    joints: npt.NDArray[np.float64]
    labelled: npt.NDArray[np.bool_]
    visible: npt.NDArray[np.bool_]
    head: tuple[float, float, float, float]

    @property
    def placed(self) -> bool:
        """Whether there are a position and a scale, which a crop requires."""
        return bool(np.isfinite((*self.center, self.scale)).all() and self.scale > 0)


def read_mpii(root: Path | str, split: MpiiSplit = "train", check_images: bool = True) -> PoseSet:
    """Reads `mpii_human_pose_v1_u12_1.mat` and `images/`, which are in `root` or beside each other.

    The joints are the 16 of the file. A joint is labelled if the file has a point for it, also if it is
    hidden. A joint whose `is_visible` is missing or empty counts as visible, as in the published
    annotations.

    The crop is a square with a side of 1.25 * 200 * scale pixels. Its centre is the annotated position,
    moved down by 15 * scale pixels, because the position is the middle of the upper body (Newell et al.
    2016). Position and scale are also given at test time, so that nothing is leaked. People without
    position or scale are left out.

    Args:
        root: the folder that holds the file, or the folder that the archive was unpacked into.
        split: "train" and "test" are the 22,246 and 2,958 people of the published training and
            validation split (Tompson et al. 2015), in the published order; "all" is both.
            "unlabelled" is the people of the official test images, whose joints were never
            published; if the file has `single_person`, only the people listed there. In a release
            that does not have 24,987 images, people are split by the names of their images.
        check_images: whether a missing image is an error.

    Raises:
        InputError: a file or an image is missing or cannot be read, or the split is empty.
    """
    if split != "unlabelled":
        check_split(split)
    path, images = find_mpii(Path(root))
    release = load_variable(path, "RELEASE")
    if release.dtype.names is None or release.size != 1 or "annolist" not in release.dtype.names:
        raise InputError(f"RELEASE in {path} must be one struct with a field annolist")
    release = release.ravel()[0]
    chosen, notes = list(_split(release, split, path)), []
    if len(structs(field(release, "annolist"))) == OFFICIAL_IMAGES and split != "unlabelled":
        absent = sum(len(published_split()[name]) for name in _parts(split)) - len(chosen)
        if absent:
            notes.append(counted(absent, "of the published people [is|are] not in the file"))
    find = functools.partial(
        find_images, bases=[images.parent], subfolders=["images"], must_exist=check_images
    )
    return pose_set(chosen, notes, split, path, find)


def pose_set(
    people: Sequence[AnnotatedPerson],
    notes: Sequence[str],
    split: str,
    path: Path,
    find: Callable[[list[str]], tuple[list[Path], tuple[str, ...]]],
) -> PoseSet:
    """The pose set of the people who have a position and a scale, with their crops.

    Args:
        people: all people of the split.
        notes: earlier notes.
        split: name of the split, for the name of the set and for messages.
        path: the annotation file, for messages.
        find: finds the images of the given names, and gives notes on them.

    Raises:
        InputError: no person is left, or an image is missing.
    """
    placed = [person for person in people if person.placed]
    if unplaced := len(people) - len(placed):
        notes = [
            *notes,
            counted(unplaced, "[person|people] without position or scale [is|are] left out"),
        ]
    if not placed:
        raise EmptySplit(f"split {split!r} of {path} is empty", notes=notes)
    names = [person.image for person in placed]
    paths, absent = find(names)
    scales = np.array([person.scale for person in placed], np.float32)
    centers = np.array([person.center for person in placed], np.float32)
    return PoseSet(
        name=f"mpii-{split}",
        skeleton=MPII,
        image_paths=paths,
        joints=np.array([person.joints for person in placed], np.float32),
        labelled=np.array([person.labelled for person in placed]),
        visible=np.array([person.visible for person in placed]),
        centers=centers + np.stack([np.zeros_like(scales), 15 * scales], -1),
        sizes=200 * np.float32(1.25) * scales,
        head_boxes=np.array([person.head for person in placed], np.float32),
        persons=np.array([person.place for person in placed], np.int64),
        notes=(*notes, *absent),
    )


def find_mpii(root: Path) -> tuple[Path, Path]:
    """The annotation file and the folder of images.

    The official archives unpack into `mpii_human_pose_v1_u12_2/` and `images/` beside each other.

    Raises:
        InputError: there is no such file.
    """
    found = [root] if root.is_file() else sorted(root.glob("mpii_human_pose*.mat"))
    found = found or sorted(root.glob("*/mpii_human_pose*.mat"))
    if not found:
        raise InputError(f"{root} must hold mpii_human_pose_v1_u12_1.mat and has none")
    beside = found[0].parent / "images"
    above = found[0].parent.parent / "images"
    return found[0], above if above.is_dir() and not beside.is_dir() else beside


@functools.cache
def published_split() -> dict[str, npt.NDArray[np.int64]]:
    """The published split.

    Returns:
        `train` (22246, 2) and `test` (2958, 2): indices of image and person, 0-based. `test_images`:
        the numbers in the names of the images of `test`.
    """
    with (
        files("softgate_ext.data").joinpath("mpii_split.npz").open("rb") as stream,
        np.load(stream) as arrays,
    ):
        return {name: arrays[name].astype(np.int64) for name in arrays.files}


def _split(release: Any, split: MpiiSplit, path: Path) -> Iterator[AnnotatedPerson]:
    annolist = structs(field(release, "annolist"))
    flags = field(release, "img_train").ravel()
    is_training = flags.astype(bool) if flags.dtype.kind in "biuf" else np.empty(0, bool)
    if len(is_training) != len(annolist):
        raise InputError(
            f"img_train in {path} must have one value for each of {counted(len(annolist), 'image[s]')}, "
            f"got {len(is_training)}"
        )
    if split == "unlabelled":
        alone = field(release, "single_person").ravel()
        for i in np.flatnonzero(~is_training).tolist():
            listed = alone[i] if len(alone) == len(annolist) else None
            for person in people_of(annolist[i], i, path):
                if listed is None or person.place[1] + 1 in np.ravel(listed):
                    yield person
        return
    published = published_split()
    if len(annolist) == OFFICIAL_IMAGES:
        people: dict[int, list[AnnotatedPerson]] = {}
        for i, p in np.concatenate([published[name] for name in _parts(split)]).tolist():
            if i not in people:
                people[i] = list(people_of(annolist[i], i, path))
            if p < len(people[i]) and people[i][p].labelled.any():
                yield people[i][p]
        return
    for i in np.flatnonzero(is_training).tolist():
        for person in people_of(annolist[i], i, path):
            if person.labelled.any() and split in ("all", _part_of(person.image)):
                yield person


def _parts(split: str) -> tuple[str, ...]:
    return ("train", "test") if split == "all" else (split,)


def _part_of(image: str) -> str:
    """The part of the published split that an image belongs to, by the number that ends its name."""
    digits = Path(image).stem[-9:]
    held = digits.isdigit() and int(digits) in published_split()["test_images"]
    return "test" if held else "train"


def people_of(
    entry: Any, index: int, path: Path, variable: str = "annolist"
) -> Iterator[AnnotatedPerson]:
    """All `annorect` of an image: none, a single struct, or an array of structs.

    Args:
        entry: the struct of the image.
        index: its index, from 0, in the array `variable`.
        path: the file, for messages.
        variable: name of the array, for messages.

    Raises:
        InputError: the image has no name, or a joint has an invalid number.
    """
    image = structs(field(entry, "image"))
    name = text(image[0], "name") if len(image) else ""
    if not name or Path(name).name != name:
        raise InputError(f"{variable}({index + 1}) of {path} must have the name of an image file")
    for p, rect in enumerate(structs(field(entry, "annorect"))):
        joints, labelled, visible = _joints(rect, f"{name} in {path}")
        position = structs(field(rect, "objpos"))
        center = tuple(number(position[0], axis) - 1 if len(position) else np.nan for axis in "xy")
        x1, y1, x2, y2 = (number(rect, corner) - 1 for corner in ("x1", "y1", "x2", "y2"))
        yield AnnotatedPerson(
            name, (index, p), (center[0], center[1]), number(rect, "scale"),
            joints, labelled, visible, (x1, y1, x2, y2),
        )  # fmt: skip


def _joints(
    rect: Any, where: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    joints = np.zeros((len(MPII), 2))
    labelled, visible = np.zeros((2, len(MPII)), bool)
    annotation = structs(field(rect, "annopoints"))
    for point in structs(field(annotation[0], "point")) if len(annotation) else ():
        joint = number(point, "id")
        if joint not in range(len(MPII)):
            raise InputError(f"point id of {where} must be 0 to {len(MPII) - 1}, got {joint}")
        at = number(point, "x") - 1, number(point, "y") - 1
        if np.isfinite(at).all():
            joints[int(joint)] = at
            labelled[int(joint)] = True
            flag = text(point, "is_visible")  # '0', '1', 0, 1, an empty array, or no such field
            visible[int(joint)] = flag != "0" if flag else number(point, "is_visible") != 0
    return joints, labelled, visible
