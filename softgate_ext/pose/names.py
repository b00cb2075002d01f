"""What a joint's name says: which side it is on, and what is left of the name without that."""

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
# Between eye and L, R and Hip, knee and 1; and after a whole word that is written on with.
_SEAMS = re.compile(
    r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])"
)
_EITHER = re.compile(r"(left|right)|([lr]t)|[lr]")
# Of a paw or leg: front or rear (hind, back), and then left or right; others may overlap.
_CORNER = re.compile(r"(?=([frhb])([lr]))")
_ENDS = {"f": "front", "r": "rear", "h": "hind", "b": "back"}
_WHOLE = re.compile(r"\b(left|right)(?=[^\W\d_]{2})")


@dataclass(frozen=True)
class JointName:
    """A joint's name however it is spelled: `R_Hip`, `rightHip` and "hip right" are equal.

    Attributes:
        part: What is left without the sides, lower case and without separators.
        sides: The sides in the order of the name, usually one or none; the first is the joint's
            own ("right eye, left corner").
    """

    part: str
    sides: tuple[Side, ...] = ()

    @property
    def side(self) -> Side | None:
        """The side that the joint is on, None for one in the middle."""
        return self.sides[0] if self.sides else None

    @property
    def mirrored(self) -> "JointName":
        """The name in a mirror image."""
        opposite: dict[Side, Side] = {"left": "right", "right": "left"}
        return JointName(self.part, tuple(opposite[side] for side in self.sides))


@lru_cache
def read_names(joints: tuple[str, ...]) -> tuple[JointName, ...]:
    """What the names of one set of joints say.

    `left` and `right` count as words of their own and at the start of a word, `l`, `r`, `lt` and
    `rt` as words beside others with letters, wherever they are; words end at separators, digits
    and changes of case. What is grown together without any of these (`lhip`, `LASI`, `eyer`), or
    is the letter of a number (`L5`), counts where the set has the same with the other side, so
    that `leg`, `rump` and `ear` stay what they are. `FR`, `FL`, `RR` and `RL` of quadrupeds count
    where a set has all four, also with H (hind) or B (back) as the rear: the second letter is the
    side then.
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
    """Index pairs (right, left) of names that differ in the side alone, and what is left over.

    Where several are called so, those of one spelling are pairs: `L_Eye` with `R_Eye`, and `eyeL`
    beside them with `eyeR`.

    Args:
        joints: The names.
        settled: Indices of joints that are not to be paired.

    Returns:
        The pairs in the order of the right ones; and the other joints with a side, since nothing
        is called as their mirror image, or several are in other spellings.
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
    """The name with the same mark in place of either side: equal for both joints of a pair."""
    return _EITHER.sub(lambda mark: f"<{mark.lastindex}>", name.lower())


def _words(name: str) -> list[str]:
    spaced = re.sub(r"[\W_]+", " ", _SEAMS.sub(" ", name)).casefold()
    return _WHOLE.sub(r"\1 ", spaced).split()


def _by_words(words: Sequence[str]) -> JointName:
    """What words of their own say; whole words count before letters."""
    whole = [word in ("left", "right") for word in words]
    if any(whole):
        return _named(words, whole)
    # Not the letter of a number: L5 is a vertebra.
    letters = [
        word in _MARKS and not after.isdigit()
        for word, after in zip(words, [*words, ""][1:], strict=True)
    ]
    others = (word for word, mark in zip(words, letters, strict=True) if not mark)
    return _named(words, letters if any(map(str.isalpha, others)) else [False] * len(words))


def _corners(joints: Sequence[str]) -> dict[int, JointName]:
    """What the names say that are equal but for the letters of the four corners: `FRpaw`."""
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
    """Ways to see a side at the start or end of a word: side, the rest, words of the mirror."""
    for i, word in enumerate(words):
        before, after = words[:i], words[i + 1 :]
        for mark, side in _MARKS.items():
            start, end = word.removeprefix(mark), word.removesuffix(mark)
            for rest, other in ((start, _MIRROR[mark] + start), (end, end + _MIRROR[mark])):
                if rest != word:
                    yield side, [*before, rest, *after], (*before, other, *after)


def _joined(words: Sequence[str]) -> str:
    """Words as one, but for numbers, which stay apart."""
    return re.sub(r"(?<!\d)_|_(?!\d)", "", "_".join(word for word in words if word))
