"""Recognition of datasets: the format of a folder or file is found from its contents."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from softgate_ext.data.annotation_files import annotations_in, json_dataset, not_read
from softgate_ext.data.dataset_source import DatasetSource, source_of_parts
from softgate_ext.data.flic import read_flic
from softgate_ext.data.lsp import is_extended, read_lsp
from softgate_ext.data.mpii import read_mpii
from softgate_ext.data.outside import outside
from softgate_ext.data.poseset import PoseSet, Split, check_split
from softgate_ext.data.yolo import read_yolo, yolo_splits
from softgate_ext.data.yolo_layout import has_keypoints
from softgate_ext.errors import InputError, reason
from softgate_ext.files.paths import as_path, real_path


def recognise(
    path: Path | str,
    argument: str = "path",
    train_folder: Path | None = None,
    test_folder: Path | None = None,
) -> DatasetSource:
    """The dataset at `path`: the folder of an unpacked release, or an annotation file.

    Args:
        path: the folder or file.
        argument: name of the argument that gave `path`, for the message.
        train_folder: a folder or annotation file that is the part "train" as a whole, if the names of
            the dataset do not tell the parts. It is relative to `path` or to the working folder.
        test_folder: the same for "test".

    Raises:
        InputError: a path does not exist, holds no known dataset or more than one; or both parts are
            the same.
    """
    sources, _ = datasets_at(path, argument, train_folder, test_folder)
    if len(sources) > 1:
        names = ", ".join(f"{source.name} ({source.format})" for source in sources)
        raise InputError(
            f"{argument}: got {path}, which is a folder above {len(sources)} datasets; takes one of them: "
            f"{names}"
        )
    return sources[0]


def datasets_at(
    path: Path | str,
    argument: str = "path",
    train_folder: Path | None = None,
    test_folder: Path | None = None,
) -> tuple[list[DatasetSource], list[str]]:
    """All datasets at `path`: the dataset that it is, or those in its direct subfolders.

    Args:
        path, argument, train_folder, test_folder: as in `recognise`.

    Returns:
        The datasets, at least one, and a message for each subfolder whose dataset is damaged.

    Raises:
        InputError: `path` does not exist, or holds no known dataset.
    """
    path = as_path(
        path, argument, "the folder that a dataset unpacked into, or its annotation file"
    )
    named: dict[Split, Path] = {}
    if train_folder is not None:
        named["train"] = train_folder
    if test_folder is not None:
        named["test"] = test_folder
    try:
        if named and path.exists():
            return [_with_parts(path, named, argument)], []
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
    # MPII's archives unpack into two folders beside each other: the annotations, and the images.
    if below and (len(below) > 1 or below[0].format == "mpii"):
        return below, damaged
    hint = f" (did you mean {below[0].path}?)" if below else ""
    raise InputError(
        f"{argument}: got {path}, which is not a known dataset; it must hold joints.mat (LSP, "
        "LSP-extended), mpii_human_pose_v1_u12_1.mat (MPII), examples.mat (FLIC), data.yaml with "
        f"kpt_shape (YOLO) or key points as JSON (COCO, MPII){hint}"
    )


def open_dataset(
    path: Path | str,
    split: Split = "train",
    check_images: bool = True,
    argument: str = "path",
    allow_outside: bool = False,
) -> PoseSet:
    """Reads one split of the dataset at `path`.

    "train" and "test" are the official parts with labels. For MPII, "test" is the published validation
    set.

    Args:
        path, argument: as in `recognise`.
        split: the part.
        check_images: whether a missing image is an error.
        allow_outside: whether annotation files may name images outside of the dataset.

    Raises:
        InputError: the dataset is not known or cannot be read, or it has no such part.
    """
    check_split(split)
    with outside(allow_outside):
        return recognise(path, argument).read(split, check_images)


def _folder(path: Path) -> DatasetSource | None:
    """The dataset in the folder itself, without its subfolders, or None."""
    if (path / "joints.mat").is_file():
        if is_extended(path / "joints.mat"):
            return DatasetSource("lspet", "Leeds Sports Pose, extended", path, read_lsp, ("train",))
        return DatasetSource("lsp", "Leeds Sports Pose", path, read_lsp)
    if (path / "examples.mat").is_file():
        return DatasetSource("flic", "Frames Labelled In Cinema (FLIC)", path, read_flic)
    for file in sorted(path.glob("mpii_human_pose*.mat"))[:1]:
        return _mpii(file)
    for file in sorted(path.iterdir()):
        if file.suffix.lower() in _YAML and has_keypoints(file):
            return _yolo(file)
    return annotations_in(path)


_YAML = (".yaml", ".yml")


def _file(path: Path, argument: str) -> DatasetSource:
    own = _folder(path.parent) if path.name in ("joints.mat", "examples.mat") else None
    if path.suffix.lower() in _YAML:
        return _yolo(path)
    return own or (_mpii(path) if path.suffix == ".mat" else json_dataset(path, argument))


def _mpii(path: Path) -> DatasetSource:
    return DatasetSource("mpii", "MPII Human Pose", path, read_mpii)


def _yolo(path: Path) -> DatasetSource:
    return DatasetSource("yolo", "key points in YOLO's form", path, read_yolo, yolo_splits(path))


def _with_parts(path: Path, named: Mapping[Split, Path], argument: str) -> DatasetSource:
    """The dataset at `path` with parts that are whole datasets at other paths.

    Raises:
        InputError: as in `recognise`.
    """
    base = path if path.is_dir() else path.parent
    parts: dict[Split, Sequence[tuple[DatasetSource, Split]]] = {}
    for part, place in named.items():
        place = base / place if (base / place).exists() else place
        parts[part] = [(recognise(place, f"{part}_folder"), "all")]
    notes: list[str] = []
    if len(parts) < 2:
        whole = recognise(path, argument)
        own = {part: whole.parts.get(part, [(whole, part)]) for part in whole.splits}
        parts = {**own, **parts}
        left = {file for file, _ in whole.read_from("all")} | {*map(real_path, whole.unread)}
        left -= {file for file, _ in source_of_parts(path, parts).read_from("all")}
        notes = not_read(real_path(base), sorted(file for file in left if file.is_file()))
    found = source_of_parts(path, parts, notes)
    if found.read_from("train") & found.read_from("test"):
        part, other = ("test", "train") if "test" in named else ("train", "test")
        before = (
            f"which {other}_folder names too"
            if other in named
            else f"which is the {other} part of {path}"
        )
        raise InputError(
            f"{part}_folder: got {named[part]}, {before}; takes another folder or file"
        )
    return found
