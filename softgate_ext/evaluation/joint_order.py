"""Which entry of a file of predictions is which person of a dataset."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.evaluation.joint_contents import Contents


def rows_of(path: Path, contents: Contents, people: PoseSet) -> list[int]:
    """The row of each of the N people in the file, by the pictures that it names, else by place.

    The file may hold more people. Of several people in a picture, the order of a list counts; that
    of people who were found does not.

    Args:
        path: The file, for messages.
        contents: What it holds.
        people: Those who are wanted.

    Raises:
        InputError: Somebody is missing, or it cannot be told which of several people is which.
    """
    if contents.images is None:
        return list(range(len(people)))
    names = [image.name for image in people.image_paths]
    if contents.places is not None:
        if people.persons is None:
            raise InputError(
                f"predictions: {path} is a submission to MPII, whose people have places in its own "
                f"file, which those of {people.name} do not have; takes it beside MPII"
            )
        places = list(zip(names, people.persons[:, 1].tolist(), strict=True))
        return _places(path, list(zip(contents.images, contents.places, strict=True)), places)
    held, wanted = Counter(contents.images), Counter(names)
    for name, count in wanted.items():
        if name in held and (held[name] != count or (count > 1 and not contents.listed)):
            raise InputError(
                f"predictions: {path} has {held[name]} of the people in {name} and the dataset "
                f"{count}, which does not tell who is who; takes one in each picture, or a list "
                "with as many as the dataset"
            )
    return _places(path, _numbered(contents.images), _numbered(names))


def _places(path: Path, held: Sequence[Hashable], wanted: Sequence[tuple[str, int]]) -> list[int]:
    rows = {key: row for row, key in enumerate(held)}
    missing = [name for name, number in wanted if (name, number) not in rows]
    if missing:
        raise InputError(
            f"predictions: {path} has nobody for {len(missing)} of the {len(wanted)} people, first "
            f"in {missing[0]}; takes a file with an entry for each"
        )
    return [rows[key] for key in wanted]


def _numbered(names: Sequence[str]) -> list[tuple[str, int]]:
    """Each name with how often it came before."""
    numbers: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)
    return [(name, next(numbers[name])) for name in names]
