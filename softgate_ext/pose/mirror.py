"""Flip pairs that a user gives where the joints' names do not show them, and a text about them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from softgate_ext.errors import InputError
from softgate_ext.pose.skeleton import Skeleton


def pair_joints(skeleton: Skeleton, pairs: Sequence[Any], argument: str = "pairs") -> Skeleton:
    """The skeleton with the given flip pairs. Its own flip pairs of other joints are kept.

    Args:
        skeleton: the skeleton.
        pairs: pairs of joints, by name in any spelling or by index. A joint paired with itself keeps
            its place in a mirror image, whatever its name says. A pair may occur in both orders.
        argument: name of the argument that gave the pairs, for the message.

    Raises:
        InputError: a pair is not two joints of the skeleton, or a joint is in two pairs.
    """
    partners: dict[int, int] = {}
    told: dict[frozenset[int], tuple[int, int]] = {}
    for pair in pairs:
        places = [_place(skeleton, joint) for joint in pair] if _is_list(pair) else []
        known = [place for place in places if place is not None]
        if len(places) != 2 or len(known) != 2:
            raise InputError(
                f"{argument}: got {_shown(pair)}; takes pairs of joints of {skeleton.name}, which "
                f"has {', '.join(skeleton.joints)}"
            )
        first, second = known
        if first != second:
            told.setdefault(frozenset(known), (first, second))
        for a, b in (known, known[::-1]):
            if partners.setdefault(a, b) != b:
                raise InputError(
                    f"{argument}: got {skeleton.joints[a]} in two pairs; takes each joint once"
                )
    sides = [name.side for name in skeleton.names]
    given = [
        (b, a) if sides[a] == "left" or sides[b] == "right" else (a, b) for a, b in told.values()
    ]
    kept = [pair for pair in skeleton.flip_pairs if not partners.keys() & set(pair)]
    before = {i for pair in skeleton.flip_pairs for i in pair} | set(skeleton.unpaired)
    after = {i for pair in kept for i in pair} | partners.keys()
    return replace(skeleton, flip_pairs=(*kept, *given), unpaired=tuple(sorted(before - after)))


def swap_joints(skeleton: Skeleton, words: Sequence[str]) -> Skeleton:
    """As `pair_joints`, with the names in one list, as `--swap a b c d` gives them.

    Raises:
        InputError: as in `pair_joints`, or the number of names is odd.
    """
    if len(words) % 2:
        raise InputError(f"swap: got {' '.join(words)}; takes pairs of names, such as eye1 eye2")
    return pair_joints(skeleton, list(zip(words[::2], words[1::2], strict=True)), "swap")


def mirror_words(skeleton: Skeleton) -> str:
    """A line that names the flip pairs, and the joints that lack a partner on the other side."""
    names = [f"{skeleton.joints[a]} with {skeleton.joints[b]}" for a, b in skeleton.flip_pairs]
    alone = ", ".join(skeleton.joints[i] for i in skeleton.unpaired)
    if names:
        line = f"a mirror image exchanges {', '.join(names)}"
        return f"{line}; on one side only: {alone}" if alone else line
    if alone:
        return f"no joints form a left and right pair; on one side only: {alone}"
    return "no left and right among the joints: a mirror image keeps every name"


def _place(skeleton: Skeleton, joint: Any) -> int | None:
    if isinstance(joint, str):
        return skeleton.find(joint)
    return joint if type(joint) is int and 0 <= joint < len(skeleton) else None


def _is_list(pair: Any) -> bool:
    return isinstance(pair, list | tuple)


def _shown(pair: Any) -> str:
    return f"{' '.join(map(str, pair)) if _is_list(pair) else str(pair):.80}"
