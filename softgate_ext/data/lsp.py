"""The reader of Leeds Sports Pose (LSP) and LSP-extended in their official files."""

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from softgate_ext.data.image_files import image_extent
from softgate_ext.data.matfile import load_variable
from softgate_ext.data.poseset import EmptySplit, PoseSet, Split, check_split
from softgate_ext.errors import InputError
from softgate_ext.files.counted import counted
from softgate_ext.files.paths import as_path
from softgate_ext.pose.skeleton import LSP

MARGIN = 1.5
"""The side of LSP-extended's crops over the longer side of the box around the labelled joints. For the
images of LSP, in which every joint is labelled, the median of this ratio is 1.32."""


def read_lsp(root: Path | str, split: Split = "train", check_images: bool = True) -> PoseSet:
    """Reads a folder with `joints.mat` and `images/im0001.jpg`, `im0002.jpg`, ..., or the same as PNG.

    The two releases are distinguished by the shape of `joints.mat`, because their flags have opposite
    meanings. LSP is (3, 14, N); 1 in the third row means occluded, and the position is valid and counts
    all the same. LSP-extended is (14, 3, N); 1 in the third column means labelled, and other positions
    have no meaning. Coordinates are 1-based in the files and 0-based in the result.

    The crop of LSP is the smallest square around the whole image. Centre and size come from the image
    alone, because a box around the joints would leak the ground truth into a test. The images of
    LSP-extended show much more than the person, and it has no test part. Its crop is a square around
    the labelled joints, unless the whole image is smaller.

    Args:
        root: folder of the dataset.
        split: for LSP, "train" is the first half and "test" the last half of the samples; for the
            official 2000 these are the official parts of 1000 each. LSP-extended is all "train".
        check_images: whether a missing image is an error. If not, the crop of a missing image is a
            placeholder.

    Raises:
        InputError: the folder, a file or an image is missing; `joints.mat` has another shape or values
            that are not finite; or the split is empty.
    """
    root = as_path(root, "root", "the folder that LSP unpacked into")
    check_split(split)
    if not root.is_dir():
        raise InputError(
            f"root: dataset folder {root} does not exist; takes the one that LSP unpacked into"
        )
    positions, labelled, visible, extended = _read_joints(root / "joints.mat")
    count = len(positions)
    middle = count if extended else count // 2
    chosen = {
        "train": range(middle),
        "test": range(middle, count),
        "all": range(count),
    }[split]
    if extended and split == "test":
        raise EmptySplit(
            f"split 'test' of {root} is empty: LSP-extended has a train part only",
            "'train' or 'all'",
        )
    if not chosen:
        raise EmptySplit(
            f"split {split!r} of {root} is empty: the dataset has only {counted(count, 'sample[s]')}"
        )
    paths, notes = _image_paths(root, count, extended, check_images)
    chosen_paths = [paths[i] for i in chosen]
    extent = np.array([image_extent(path, check_images) for path in chosen_paths], np.float32)
    part = slice(chosen.start, chosen.stop)
    centers, sizes = (extent - np.float32(1)) / np.float32(2), extent.max(1)
    if extended:
        _close_in(positions[part], labelled[part], centers, sizes)
    return PoseSet(
        name=f"{root.name}-{split}",
        skeleton=LSP,
        image_paths=chosen_paths,
        joints=positions[part],
        labelled=labelled[part],
        visible=visible[part],
        centers=centers,
        sizes=sizes,
        notes=notes,
    )


def _close_in(
    positions: npt.NDArray[np.float32],
    labelled: npt.NDArray[np.bool_],
    centers: npt.NDArray[np.float32],
    sizes: npt.NDArray[np.float32],
) -> None:
    """Replaces crops of whole images by crops around the labelled joints where these are smaller."""
    seen = labelled[..., None]
    low = np.where(seen, positions, np.inf).min(1)
    high = np.where(seen, positions, -np.inf).max(1)
    sides = MARGIN * (high - low).max(1)
    closer = (labelled.sum(1) > 1) & (sides > 0) & (sides < sizes)
    centers[closer] = (low[closer] + high[closer]) / 2
    sizes[closer] = sides[closer]


def is_extended(path: Path) -> bool:
    """Whether a `joints.mat` has the layout of LSP-extended."""
    return load_variable(path, "joints").shape[:2] == (14, 3)


def _read_joints(
    path: Path,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.bool_], bool]:
    """Positions (N, 14, 2), 0-based; labelled (N, 14); visible (N, 14); whether LSP-extended."""
    joints = load_variable(path, "joints")
    extended = joints.ndim == 3 and joints.shape[:2] == (14, 3)
    if not (extended or (joints.ndim == 3 and joints.shape[:2] == (3, 14))):
        raise InputError(
            f"joints in {path} must have shape (3, 14, N) as in LSP or (14, 3, N) as in "
            f"LSP-extended, got {joints.shape}"
        )
    if not np.issubdtype(joints.dtype, np.number):
        raise InputError(f"joints in {path} must be numbers, got {joints.dtype}")
    if np.iscomplexobj(joints):
        raise InputError(f"joints in {path} must be real numbers, got {joints.dtype}")
    if not np.isfinite(joints).all():
        raise InputError(f"joints in {path} must be finite, got NaN or infinity")
    joints = joints.astype(np.float64)  # subtracting 1 from an unsigned 0 would wrap around
    people = joints.transpose(2, 0, 1) if extended else joints.transpose(2, 1, 0)
    flag = people[..., 2]
    if not np.isin(flag, (0, 1)).all():
        raise InputError(f"the third value of each joint in {path} must be 0 or 1, got others")
    positions = np.ascontiguousarray(people[..., :2] - 1, np.float32)
    if extended:
        return positions, flag == 1, flag == 1, True
    return positions, np.ones(flag.shape, bool), flag == 0, False


def _image_paths(
    root: Path, count: int, extended: bool, must_exist: bool
) -> tuple[list[Path], tuple[str, ...]]:
    """The N images, numbered from 1 with four digits (LSP) or five (LSP-extended), and notes.

    They are in `images/`, or beside `joints.mat` as those of HR-LSPET.
    """
    places = (root / "images", root)
    held = {folder: _pictures(folder) for folder in places}
    folder = next((place for place in places if any(map(_NUMBER.match, held[place]))), places[0])
    numbered: dict[int, dict[int, str]] = {4: {}, 5: {}}
    for name in held[folder]:
        if match := _NUMBER.match(name):
            numbered[len(match[1])][int(match[1])] = name
    digits = 5 if 1 in numbered[5] or (numbered[5] and not numbered[4]) else 4
    found, wanted, notes = numbered[digits], range(1, count + 1), []
    if extended and len(found) == count and max(found) > count:
        notes.append(
            "the numbers of the pictures have gaps; the samples are in the order of these numbers"
        )
        found = dict(zip(wanted, (found[number] for number in sorted(found)), strict=True))
    names = [found.get(number, f"im{number:0{digits}d}.jpg") for number in wanted]
    missing = [name for number, name in zip(wanted, names, strict=True) if number not in found]
    if missing and must_exist:
        looked = str(folder) if found else " and ".join(map(str, places))
        raise InputError(
            f"{looked} must hold one image for each of {counted(count, 'sample[s]')} in joints.mat, "
            f"but {counted(len(missing), '[is|are] missing')}, first {missing[0]} (or .png)"
        )
    if more := len(set(held[folder]) - set(names)):
        notes.append(f"{counted(more, 'more picture[s] [is|are] left out')} in {folder}")
    return [folder / name for name in names], tuple(notes)


def _pictures(folder: Path) -> list[str]:
    """The names of the images in a folder. Those ending in .jpg, as in the release, come last."""
    names = [path.name for path in folder.glob("*") if path.suffix.lower() in _SUFFIXES]
    return sorted(names, key=lambda name: (name.lower().endswith(".jpg"), name))


_NUMBER = re.compile(r"im(\d{4,5})\.", re.IGNORECASE)
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
