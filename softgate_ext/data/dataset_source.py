"""A recognised dataset, `DatasetSource`, and datasets whose parts are parts of other datasets."""

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
"""If several files are read as one dataset, the number of their notes that are kept; further notes
are only counted."""


@dataclasses.dataclass(frozen=True)
class DatasetSource:
    """A recognised dataset.

    Attributes:
        format: short name of its format: lsp, lspet, mpii, flic, mpii-json, coco or yolo.
        title: a description of it.
        path: the folder or file that is read.
        reader: reads one split of it.
        splits: the parts that it has.
        notes: notes on the whole dataset, which are also in the notes of each pose set.
        unread: annotation files of other parts, in the same folder, that are not read.
        parts: for each part, the datasets and their splits that it consists of; empty if it does not
            consist of other datasets.
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
        """The name of its folder, without a folder of annotations, to distinguish datasets."""
        folder = self.path if self.path.is_dir() else self.path.parent
        return (folder.parent if is_annotations(folder) else folder).name

    def read_from(self, split: Split) -> set[tuple[Path, Split]]:
        """The files or folders that a part is read from, each with "train" or "test"."""
        found: set[tuple[Path, Split]] = set()
        for part in self.splits if split == "all" else (split,):
            if not self.parts:
                found.add((real_path(self.path), part))
            for source, own in self.parts.get(part, ()):
                found |= source.read_from(own)
        return found

    def read(self, split: Split = "train", check_images: bool = True) -> PoseSet:
        """Reads one split; "all" is all parts together.

        Args:
            split: the part.
            check_images: whether a missing image is an error.

        Raises:
            InputError: the part cannot be read, or is empty.
        """
        return self.reader(self.path, split, check_images)


def source_of_parts(
    path: Path,
    parts: Mapping[Split, Sequence[tuple[DatasetSource, Split]]],
    notes: Sequence[str] = (),
) -> DatasetSource:
    """A dataset whose parts are parts of other datasets, read one after another.

    Args:
        path: the path that stands for the whole dataset.
        parts: for "train" and "test", the datasets and their splits; at least one.
        notes: notes on the whole dataset.
    """

    def read(_: Path, split: Split, check_images: bool) -> PoseSet:
        sets: list[PoseSet] = []
        fault = EmptySplit(f"split {split!r} of {path} is empty: the dataset has no such part")
        for part, sources in parts.items():
            for source, own in sources if split in ("all", part) else ():
                try:
                    sets.append(source.read(own, check_images))
                except EmptySplit as error:  # for example a file of a video without labelled people
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
