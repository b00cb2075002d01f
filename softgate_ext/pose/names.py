"""Reading of joint names: the side of a joint, and the rest of its name, in any usual spelling."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Literal

Side = Literal["left", "right"]

_MARKS: dict[str, Side] = {
    "left": "left", "right": "right", "lt": "left", "rt": "right", "l": "left", "r": "right",
}  # fmt: skip
_MIRROR = {"left": "right", "lt": "rt", "l": "r"}
_MIRROR |= {after: before for before, after in _MIRROR.items()}
# The places where a name is split into words: eye|L, R|Hip, knee|1.
_SEAMS = re.compile(
    r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])"
)
_EITHER = re.compile(r"(left|right)|([lr]t)|[lr]")
# The corner of a paw or leg: front or rear (hind, back), then left or right. Matches may overlap.
_CORNER = re.compile(r"(?=([frhb])([lr]))")
_ENDS = {"f": "front", "r": "rear", "h": "hind", "b": "back"}
_WHOLE = re.compile(r"\b(left|right)(?=[^\W\d_]{2})")


@dataclass(frozen=True)
class JointName:
    """A joint's name independent of its spelling: `R_Hip`, `rightHip` and "hip right" are equal.

    Attributes:
        part: the name without its sides, in lower case and without separators.
        sides: the sides in the order of the name, usually one or none. The first is the side of the
            joint ("right eye, left corner").
    """

    part: str
    sides: tuple[Side, ...] = ()

    @property
    def side(self) -> Side | None:
        """The side of the joint, None for a joint in the middle."""
        return self.sides[0] if self.sides else None

    @property
    def mirrored(self) -> "JointName":
        """The name that the joint has in a mirror image."""
        opposite: dict[Side, Side] = {"left": "right", "right": "left"}
        return JointName(self.part, tuple(opposite[side] for side in self.sides))


@lru_cache
def read_names(joints: tuple[str, ...]) -> tuple[JointName, ...]:
    """Reads the names of one set of joints.

    A name is split into words at separators, digits and changes of case. These are read as a side:

    - `left` and `right`, as a word or at the start of a word;
    - `l`, `r`, `lt` and `rt`, as a word beside another word with letters;
    - a side that is joined to a word (`lhip`, `LASI`, `eyer`), or a letter before a number (`L5`), only
      if the set has the same name with the other side. `leg`, `rump` and `ear` are therefore not
      changed;
    - `FR`, `FL`, `RR` and `RL` of quadrupeds, if the set has all four. The rear may also be H (hind) or
      B (back). The second letter is the side.

    Args:
        joints: the names of all joints.

    Returns:
        The parsed names, in the same order.
    """
    words = [_words(name) for name in joints]
    found = [_by_words(one) for one in words]
    for i, corner in _corners(joints).items():
        found[i] = corner
    clear = {name for name in found if name.sides}
    unclear = {tuple(one) for one, name in zip(words, found, strict=True) if not name.sides}
    for i, one in enumerate(words):
        if found[i].sides:
            continue
        partners: dict[JointName | tuple[str, ...], JointName] = {}
        for side, rest, other in _grown_together(one):
            name = JointName(_joined(rest), (side,))
            if other in unclear:
                partners[other] = name
            elif name.mirrored in clear and name not in clear:
                partners[name.mirrored] = name
        if len(partners) == 1:
            (found[i],) = partners.values()
    return tuple(found)


def pairs_by_name(
    joints: Sequence[str], settled: Collection[int] = ()
) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
    """Pairs of joints whose names differ in the side only, and the joints without a partner.

    If several joints have the same name in different spellings, pairs have the same spelling: `L_Eye`
    with `R_Eye`, and `eyeL` with `eyeR`.

    Args:
        joints: the names.
        settled: indices of joints that are not to be paired.

    Returns:
        Index pairs (right, left) in the order of the right joints; and the indices of the other joints
        that have a side, because no joint, or several in other spellings, could be their partner.
    """
    names = read_names(tuple(joints))
    count = Counter(names)
    spelled: dict[tuple[JointName, str], int] = {}
    for i, name in enumerate(names):
        single = count[name] == count[name.mirrored] == 1
        spelled[name, "" if single else _spelling(joints[i])] = i
    pairs = tuple(
        (i, j)
        for (name, spelling), i in spelled.items()
        if name.side == "right"
        if (j := spelled.get((name.mirrored, spelling))) is not None and not {i, j} & set(settled)
    )
    done = {*settled, *chain.from_iterable(pairs)}
    return pairs, tuple(i for i, name in enumerate(names) if name.sides and i not in done)


def _spelling(name: str) -> str:
    """The name with each side replaced by a mark, so that both joints of a pair give the same."""
    return _EITHER.sub(lambda mark: f"<{mark.lastindex}>", name.lower())


def _words(name: str) -> list[str]:
    spaced = re.sub(r"[\W_]+", " ", _SEAMS.sub(" ", name)).casefold()
    return _WHOLE.sub(r"\1 ", spaced).split()


def _by_words(words: Sequence[str]) -> JointName:
    """The name from sides that are words; `left` and `right` have priority over letters."""
    whole = [word in ("left", "right") for word in words]
    if any(whole):
        return _named(words, whole)
    # A letter before a number is no side: L5 is a vertebra.
    letters = [
        word in _MARKS and not after.isdigit()
        for word, after in zip(words, [*words, ""][1:], strict=True)
    ]
    others = (word for word, mark in zip(words, letters, strict=True) if not mark)
    return _named(words, letters if any(map(str.isalpha, others)) else [False] * len(words))


def _corners(joints: Sequence[str]) -> dict[int, JointName]:
    """Names that differ only in the letters of the four corners, such as `FRpaw`, by their indices."""
    met: dict[tuple[str, str], dict[str, int]] = {}
    for i, name in enumerate(joints):
        for mark in _CORNER.finditer(low := name.lower()):
            start = mark.start()
            met.setdefault((low[:start], low[start + 2 :]), {})[mark[1] + mark[2]] = i
    found: dict[int, JointName] = {}
    for (before, after), places in met.items():
        for rear in "rhb":
            four = [end + side for end in ("f", rear) for side in "lr"]
            for corner in four if all(corner in places for corner in four) else ():
                words = [*_words(before), _ENDS[corner[0]], *_words(after)]
                found[places[corner]] = JointName(_joined(words), (_MARKS[corner[1]],))
    return found


def _named(words: Sequence[str], marks: Sequence[bool]) -> JointName:
    rest = [word for word, mark in zip(words, marks, strict=True) if not mark]
    sides = (_MARKS[word] for word, mark in zip(words, marks, strict=True) if mark)
    return JointName(_joined(rest), tuple(sides))


def _grown_together(words: Sequence[str]) -> Iterator[tuple[Side, list[str], tuple[str, ...]]]:
    """All ways to read a side at the start or end of a word: side, other words, mirrored words."""
    for i, word in enumerate(words):
        before, after = words[:i], words[i + 1 :]
        for mark, side in _MARKS.items():
            start, end = word.removeprefix(mark), word.removesuffix(mark)
            for rest, other in ((start, _MIRROR[mark] + start), (end, end + _MIRROR[mark])):
                if rest != word:
                    yield side, [*before, rest, *after], (*before, other, *after)


def _joined(words: Sequence[str]) -> str:
    """The words joined into one, with a separator between two numbers only."""
    return re.sub(r"(?<!\d)_|_(?!\d)", "", "_".join(word for word in words if word))
