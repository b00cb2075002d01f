"""A dataset that was recognised, and datasets whose parts are others."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from softgate_ext.data.join import join
from softgate_ext.data.jsonfile import is_annotations
from softgate_ext.data.poseset import EmptySplit, PoseSet, Split
from softgate_ext.files.counted import counted
from softgate_ext.files.paths import real_path

Reader = Callable[[Path, Split, bool], PoseSet]

MOST_NOTES = 5
"""Notes of files that are read as one which are kept; of the others the count is."""


@dataclasses.dataclass(frozen=True)
class DatasetSource:
    """A dataset that was recognised.

    Attributes:
        format: Short name of its format: lsp, lspet, mpii, flic, mpii-json, coco or yolo.
        title: What it is, for people to read.
        path: The folder or file that is read.
        reader: Reads one split of it.
        splits: The parts that it has.
        notes: What is to be said of it, whichever part is read; in the notes of its people too.
        unread: Annotation files of other parts that lie beside those that are read.
        parts: The datasets that its parts are made of, and which split of them; empty where it is
            read by itself.
    """

    format: str
    title: str
    path: Path
    reader: Reader
    splits: tuple[Split, ...] = ("train", "test")
    notes: tuple[str, ...] = ()
    unread: tuple[Path, ...] = ()
    parts: Mapping[Split, Sequence[tuple["DatasetSource", Split]]] = dataclasses.field(
        default_factory=dict
    )

    @property
    def name(self) -> str:
        """The folder that it lies in, to tell it from others beside it."""
        folder = self.path if self.path.is_dir() else self.path.parent
        return (folder.parent if is_annotations(folder) else folder).name

    def read_from(self, split: Split) -> set[tuple[Path, Split]]:
        """What a part is read from: files or folders, and "train" or "test" of each."""
        found: set[tuple[Path, Split]] = set()
        for part in self.splits if split == "all" else (split,):
            if not self.parts:
                found.add((real_path(self.path), part))
            for source, own in self.parts.get(part, ()):
                found |= source.read_from(own)
        return found

    def read(self, split: Split = "train", check_images: bool = True) -> PoseSet:
        """One split; "all" is every part together. Raises InputError as the readers do."""
        return self.reader(self.path, split, check_images)


def source_of_parts(
    path: Path,
    parts: Mapping[Split, Sequence[tuple[DatasetSource, Split]]],
    notes: Sequence[str] = (),
) -> DatasetSource:
    """A dataset at `path` whose parts are parts of other datasets, read one after another.

    Args:
        path: What it is known by.
        parts: The datasets, and which split of them, that "train" and "test" are; at least one.
        notes: What is to be said of its people.
    """

    def read(_: Path, split: Split, check_images: bool) -> PoseSet:
        sets: list[PoseSet] = []
        fault = EmptySplit(f"split {split!r} of {path} is empty: the dataset has no such part")
        for part, sources in parts.items():
            for source, own in sources if split in ("all", part) else ():
                try:
                    sets.append(source.read(own, check_images))
                except EmptySplit as error:  # as a video in which nobody is labelled
                    fault = error
        if not sets:
            raise fault
        people = join(sets)
        said = people.notes
        if len(said) > MOST_NOTES:
            said = (*said[:MOST_NOTES], f"and {counted(len(said) - MOST_NOTES, 'more note[s]')}")
        name = people.name if len(sets) == 1 else f"{path.absolute().name}-{split}"
        return dataclasses.replace(people, name=name, notes=(*said, *notes))

    first = next(source for sources in parts.values() for source, _ in sources)
    splits = tuple(part for part, sources in parts.items() if sources)
    return DatasetSource(first.format, first.title, path, read, splits, tuple(notes), parts=parts)
