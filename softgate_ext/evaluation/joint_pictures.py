"""The matching of a file's entries to the images of a dataset, by names, ids or frame numbers."""

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from softgate_ext.errors import InputError
from softgate_ext.evaluation.joint_identity import Identity, number_of, same_keys
from softgate_ext.files.counted import counted
from softgate_ext.files.printable import brief

LONG = 100  # the most characters of a path in a message


class Pictured(Protocol):
    """N things with images: the samples of a dataset, or images themselves.

    Attributes:
        name: name of the dataset.
        image_paths: the N image files.
        ids: (N, 1 or more) object, whose first column is the id of the image in the dataset; or None.
    """

    @property
    def name(self) -> str: ...
    @property
    def image_paths(self) -> Sequence[Path]: ...
    @property
    def ids(self) -> npt.NDArray[Any] | None: ...


def pictures_of(
    path: Path, who: Sequence[Identity], people: Pictured
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], tuple[str, ...]]:
    """The images of the M entries and of the N samples, as numbers.

    Args:
        path: the file, for messages.
        who: the identities of the entries.
        people: the samples of the dataset.

    Returns:
        (M,) the image of each entry, -1 if the dataset does not have it; (N,) the image of each sample;
        and notes to print.

    Raises:
        InputError: an entry states two different images, or a name may mean either of two.
    """
    places: dict[Path, int] = {}
    own = np.array([places.setdefault(image, len(places)) for image in people.image_paths])
    if people.ids is None:  # Ultralytics uses names that are numbers as ids
        ids: dict[Any, int] = {number: place for place, number in _numbered(places)}
    else:
        ids = dict(zip(people.ids[:, 0], own.tolist(), strict=True))
    by_id = same_keys([one.image_id for one in who], ids)
    # A text in place of an id that the dataset does not have is a name.
    words = [
        one.image_id if isinstance(one.image_id, str) and number < 0 else one.name
        for one, number in zip(who, by_id, strict=True)
    ]
    by_name, notes = _by_name(path, {word for word in words if word is not None}, list(places))
    if not by_name:  # no name is that of a file: names may be ids, such as keys of an object
        found_ids = same_keys([one.name for one in who], ids)
        by_id = [max(pair) for pair in zip(by_id, found_ids, strict=True)]
    by_frame, more = _by_frame(
        {one.frame for one in who if one.frame is not None}, ids, list(places)
    )
    endings = endings_of(places)
    found = []
    for one, number, word in zip(who, by_id, words, strict=True):
        named = by_name.get(word, -1) if word is not None else -1
        if min(number, named) >= 0 and number != named:
            raise InputError(
                f"predictions: {path} has an entry of {brief(one.name, LONG)} with the image id "
                f"{brief(one.image_id)}, which is of another picture in {people.name}; takes entries that "
                "agree with the dataset, or have only one of the two"
            )
        # The frame number counts only if the entry names no image; it may name a video.
        told = one.image_id is not None or is_called_so(one.name, endings)
        framed = -1 if one.frame is None or told else by_frame.get(one.frame, -1)
        found.append(max(number, named) if max(number, named) >= 0 else framed)
    return np.array(found, np.int64), own, (*notes, *more)


def endings_of(pictures: Iterable[Path]) -> set[str]:
    """The suffixes of images, in lower case."""
    return {picture.suffix.lower() for picture in pictures} - {""}


def is_called_so(name: object, endings: Collection[str]) -> bool:
    """Whether a value is a text with one of these suffixes."""
    return isinstance(name, str) and PurePosixPath(name).suffix.lower() in endings


def _numbered(pictures: Iterable[Path]) -> list[tuple[int, int]]:
    """The indices and numbers of images whose names are numbers; none if two have the same number."""
    numbers = ((place, number_of(picture.stem)) for place, picture in enumerate(pictures))
    found = [(place, number) for place, number in numbers if number >= 0]
    return found if len({number for _, number in found}) == len(found) else []


def _by_frame(
    frames: Collection[int], ids: Mapping[Any, int], pictures: Sequence[Path]
) -> tuple[dict[int, int], tuple[str, ...]]:
    """The image of each frame of a video, and a note, because programs count frames from 0 or from 1.

    A frame is matched by the last number in the name of an image if these numbers differ, else by id.
    """
    numbers = [re.findall("[0-9]+", picture.stem)[-1:] for picture in pictures]
    named = {int(last): number for number, own in enumerate(numbers) for last in own}
    way = "the last numbers in the names of pictures"
    if len(named) < len(pictures):
        way = "the ids of pictures"
        named = dict(zip(frames, same_keys(list(frames), ids), strict=True))
    found = {frame: named[frame] for frame in frames if named.get(frame, -1) >= 0}
    if not found:
        return {}, ()
    first = min(found)
    return found, (f"frames are matched by {way}: frame {first} is {pictures[found[first]].name}",)


def names_within(paths: Sequence[Path]) -> list[str]:
    """Each path relative to the deepest folder that all paths share."""
    shared = len(os.path.commonprefix([path.parts[:-1] for path in paths]))
    return ["/".join(path.parts[shared:]) for path in paths]


def _by_name(
    path: Path, names: set[str], pictures: Sequence[Path]
) -> tuple[dict[str, int], tuple[str, ...]]:
    """The image of each name, and a note if folders differ.

    The last part of name and path must be the same; the name may lack the suffix. The folders before it
    must be the same too, as far as both the name and the path within the dataset have them. If several
    images fit a name, or several names an image, the pair with the longest common end is taken.

    Raises:
        InputError: a name fits two images equally well, or two names fit one image.
    """
    within = [name.count("/") + 1 for name in names_within(pictures)]
    ends: defaultdict[str, list[int]] = defaultdict(list)
    for number, picture in enumerate(pictures):
        for end in {picture.name, picture.stem}:
            ends[end].append(number)
    written: defaultdict[str, set[str]] = defaultdict(set)
    for picture in pictures:
        for part in (*picture.parts, picture.stem):
            written[part.lower()].add(part)
    best: dict[int, tuple[int, dict[tuple[str, ...], list[str]]]] = {}
    for name in sorted(names):
        parts = _parts(name)
        if parts and parts[-1] not in ends:  # compared without case, if that is unambiguous
            parts = tuple(
                min(written[part.lower()] if len(written[part.lower()]) == 1 else {part})
                for part in parts
            )
        common = {
            number: length
            for number in ends.get(parts[-1] if parts else "", ())
            if (length := _in_common(parts, pictures[number])) >= min(len(parts), within[number])
        }
        longest = [number for number in common if common[number] == max(common.values())]
        if len(longest) > 1:
            one, other = (pictures[number] for number in longest[:2])
            raise InputError(
                f"predictions: {path} has a picture {brief(name, LONG)}, which may be {one} or {other}; takes "
                "names with their folders"
            )
        for number in longest:
            length, spellings = best.get(number, (0, {}))
            if common[number] > length:
                best[number] = length, spellings = common[number], {}
            if common[number] == length:
                spellings.setdefault(parts, []).append(name)
    result, apart = {}, []
    for number, (length, spellings) in best.items():
        if len(spellings) > 1:
            one_name, other_name = (brief("/".join(parts), LONG) for parts in list(spellings)[:2])
            raise InputError(
                f"predictions: {path} has pictures {one_name} and {other_name}, either of which "
                f"may be {pictures[number]}; takes the predictions of one of them"
            )
        for parts, spelled in spellings.items():
            result.update(dict.fromkeys(spelled, number))
            if length == 1 < min(len(parts), len(pictures[number].parts)):
                apart.append((spelled[0], pictures[number]))
    if not apart:
        return result, ()
    return result, (
        f"{counted(len(apart), 'picture[s] [is|are] matched by file name only')}, because the folders "
        f"have other names, such as {brief(apart[0][0], LONG)} and {apart[0][1]}",
    )


def _parts(name: str) -> tuple[str, ...]:
    """The parts of a path of any system, without its root and without `.` and `..`."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return tuple(part for part in parts if part not in ("/", "..", "."))


def _in_common(parts: Sequence[str], picture: Path) -> int:
    own = list(picture.parts)
    if parts[-1] == picture.stem:
        own[-1] = picture.stem
    pairs = zip(reversed(parts), reversed(own), strict=False)
    unlike = (number for number, (one, other) in enumerate(pairs) if one != other)
    return next(unlike, min(len(parts), len(own)))


def shown(one: Identity) -> str:
    """The image or the person that an entry states, for messages."""
    keys = (one.image_id, one.name, one.annotation_id, one.id, one.frame)
    return brief(next((key for key in keys if key is not None), None))
