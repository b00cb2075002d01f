"""Which joints change places in a mirror image, told beside their names, and said in words."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from softgate_ext.errors import InputError
from softgate_ext.pose.skeleton import Skeleton


def pair_joints(skeleton: Skeleton, pairs: Sequence[Any], argument: str = "pairs") -> Skeleton:
    """The skeleton with these flip pairs, and of its own those of other joints.

    Args:
        skeleton: The joints.
        pairs: Two joints each, by name, in any spelling, or index. A joint beside itself
            keeps its place, whatever its name says; a pair may be there both ways round.
        argument: What the caller calls the pairs, for messages.

    Raises:
        InputError: A pair is not two joints of the skeleton, or a joint is in two pairs.
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
    """`pair_joints` of names one after another, as `--swap a b c d` gives them.

    Raises:
        InputError: As there, or the last name is alone.
    """
    if len(words) % 2:
        raise InputError(f"swap: got {' '.join(words)}; takes pairs of names, such as eye1 eye2")
    return pair_joints(skeleton, list(zip(words[::2], words[1::2], strict=True)), "swap")


def mirror_words(skeleton: Skeleton) -> str:
    """One line: which joints change places in a mirror image, and which ought to."""
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
