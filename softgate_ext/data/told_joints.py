"""The joints that a file names, and what it says of them, whatever its form."""

from collections.abc import Mapping, Sequence
from typing import Any

from softgate_ext.data.category_pairs import told_pairs
from softgate_ext.data.entries import ReadingNotes
from softgate_ext.pose.skeleton import COCO, Skeleton, name_skeleton


def written_names(given: Any) -> tuple[str, ...]:
    """Names as in the file; one that is no text, or another's too, gets the number of its place.

    Args:
        given: As in the file; what is no list has no names.
    """
    names: list[str] = []
    met: set[str] = set()
    for place, name in enumerate(given if isinstance(given, list) else (), 1):
        own = name if isinstance(name, str) and name else f"joint_{place}"
        while own.lower() in met:
            own = f"{own}_{place}"
        met.add(own.lower())
        names.append(own)
    return tuple(names)


def tell_renamed(given: Any, notes: ReadingNotes) -> None:
    """Notes the names that `written_names` does not read as they are."""
    names = given if isinstance(given, list) else ()
    for name, own in zip(names, written_names(given), strict=True):
        if name != own:
            notes.count(
                "keypoint name[s] that [is|are] not text, or given twice, [gets|get] a number",
                f"{name} as {own}",
            )


def told_skeleton(
    name: str,
    written: Sequence[str],
    limbs: Sequence[tuple[int, int]],
    told: Sequence[Mapping[str, Any]],
    notes: ReadingNotes,
) -> Skeleton:
    """The skeleton of these joints, paired by their names and by `told_pairs`.

    COCO's own where its joints and pairs are COCO's, whatever limbs the file has.

    Args:
        name: Name of the scheme.
        written: Names as in the file.
        limbs: 0-based pairs.
        told: What may hold pairs.
        notes: Takes a sentence where the names alone count.
    """
    skeleton = told_pairs(name_skeleton(name, written, limbs), told, notes)
    pairs = {frozenset(pair) for pair in skeleton.flip_pairs}
    usual = skeleton.joints == COCO.joints and pairs == set(map(frozenset, COCO.flip_pairs))
    return COCO if usual else skeleton
