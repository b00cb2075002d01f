"""The entries of a file as COCO's average precision counts them, with false positives and crowds."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from softgate_ext.data.coco_truth import CocoTruth
from softgate_ext.evaluation.joint_identity import Identity, same_keys
from softgate_ext.evaluation.joint_people import not_had, strangers
from softgate_ext.evaluation.joint_pictures import pictures_of
from softgate_ext.evaluation.measure import BODY, areas_of
from softgate_ext.files.counted import counted
from softgate_ext.pose.metrics import Floats
from softgate_ext.pose.oks import MOST, Annotated, Detected
from softgate_ext.pose.sides import Sides, observer_order, take_joints
from softgate_ext.pose.skeleton import Skeleton

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Entries:
    """The M entries of a file, in its order.

    Attributes:
        who: their identities; an empty identity for an entry that is left out.
        joints: (M, J, 2), the joints of the dataset in 0-based pixels; NaN for a missing joint.
        scores: (M, J), the scores of the joints. They are equal if the file has a score per person.
    """

    who: Sequence[Identity]
    joints: Floats
    scores: Floats


@dataclass(frozen=True)
class Counted:
    """The input of COCO's AP.

    Attributes:
        truth: the annotations.
        found: the predictions.
        notes: notes to print.
    """

    truth: Annotated
    found: Detected
    notes: tuple[str, ...]

    @property
    def numbers(self) -> dict[str, int]:
        """The numbers of entries, of people to be found, and of ignored annotations."""
        ignored = int(self.truth.ignored.sum())
        people = len(self.truth.ignored) - ignored
        return {"entries": len(self.found.scores), "people": people, "ignored": ignored}


def counted_by_coco(
    path: Path,
    truth: CocoTruth,
    entries: Entries,
    skeleton: Skeleton,
    absent: npt.NDArray[np.bool_],
    sides: Sides = "pc",
) -> Counted:
    """The input of COCO's AP for the entries of a file.

    Args:
        path: the file of predictions, for messages.
        truth: all annotations of the annotation file.
        entries: all entries of the file of predictions.
        skeleton: the J joints.
        absent: (J,) bool, joints that the file of predictions does not have, which do not count.
        sides: person-centric or observer-centric labels.

    Raises:
        InputError: no entry is of an image of the dataset.
    """
    who = entries.who
    # An entry without joints is no prediction: a submission to MPII has entries for all people.
    here = np.isfinite(entries.joints.sum(-1)).any(1)
    pictures = _pictures(path, truth, who)
    kept = np.flatnonzero(here & (pictures >= 0))
    if not len(kept):
        raise strangers(path, [who[i] for i in np.flatnonzero(here).tolist()], truth)
    kinds, apart = _kinds(truth, [who[i] for i in kept.tolist()])
    joints, labelled = truth.joints, truth.labelled & ~absent
    found = entries.joints[kept]
    if sides == "oc":
        order = observer_order(joints, skeleton, labelled)
        joints, labelled = take_joints(joints, order), take_joints(labelled, order)
        found = take_joints(found, observer_order(found, skeleton))
    annotated = Annotated(
        images=truth.ranks[truth.images],
        joints=joints,
        labelled=labelled,
        boxes=truth.boxes,
        areas=np.nan_to_num(areas_of(truth.areas, truth.boxes[:, 2:])),
        ignored=truth.ignored | (truth.labelled.any(1) & ~labelled.any(1)),
        crowds=truth.crowds,
        categories=truth.kinds if apart else np.zeros_like(truth.kinds),
    )
    own = np.array([math.nan if one.score is None else one.score for one in who])[kept]
    first = next(
        place for place, one in enumerate(who) if one.known
    )  # the first that is not left out
    areas = np.array([math.nan if one.area is None else one.area for one in who])
    detected = Detected(
        images=truth.ranks[pictures[kept]],
        joints=found,
        scores=np.where(np.isfinite(own), own, entries.scores[kept].mean(1)),
        categories=kinds,
        # As in pycocotools, the first entry decides whether the areas of boxes are used.
        areas=None if np.isnan(areas[first]) else np.nan_to_num(areas[kept]),
    )
    notes = [*not_had(who, here & (pictures < 0), truth)]
    if not apart and len(truth.categories) > 1:
        notes.append("not all predictions have a category_id: AP treats all categories as one")
    return Counted(annotated, detected, (*notes, *_told(truth, annotated, detected)))


def one_for_each(names: Sequence[str], people: int) -> str:
    """The note on scores that have one prediction per person, and not all entries of a file.

    Args:
        names: the names of these predictors.
        people: the number of people.
    """
    return (
        f"AP and AR of {' and '.join(names)}: at most one prediction counts for each of "
        f"{counted(people, '[person|people]')}; false positives, crowds and people without key points do "
        "not count"
    )


def _pictures(path: Path, truth: CocoTruth, who: Sequence[Identity]) -> Ints:
    """The image of each entry, -1 if it is not in the annotation file."""
    ids = dict(zip(truth.ids[:, 0], range(len(truth.ids)), strict=True))
    by_id = np.array(same_keys([one.image_id for one in who], ids), np.int64)
    named, own, _ = pictures_of(path, who, truth)
    # Two ids may stand for one file. An entry that has only a name belongs to the first id.
    first = {number: place for place, number in reversed([*enumerate(own.tolist())])}
    by_name = np.array([first.get(number, -1) for number in named.tolist()], np.int64)
    return np.where(by_id >= 0, by_id, by_name)


def _kinds(truth: CocoTruth, who: Sequence[Identity]) -> tuple[Ints, bool]:
    """The category of each entry, and whether categories are distinguished.

    They are distinguished if every entry has one.
    """
    given = [one.category for one in who if one.category is not None]
    if len(given) < len(who) or len(truth.categories) == 1:
        return np.zeros(len(who), np.int64), False
    return np.array([truth.categories[one] for one in given], np.int64), True


def _told(truth: CocoTruth, annotated: Annotated, found: Detected) -> Iterator[str]:
    """Notes on what AP and AR count."""
    ignored = int(annotated.ignored.sum())
    yield (
        f"AP and AR: {counted(len(found.scores), 'prediction[s]')} of "
        f"{counted(len(truth.image_paths), 'picture[s]')} against "
        f"{counted(len(annotated.ignored) - ignored, '[person|people]')}, false positives included; "
        + counted(
            ignored,
            "crowd[s] or [person|people] without key points [is|are] ignored, and so are predictions "
            "that lie on [it|them]",
        )
    )
    crowded = np.stack([found.images, found.categories])
    beyond = np.maximum(np.unique(crowded, axis=1, return_counts=True)[1] - MOST, 0).sum()
    if beyond:
        yield counted(
            beyond,
            f"prediction[s] beyond the {MOST} with the highest scores in [a picture|their pictures] "
            "[does|do] not count in AP and AR",
        )
    bare = int((~(truth.areas > 0)).sum())
    if bare:
        yield (
            f"{counted(bare, 'annotation[s] [has|have] no area above 0')}; {BODY} of the box is taken "
            "for it (pycocotools itself refuses such files, or takes an area of 0)"
        )
    if truth.odd_ids:
        yield (
            "some annotation ids are 0 or given twice; each such person counts once here "
            "(pycocotools itself takes them as not found, or as one another)"
        )
