"""The matching of a file's entries to the samples of a dataset."""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.evaluation.joint_identity import Identity, Key, same_keys
from softgate_ext.evaluation.joint_likeness import ALIKE, likeness, overlap, pairs
from softgate_ext.evaluation.joint_pictures import Pictured, pictures_of, shown
from softgate_ext.files.counted import counted
from softgate_ext.files.printable import brief

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
SHARED = -3  # stands for a person, if several have the same id


def rows_of(
    path: Path, who: Sequence[Identity], joints: Floats, scores: Floats, people: PoseSet,
    several: bool = False,
) -> tuple[Ints, tuple[str, ...]]:  # fmt: skip
    """The entry of each of the N samples.

    Entries are matched by their image, and within an image by the id of the annotation (in a
    submission to MPII by the position in `annorect`). If several are left in an image, they are matched
    by the overlap of their boxes if each entry has a box, else by their joints as in COCO's AP. The
    order of the file has no effect.

    Args:
        path: the file, for messages.
        who: the identities of its M entries, as returned by `with_meaning`; an empty identity for an
            entry that is left out, whose joints are NaN.
        joints: (M, J, 2), the joints of the dataset in 0-based pixels.
        scores: (M,), which decide the order of entries.
        people: the samples.
        several: whether entries are detections. A sample then gets its entry with the highest score, and
            there is no note on entries that are not used.

    Returns:
        (N,) the index of the entry of each sample, -1 for none; and notes to print.

    Raises:
        InputError: an entry contradicts itself or another entry, or no entry matches a sample.
    """
    picture, own, notes = pictures_of(path, who, people)
    person, more = _by_annotation(path, who, picture, own, joints, people)
    notes += more
    # An entry without joints is no prediction: a submission to MPII has entries for all people.
    here: npt.NDArray[np.bool_] = np.isfinite(joints.sum(-1)).any(1)
    rows = np.full(len(people), -1, np.int64)
    for row in _surest(np.flatnonzero(here & (person >= 0)).tolist(), joints, scores):
        if rows[person[row]] >= 0:
            if several:
                continue
            raise InputError(
                f"predictions: {path} has two entries of one person, {shown(who[row])}; takes one"
            )
        rows[person[row]] = row
    # Entries with person -2 state a person that the dataset does not have: they match nobody.
    loose = here & (picture >= 0) & (person == -1)
    notes += _in_pictures(path, who, joints, scores, people, rows, loose, picture, own)
    if not several:
        if (rows < 0).all():
            raise strangers(path, [who[row] for row in np.flatnonzero(here).tolist()], people)
        notes += tuple(_unused(who, here, (picture < 0) & (person < 0), rows, people))
    return rows, (*notes, *_missing(rows, people))


def _surest(rows: list[int], joints: Floats, scores: Floats) -> list[int]:
    """The rows by falling score. Equal scores are ordered by their joints, and not by the file."""
    return sorted(rows, key=lambda row: (-scores[row], np.nan_to_num(joints[row]).ravel().tolist()))


def _unused(
    who: Sequence[Identity], here: npt.NDArray[np.bool_], unknown: npt.NDArray[np.bool_],
    rows: Ints, people: PoseSet,
) -> Iterator[str]:  # fmt: skip
    """Notes on entries that match no sample."""
    yield from not_had(who, here & unknown, people)
    extra = (here & ~unknown).sum() - (rows >= 0).sum()
    if extra:
        yield (
            f"{counted(extra, 'prediction[s] [is|are] not used, because [it|they] match[es|]')} no "
            "labelled person of the picture"
        )


def not_had(
    who: Sequence[Identity], strange: npt.NDArray[np.bool_], people: Pictured
) -> Iterator[str]:
    """A note on entries of images or ids that the dataset does not have, if there are any."""
    if strange.any():
        first = shown(who[int(strange.argmax())])
        yield (
            f"{counted(strange.sum(), 'prediction[s] [is|are] not used, because')} {people.name} "
            f"does not have the picture or id, such as {first}"
        )


def _missing(rows: Ints, people: PoseSet) -> Iterator[str]:
    """A note on samples without an entry, if there are any."""
    missing = rows < 0
    if missing.any():
        yield (
            counted(
                missing.sum(),
                f"[person|people] of {len(people)} [is|are] not in the file, first in ",
            )
            + f"{people.image_paths[int(missing.argmax())].name}: their joints count as not found"
        )


def with_meaning(path: Path, who: Sequence[Identity], people: PoseSet) -> Sequence[Identity]:
    """The identities, with `id` resolved as an image or an annotation if they state nothing else.

    Raises:
        InputError: `id` may mean either.
    """
    if any(one.pictured or one.annotation_id is not None for one in who):
        return who
    pictures = [replace(one, image_id=one.id, id=None) for one in who]
    picture, own, _ = pictures_of(path, pictures, people)
    if people.ids is None:
        return pictures
    ids = _of_one_person(people.ids[:, 1])
    person = np.array(same_keys([one.id for one in who], ids), np.int64)
    votes = int((person >= 0).sum() - (picture >= 0).sum())
    if votes == 0 and (own[person] != picture)[person >= 0].any():
        raise InputError(
            f"predictions: {path} has ids that may be of people or of pictures of {people.name}; "
            "takes them as annotation_id or image_id"
        )
    return pictures if votes < 0 else who


def _of_one_person(ids: npt.NDArray[np.object_]) -> dict[Hashable, int]:
    """The samples by their annotation ids, `SHARED` for an id that several samples have."""
    places: dict[Hashable, int] = {}
    for place, key in enumerate(ids.tolist()):
        places[key] = SHARED if key in places else place
    return places


def _by_annotation(
    path: Path, who: Sequence[Identity], picture: Ints, own: Ints, joints: Floats, people: PoseSet
) -> tuple[Ints, tuple[str, ...]]:
    """The sample (M,) of each entry by its annotation id or its position in `annorect`, and notes.

    The sample is -1 if the entry states no person, and -2 if the person is not in the dataset. It raises
    InputError where an annotation id is of a sample in another image.
    """
    nothing = np.full(len(who), -1, np.int64)
    if people.ids is None:
        return _by_place(path, who, picture, own, people), ()
    ids = _of_one_person(people.ids[:, 1])
    for field in ("annotation_id", "id"):
        keys = [getattr(one, field) for one in who]
        found = np.array(same_keys(keys, ids), np.int64)
        given = np.array([key is not None for key in keys]) & (found != SHARED)
        found[~given] = -1
        elsewhere = (found >= 0) & (picture >= 0) & (own[found] != picture)
        counts = field == "id" and _ascend(keys)
        if elsewhere.any() and counts and not _alike(joints, found, elsewhere, people):
            return nothing, (
                "id is not used: it seems to count the entries of the file, because the dataset has "
                "these ids in other pictures",
            )
        if counts and not elsewhere.any() and _are_others(joints, found, own, people):
            return nothing, (
                "id is not used: it seems to count the entries of the file, because most entries lie "
                "on another person of the picture",
            )
        if elsewhere.any():
            raise InputError(
                f"predictions: {path} has the annotation {brief(keys[int(elsewhere.argmax())])} in another "
                f"picture than {people.name}; takes entries that agree with the dataset"
                + (", or that have no id" if field == "id" else "")
            )
        if given.any() and (field == "annotation_id" or (found >= 0).any()):
            strange = np.array([one.pictured for one in who])
            found[given & ((found < 0) | (strange & (picture < 0)))] = -2
            return found, ()
    return nothing, ()


def _ascend(keys: Sequence[Key | None]) -> bool:
    """Whether the keys are rising numbers, as if a program had counted its output."""
    counts = [key for key in keys if isinstance(key, int)]
    return counts == sorted(set(counts)) and len(counts) == len(keys)


def _alike(joints: Floats, person: Ints, of: npt.NDArray[np.bool_], people: PoseSet) -> bool:
    """Whether most of the entries in `of` are similar to the samples with their ids."""
    rows = np.flatnonzero(of)
    like = [
        likeness(joints[row : row + 1], people.subset([person[row]])).item() >= ALIKE
        for row in rows
    ]
    return 2 * sum(like) > len(like)


def _are_others(joints: Floats, person: Ints, own: Ints, people: PoseSet) -> bool:
    """Whether most entries in images with several people are most similar to another person."""
    crowds: dict[int, list[int]] = {}
    for number, picture in enumerate(own.tolist()):
        crowds.setdefault(picture, []).append(number)
    others = []
    for row in np.flatnonzero(person >= 0).tolist():
        crowd = crowds[int(own[person[row]])]
        if len(crowd) > 1:
            like = likeness(joints[row : row + 1], people.subset(crowd))[0]
            others.append(like.max() >= ALIKE and crowd[like.argmax()] != person[row])
    return 2 * sum(others) > len(others)


def _by_place(
    path: Path, who: Sequence[Identity], picture: Ints, own: Ints, people: PoseSet
) -> Ints:
    """As `_by_annotation`, by the positions of MPII's people in `annorect`."""
    if all(one.place is None for one in who):
        return np.full(len(who), -1, np.int64)
    if people.persons is None:
        raise InputError(
            f"predictions: {path} is a submission to MPII, where people are identified by their places in "
            f"MPII's file; {people.name} has no such places, so give MPII as data"
        )
    places = zip(own.tolist(), people.persons[:, 1].tolist(), strict=True)
    at = {place: number for number, place in enumerate(places)}
    held = zip(picture.tolist(), (one.place for one in who), strict=True)
    found = [-1 if place is None else at.get((image, place), -2) for image, place in held]
    return np.array(found, np.int64)


def _in_pictures(
    path: Path, who: Sequence[Identity], joints: Floats, scores: Floats, people: PoseSet,
    rows: Ints, loose: npt.NDArray[np.bool_], picture: Ints, own: Ints,
) -> tuple[str, ...]:  # fmt: skip
    """Matches the entries in `loose` (M,) to samples of their images that have no entry in `rows` (N,).

    It writes them into `rows`, and returns notes on images with several people. `picture` (M,) and `own`
    (N,) are the images of the entries and of the samples. It raises InputError where entries without
    boxes meet samples without labels.
    """
    entries: dict[int, list[int]] = {}
    for row in np.flatnonzero(loose).tolist():
        entries.setdefault(int(picture[row]), []).append(row)
    wanting: dict[int, list[int]] = {}
    for number in np.flatnonzero(rows < 0).tolist():
        wanting.setdefault(int(own[number]), []).append(number)
    crowded = Counter(own.tolist())
    ways: Counter[str] = Counter()
    for image in entries.keys() & wanting.keys():
        found = _surest(entries[image], joints, scores)
        truth = wanting[image]
        if len(found) == crowded[image] == 1:
            rows[truth[0]] = found[0]
            continue
        boxes = [who[row].box for row in found]
        if None not in boxes:
            ways["the overlap of their boxes"] += len(truth)
            like = overlap(np.array(boxes), people.subset(truth))
            by_score = False  # the best pairs first
        elif people.labelled[truth].any():
            ways[
                "their joints, the most confident first, as COCO matches people (the result can be "
                "too good, because the truth is used; boxes or annotation ids in the file avoid this)"
            ] += len(truth)
            like = likeness(joints[found], people.subset(truth))
            by_score = True
        else:
            raise InputError(
                f"predictions: {path} has {len(found)} of the people in "
                f"{people.image_paths[truth[0]].name} and the dataset has {len(truth)}, so it is "
                "unknown which entry is which person; takes entries with boxes or annotation ids"
            )
        for i, j in pairs(like, scores[found], by_score):
            rows[truth[j]] = found[i]
    return tuple(
        counted(count, f"[person|people] in pictures with several [was|were] told apart by {way}")
        for way, count in sorted(ways.items())
    )


def strangers(path: Path, who: Sequence[Identity], people: Pictured) -> InputError:
    """The error for a file of which no entry belongs to the dataset."""
    takes = f"file names such as {people.image_paths[0].name}"
    if people.ids is not None and people.ids[0, 0] is not None:
        takes = f"image ids such as {people.ids[0, 0]}, or {takes}"
    names = list(dict.fromkeys(map(shown, who)))
    told = f"people of {', '.join(names[:3])} and " if names else ""
    return InputError(
        f"predictions: {path} has {told}no person of {people.name}; takes entries of this dataset, "
        f"identified by {takes}"
    )
