"""The choice of the categories that are read from a file in COCO's form, with their joints and limbs."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softgate_ext.data.entries import ReadingNotes, identity, numbers
from softgate_ext.data.told_joints import tell_renamed, told_skeleton, written_names
from softgate_ext.errors import InputError
from softgate_ext.files.counted import counted
from softgate_ext.pose.skeleton import Skeleton


@dataclass(frozen=True)
class PoseCategories:
    """The categories of a file.

    Attributes:
        listed: the ids of all categories, as text.
        read: the names, in lower case, of the categories whose annotations are read, by their ids.
        skeleton: the skeleton of these categories.
        sigmas: their `sigmas` for OKS by joint; empty without them.
    """

    listed: frozenset[str]
    read: dict[str, str]
    skeleton: Skeleton
    sigmas: dict[str, float]


def category_key(annotation: dict[str, Any], listed: Collection[str]) -> str:
    """The id of an annotation's category as text; empty if it has none.

    An annotation without `category_id` belongs to the only category, if there is only one.
    """
    given = annotation.get("category_id")
    if given is None and len(listed) == 1:
        return next(iter(listed))
    return identity(given) or ""


def choose_categories(
    categories: Any, annotations: Iterable[Any], path: Path, notes: ReadingNotes
) -> PoseCategories:
    """Chooses the categories with annotated key points. Their joints must be equal.

    If no category names its joints, the joints are numbered. In a file without categories, they are
    taken from the annotations.

    Args:
        categories: the categories of the file.
        annotations: the annotations of the file.
        path: the file, for messages.
        notes: gets a note on everything that is left out or decided by a rule.

    Raises:
        InputError: no category has key points, categories with annotations have different joints, or
            the annotations have other numbers of values than the joints need.
    """
    listed: dict[str, dict[str, Any]] = {}
    entries = [annotation for annotation in annotations if isinstance(annotation, dict)]
    if not isinstance(categories, list) or not categories:
        notes.say("the file has no list of categories")
        listed = {category_key(entry, ()): {} for entry in entries}
        categories = []
    for place, category in enumerate(categories, 1):
        key = identity(category.get("id")) if isinstance(category, dict) else None
        if key is None:
            notes.count("categor[y|ies] without an id [is|are] skipped", f"number {place}")
            continue
        listed.setdefault(key, category)
        if category.get("keypoints") and not isinstance(category["keypoints"], list):
            notes.count(
                "categor[y|ies] [has|have] keypoints that are not a list of names",
                _title(key, category),
            )
    lengths: dict[str, Counter[int]] = {key: Counter() for key in listed}
    for entry in entries:
        given, key = entry.get("keypoints"), category_key(entry, listed)
        if given and key in lengths and isinstance(given, list):
            lengths[key][len(given)] += 1
    groups: dict[tuple[str, ...], list[str]] = {}
    for key, category in listed.items():
        groups.setdefault(_joints(category), []).append(key)
    unnamed = groups.pop((), [])
    if groups:
        joints = _annotated(groups, lengths, listed, path, notes)
        chosen = groups[joints]
        found = sum((lengths[key] for key in chosen), Counter[int]())
        if found and 3 * len(joints) not in found:
            raise InputError(
                f"{path} names {counted(len(joints), 'keypoint[s]')}, which need "
                f"{3 * len(joints)} numbers for each person, but none of its "
                f"{counted(found.total(), 'annotation[s]')} has as many; most have "
                f"{found.most_common(1)[0][0]}"
            )
    else:
        chosen = [key for key in unnamed if lengths[key]]
        found = sum((lengths[key] for key in chosen), Counter[int]())
        joints = _numbered(found, path, notes)
        notes.say(
            f"no category names its keypoints; {counted(len(joints), 'joint[s] [is|are]')} numbered"
        )
    members = [listed[key] for key in chosen]
    if len(members) > 1:
        notes.say(f"{len(members)} categories with the same keypoints are read as one set")
    names = members[0].get("keypoints")
    tell_renamed(names, notes)
    given = next((limbs for one in members if (limbs := one.get("skeleton"))), None)
    limbs = read_limbs(given, joints, notes)
    skeleton = told_skeleton(_name(members), written_names(names) or joints, limbs, members, notes)
    sigmas = _sigmas(members, skeleton.joints, notes)
    read = {key: str(listed[key].get("name") or "").lower() for key in chosen}
    return PoseCategories(frozenset(listed), read, skeleton, sigmas)


def _sigmas(
    categories: Iterable[dict[str, Any]], joints: tuple[str, ...], notes: ReadingNotes
) -> dict[str, float]:
    given = next((sigmas for one in categories if (sigmas := one.get("sigmas"))), None)
    values = numbers(given, len(joints))
    if values is not None and (values > 0).all():
        return dict(zip(joints, values.tolist(), strict=True))
    if given is not None:
        notes.say("the sigmas are ignored, because they are not one number above 0 for each joint")
    return {}


def read_limbs(given: Any, joints: tuple[str, ...], notes: ReadingNotes) -> list[tuple[int, int]]:
    """The limbs as 0-based pairs. A limb that does not connect two joints is left out.

    In COCO's form, limbs count joints from 1. If an index is 0 and all fit, they are read as counting
    from 0. Some tools write names of joints, which are compared without regard to case.

    Args:
        given: the entry `skeleton` of a category.
        joints: the names of the joints, in lower case.
        notes: gets a note on limbs that are left out or count from 0.
    """
    if given and not isinstance(given, list):
        notes.say("the skeleton is ignored, because it is not a list of limbs")
    entries = given if isinstance(given, list) else []
    pairs = [numbers(entry, 2) for entry in entries]
    ends = [end for pair in pairs if pair is not None for end in pair.tolist()]
    first = 0 if 0 in ends and 0 <= min(ends) <= max(ends) < len(joints) else 1
    if not first:
        notes.say("the limbs count joints from 0 instead of 1, and are read in this way")
    limbs = []
    for entry, pair in zip(entries, pairs, strict=True):
        places = _named(entry, joints) if pair is None else (pair - first).tolist()
        if len({*places} & {*range(len(joints))}) == 2:
            a, b = places
            limbs.append((int(a), int(b)))
        else:
            notes.count("limb[s] that [does|do] not join two joints [is|are] ignored", entry)
    return limbs


def _named(entry: Any, joints: tuple[str, ...]) -> list[int]:
    """The indices of the joints that an entry names; names of no joint are left out."""
    names = entry if isinstance(entry, list) and len(entry) == 2 else []
    lower = [name.lower() for name in names if isinstance(name, str)]
    return [joints.index(name) for name in lower if name in joints]


def _joints(category: dict[str, Any]) -> tuple[str, ...]:
    """The names of a category's joints, in lower case."""
    return tuple(name.lower() for name in written_names(category.get("keypoints")))


def _annotated(
    groups: dict[tuple[str, ...], list[str]],
    lengths: dict[str, Counter[int]],
    listed: dict[str, dict[str, Any]],
    path: Path,
    notes: ReadingNotes,
) -> tuple[str, ...]:
    """The joints with annotations, out of the categories grouped by their joints.

    Raises:
        InputError: categories with different joints have annotations.
    """

    def titles(group: tuple[str, ...]) -> list[str]:
        return [_title(key, listed[key]) for key in groups[group]]

    used = [group for group, keys in groups.items() if any(lengths[key] for key in keys)]
    if len(used) > 1:
        several = "; ".join(f"{len(group)} of {', '.join(titles(group)[:5])}" for group in used)
        raise InputError(
            f"{path} has annotations of categories with different keypoints ({several}); give one "
            "file for each category"
        )
    joints = (used or list(groups))[0]
    for group in groups:
        for title in titles(group) if group != joints else ():
            notes.count(
                "categor[y|ies] with other keypoints and no annotations [is|are] skipped", title
            )
    return joints


def _title(key: str, category: dict[str, Any]) -> str:
    return str(category.get("name") or f"category {key}")


def _numbered(lengths: Counter[int], path: Path, notes: ReadingNotes) -> tuple[str, ...]:
    """Numbered names for the number of joints that most annotations have.

    Raises:
        InputError: no annotation has three numbers per joint.
    """
    most = max(
        (length for length in lengths if length % 3 == 0), key=lengths.__getitem__, default=0
    )
    if not most:
        found = f" ({', '.join(notes.lines())})" if notes.lines() else ""
        raise InputError(
            f"{path} must have a category with keypoints and an id, or annotations with three numbers "
            f"for each joint{found}"
        )
    return tuple(f"joint_{place}" for place in range(1, most // 3 + 1))


def _name(categories: list[dict[str, Any]]) -> str:
    """The name, or else the supercategory, that all categories share; else "pose"."""
    for field in ("name", "supercategory"):
        names = {str(category.get(field) or "").lower() for category in categories}
        if len(names) == 1 and names != {""}:
            return names.pop()
    return "pose"
