"""Entries of a file as COCO's average precision counts them: those of nobody and of crowds too."""

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
    """M people of a file, in its order.

    Attributes:
        who: What it says of them; nothing of those that are left out.
        joints: (M, J, 2) 0-based pixels, the dataset's joints; NaN where there is none.
        scores: (M, J) of the joints, all alike where the file has the person's.
    """

    who: Sequence[Identity]
    joints: Floats
    scores: Floats


@dataclass(frozen=True)
class Counted:
    """By what AP goes.

    Attributes:
        truth: What is annotated.
        found: What was found.
        notes: Sentences to print.
    """

    truth: Annotated
    found: Detected
    notes: tuple[str, ...]

    @property
    def numbers(self) -> dict[str, int]:
        """How many entries, people to be found and annotations that are ignored there are."""
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
    """What COCO's AP of the entries goes by.

    Args:
        path: The file of predictions, for messages.
        truth: All of the annotation file.
        entries: All of the file of predictions.
        skeleton: The J joints.
        absent: (J,), joints that the file of predictions does not have, which do not count.
        sides: Whose left and right.

    Raises:
        InputError: No entry is of a picture of the dataset.
    """
    who = entries.who
    # Who has no joint is no prediction: a submission has entries of everybody.
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
    first = next(place for place, one in enumerate(who) if one.known)  # that is not left out
    areas = np.array([math.nan if one.area is None else one.area for one in who])
    detected = Detected(
        images=truth.ranks[pictures[kept]],
        joints=found,
        scores=np.where(np.isfinite(own), own, entries.scores[kept].mean(1)),
        categories=kinds,
        # As pycocotools, which looks at the first entry whether all are by their boxes.
        areas=None if np.isnan(areas[first]) else np.nan_to_num(areas[kept]),
    )
    notes = [*not_had(who, here & (pictures < 0), truth)]
    if not apart and len(truth.categories) > 1:
        notes.append("not all predictions have a category_id: AP treats all categories as one")
    return Counted(annotated, detected, (*notes, *_told(truth, annotated, detected)))


def one_for_each(names: Sequence[str], people: int) -> str:
    """The sentence beside figures, of predictors of these names, that are not of all entries of a
    file."""
    return (
        f"AP and AR of {' and '.join(names)}: at most one prediction counts for each of "
        f"{counted(people, '[person|people]')}; false positives, crowds and people without key points do "
        "not count"
    )


def _pictures(path: Path, truth: CocoTruth, who: Sequence[Identity]) -> Ints:
    """The picture of each entry, -1 of those that are not in the annotation file."""
    ids = dict(zip(truth.ids[:, 0], range(len(truth.ids)), strict=True))
    by_id = np.array(same_keys([one.image_id for one in who], ids), np.int64)
    named, own, _ = pictures_of(path, who, truth)
    # Two ids may stand for one file, of which an entry that has a name alone is the first's.
    first = {number: place for place, number in reversed([*enumerate(own.tolist())])}
    by_name = np.array([first.get(number, -1) for number in named.tolist()], np.int64)
    return np.where(by_id >= 0, by_id, by_name)


def _kinds(truth: CocoTruth, who: Sequence[Identity]) -> tuple[Ints, bool]:
    """The category of each entry, and whether these are told apart, which takes one of each entry."""
    given = [one.category for one in who if one.category is not None]
    if len(given) < len(who) or len(truth.categories) == 1:
        return np.zeros(len(who), np.int64), False
    return np.array([truth.categories[one] for one in given], np.int64), True


def _told(truth: CocoTruth, annotated: Annotated, found: Detected) -> Iterator[str]:
    """Sentences on what is counted."""
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
