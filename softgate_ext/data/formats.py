"""Which dataset a folder or file is, told by what it holds."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from softgate_ext.data.coco import read_coco
from softgate_ext.data.flic import read_flic
from softgate_ext.data.join import join
from softgate_ext.data.jsonfile import is_test_part, peek
from softgate_ext.data.lsp import is_extended, read_lsp
from softgate_ext.data.mpii import find_mpii, read_mpii
from softgate_ext.data.mpii_json import read_mpii_json
from softgate_ext.data.poseset import PoseSet, Split, check_split
from softgate_ext.errors import InputError

Reader = Callable[[Path, Split, bool], PoseSet]


@dataclass(frozen=True)
class Source:
    """A dataset that was recognised.

    Attributes:
        format: Short name of its format: lsp, lspet, mpii, flic, mpii-json or coco.
        title: What it is, for people to read.
        path: The folder or file that is read.
        reader: Reads one split of it.
        splits: The parts that it has.
    """

    format: str
    title: str
    path: Path
    reader: Reader
    splits: tuple[Split, ...] = ("train", "test")

    def read(self, split: Split = "train", check_images: bool = True) -> PoseSet:
        """One split; "all" is every part together. Raises InputError as the readers do."""
        return self.reader(self.path, split, check_images)


def recognise(path: Path | str) -> Source:
    """The dataset at `path`: the folder that a release unpacked into, or an annotation file.

    Raises:
        InputError: There is nothing at `path`, or nothing that is known.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"dataset folder {path} does not exist")
    if path.is_dir():
        return _folder(path)
    if path.name in ("joints.mat", "examples.mat"):
        return _folder(path.parent)
    if path.suffix == ".mat":
        return Source("mpii", "MPII Human Pose", path, read_mpii)
    return _json(path)


def open_dataset(path: Path | str, split: Split = "train", check_images: bool = True) -> PoseSet:
    """One split of whatever dataset is at `path`.

    "train" and "test" are the official parts, and all labelled: of MPII "test" is the published
    validation people. Parts that a dataset does not have are an error.

    Raises:
        InputError: The dataset is not known or cannot be read, or it has no such part.
    """
    check_split(split)
    return recognise(path).read(split, check_images)


def _folder(path: Path) -> Source:
    if (path / "joints.mat").is_file():
        if is_extended(path / "joints.mat"):
            return Source("lspet", "Leeds Sports Pose, extended", path, read_lsp, ("train",))
        return Source("lsp", "Leeds Sports Pose", path, read_lsp)
    if (path / "examples.mat").is_file():
        return Source("flic", "Frames Labelled In Cinema (FLIC)", path, read_flic)
    try:
        return Source("mpii", "MPII Human Pose", find_mpii(path)[0], read_mpii)
    except InputError:
        pass
    found = [
        file
        for folder in (path, path / "annotations", path / "annot")
        for pattern in ("*.json", "*.json.gz")
        for file in sorted(folder.glob(pattern))
        if _is_known(file)
    ]
    keypoints = [file for file in found if "keypoints" in file.name] or found
    if len(keypoints) == 1:
        return _json(keypoints[0])
    if keypoints:
        return _parts(path, keypoints)
    raise InputError(
        f"{path} is no dataset that is known: it must hold joints.mat (LSP, LSP-extended), "
        "mpii_human_pose_v1_u12_1.mat (MPII), examples.mat (FLIC) or key points as JSON (COCO, MPII)"
    )


def _json(path: Path) -> Source:
    start = peek(path)
    splits: tuple[Split, ...] = ("test",) if is_test_part(path) else ("train",)
    if start.startswith("{") and any(f'"{word}"' in start for word in _COCO_WORDS):
        return Source("coco", "key points in COCO's form", path, read_coco, splits)
    if start.startswith("[") and any(f'"{word}"' in start for word in _MPII_WORDS):
        if '"isValidation"' in start:
            splits = ("train", "test")
        return Source("mpii-json", "MPII Human Pose as JSON", path, read_mpii_json, splits)
    raise InputError(
        f"{path} is no annotation file that is known: it must be COCO's object with images, "
        "annotations and categories, or MPII's list of people"
    )


_COCO_WORDS = ("images", "annotations", "categories")
_MPII_WORDS = ("joint_self", "joints")


def _is_known(path: Path) -> bool:
    try:
        _json(path)
    except InputError:
        return False
    return True


def _parts(path: Path, files: list[Path]) -> Source:
    """A folder with one file for training and one for testing."""
    named: dict[Split, list[Path]] = {"train": [], "test": []}
    for file in files:
        if "train" in file.name:
            named["train"].append(file)
        elif is_test_part(file):
            named["test"].append(file)
    if [len(found) for found in named.values()] != [1, 1]:
        raise InputError(
            f"{path} must hold one annotation file with train and one with val in its name, got "
            f"{', '.join(file.name for file in files)}; name one of them"
        )
    sources = {part: _json(found[0]) for part, found in named.items()}

    def read(_: Path, split: Split, check_images: bool) -> PoseSet:
        if split == "all":
            return join([source.read(split, check_images) for source in sources.values()])
        return sources[split].read("all", check_images)

    first = sources["train"]
    return Source(first.format, first.title, path, read)
