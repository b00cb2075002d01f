"""The skeleton that an annotation file describes: names of joints, limbs and flip pairs."""

from collections.abc import Mapping, Sequence
from typing import Any

from softgate_ext.data.category_pairs import told_pairs
from softgate_ext.data.entries import ReadingNotes
from softgate_ext.pose.skeleton import COCO, Skeleton, name_skeleton


def written_names(given: Any) -> tuple[str, ...]:
    """The names of joints as in the file. A name that is no text, or is used twice, gets a number.

    Args:
        given: the entry of the file; anything but a list has no names.
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
    """Adds notes on the names that `written_names` changes."""
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
    """The skeleton of a file's joints, paired by their names and by `told_pairs`.

    If joints and pairs are COCO's, it is COCO's skeleton, whatever limbs the file has.

    Args:
        name: name of the scheme.
        written: names as in the file.
        limbs: 0-based pairs.
        told: the entries that may hold flip pairs.
        notes: gets a note if the pairs are ignored.
    """
    skeleton = told_pairs(name_skeleton(name, written, limbs), told, notes)
    pairs = {frozenset(pair) for pair in skeleton.flip_pairs}
    usual = skeleton.joints == COCO.joints and pairs == set(map(frozenset, COCO.flip_pairs))
    return COCO if usual else skeleton
