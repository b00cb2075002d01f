"""Which dataset a folder or file is, told by what it holds."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from softgate_ext.data.coco import read_coco
from softgate_ext.data.flic import read_flic
from softgate_ext.data.join import join
from softgate_ext.data.jsonfile import is_test_part, peek
from softgate_ext.data.lsp import is_extended, read_lsp
from softgate_ext.data.mpii import read_mpii
from softgate_ext.data.mpii_json import read_mpii_json
from softgate_ext.data.poseset import PoseSet, Split, check_split
from softgate_ext.errors import InputError, reason
from softgate_ext.files.paths import as_path

Reader = Callable[[Path, Split, bool], PoseSet]


@dataclass(frozen=True)
class DatasetSource:
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

    @property
    def name(self) -> str:
        """The folder that it lies in, to tell it from others beside it."""
        annotations = ("annotations", "annot")
        folder = self.path if self.path.is_dir() else self.path.parent
        return (folder.parent if folder.name in annotations else folder).name

    def read(self, split: Split = "train", check_images: bool = True) -> PoseSet:
        """One split; "all" is every part together. Raises InputError as the readers do."""
        return self.reader(self.path, split, check_images)


def recognise(path: Path | str, argument: str = "path") -> DatasetSource:
    """The dataset at `path`: the folder that a release unpacked into, or an annotation file.

    Args:
        path: The folder or file.
        argument: What the caller's own argument is called, for the message.

    Raises:
        InputError: There is nothing at `path`, nothing that is known, or more than one dataset.
    """
    sources, _ = datasets_at(path, argument)
    if len(sources) > 1:
        names = ", ".join(f"{source.name} ({source.format})" for source in sources)
        raise InputError(
            f"{argument}: got {path}, which lies above {len(sources)} datasets; takes one of them, "
            f"{names}"
        )
    return sources[0]


def datasets_at(path: Path | str, argument: str = "path") -> tuple[list[DatasetSource], list[str]]:
    """Every dataset at `path`: the one that it is, or those in the folders directly below it.

    Returns:
        At least one dataset, and a sentence for each folder below whose dataset is damaged.

    Raises:
        InputError: There is nothing at `path`, or nothing that is known.
    """
    path = as_path(
        path, argument, "the folder that a dataset unpacked into, or its annotation file"
    )
    try:
        return _datasets_at(path, argument)
    except OSError as error:
        raise InputError(
            f"{argument}: cannot look into {path} ({reason(error)}); takes a folder or file that "
            "can be read"
        ) from None


def _datasets_at(path: Path, argument: str) -> tuple[list[DatasetSource], list[str]]:
    if not path.exists():
        raise InputError(
            f"{argument}: got {path}, which does not exist; takes the folder that a dataset "
            "unpacked into, or its annotation file"
        )
    if path.is_file():
        return [_file(path, argument)], []
    own = _folder(path)
    if own is not None:
        return [own], []
    below: list[DatasetSource] = []
    damaged: list[str] = []
    for folder in sorted(child for child in path.iterdir() if child.is_dir()):
        try:
            found = _folder(folder)
        except (InputError, OSError) as error:
            damaged.append(str(error))
            continue
        if found is not None:
            below.append(found)
    # MPII's archives unpack beside one another: its own folder, and the images.
    if below and (len(below) > 1 or below[0].format == "mpii"):
        return below, damaged
    hint = f" (did you mean {below[0].path}?)" if below else ""
    raise InputError(
        f"{argument}: got {path}, which is no dataset that is known: it must hold joints.mat (LSP, "
        "LSP-extended), mpii_human_pose_v1_u12_1.mat (MPII), examples.mat (FLIC) or key points as "
        f"JSON (COCO, MPII){hint}"
    )


def open_dataset(
    path: Path | str, split: Split = "train", check_images: bool = True, argument: str = "path"
) -> PoseSet:
    """One split of whatever dataset is at `path`.

    "train" and "test" are the official parts, and all labelled: of MPII "test" is the published
    validation people. Parts that a dataset does not have are an error.

    Args:
        path: As in `recognise`, and so is `argument`.
        split: The part.
        check_images: Whether a missing image is an error.

    Raises:
        InputError: The dataset is not known or cannot be read, or it has no such part.
    """
    check_split(split)
    return recognise(path, argument).read(split, check_images)


def _folder(path: Path) -> DatasetSource | None:
    """What the folder itself holds, whatever is below it."""
    if (path / "joints.mat").is_file():
        if is_extended(path / "joints.mat"):
            return DatasetSource("lspet", "Leeds Sports Pose, extended", path, read_lsp, ("train",))
        return DatasetSource("lsp", "Leeds Sports Pose", path, read_lsp)
    if (path / "examples.mat").is_file():
        return DatasetSource("flic", "Frames Labelled In Cinema (FLIC)", path, read_flic)
    for file in sorted(path.glob("mpii_human_pose*.mat"))[:1]:
        return _mpii(file)
    found = [
        file
        for folder in (path, path / "annotations", path / "annot")
        for pattern in ("*.json", "*.json.gz")
        for file in sorted(folder.glob(pattern))
        if _is_known(file)
    ]
    keypoints = [file for file in found if "keypoints" in file.name] or found
    if len(keypoints) > 1:
        return _parts(path, keypoints)
    return _json(keypoints[0]) if keypoints else None


def _file(path: Path, argument: str) -> DatasetSource:
    own = _folder(path.parent) if path.name in ("joints.mat", "examples.mat") else None
    return own or (_mpii(path) if path.suffix == ".mat" else _json(path, argument))


def _mpii(path: Path) -> DatasetSource:
    return DatasetSource("mpii", "MPII Human Pose", path, read_mpii)


def _json(path: Path, argument: str = "path") -> DatasetSource:
    start = peek(path)
    splits: tuple[Split, ...] = ("test",) if is_test_part(path) else ("train",)
    if start.startswith("{") and any(f'"{word}"' in start for word in _COCO_WORDS):
        return DatasetSource("coco", "key points in COCO's form", path, read_coco, splits)
    if start.startswith("[") and any(f'"{word}"' in start for word in _MPII_WORDS):
        if '"isValidation"' in start:
            splits = ("train", "test")
        return DatasetSource("mpii-json", "MPII Human Pose as JSON", path, read_mpii_json, splits)
    raise InputError(
        f"{argument}: {path} is no annotation file that is known: it must be COCO's object with "
        "images, annotations and categories, or MPII's list of people"
    )


_COCO_WORDS = ("images", "annotations", "categories")
_MPII_WORDS = ("joint_self", "joints")


def _is_known(path: Path) -> bool:
    try:
        _json(path)
    except InputError:
        return False
    return True


def _parts(path: Path, files: list[Path]) -> DatasetSource:
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
    return DatasetSource(first.format, first.title, path, read)
