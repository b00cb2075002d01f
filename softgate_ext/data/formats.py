"""Which dataset a folder or file is, told by what it holds."""

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
    """The dataset at `path`: the folder that a release unpacked into, or an annotation file.

    Args:
        path: The folder or file.
        argument: What the caller's own argument is called, for the message.
        train_folder: Folder or annotation file, from `path` or from here, all of whose people are
            the part "train", where names do not tell or tell otherwise.
        test_folder: The same for "test".

    Raises:
        InputError: There is nothing at a path, nothing that is known, or more than one dataset; or
            both parts are the same.
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
    """Every dataset at `path`: the one that it is, or those in the folders directly below it.

    Args:
        path: As in `recognise`, and so are all others.

    Returns:
        At least one dataset, and a sentence for each folder below whose dataset is damaged.

    Raises:
        InputError: There is nothing at `path`, or nothing that is known.
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
    # MPII's archives unpack beside one another: its own folder, and the images.
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
    """One split of whatever dataset is at `path`.

    "train" and "test" are the official parts, and all labelled: of MPII "test" is the published
    validation people. Parts that a dataset does not have are an error.

    Args:
        path: As in `recognise`, and so is `argument`.
        split: The part.
        check_images: Whether a missing image is an error.
        allow_outside: Whether its annotation files may name pictures outside of it.

    Raises:
        InputError: The dataset is not known or cannot be read, or it has no such part.
    """
    check_split(split)
    with outside(allow_outside):
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
    """The dataset at `path` with other parts, each all of what is at a path from there or here."""
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
