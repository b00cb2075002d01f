"""The joints of each annotation scheme: names, order, flip pairs and limbs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from softgate_ext.errors import InputError
from softgate_ext.pose.names import JointName, pairs_by_name, read_names


@dataclass(frozen=True)
class Skeleton:
    """The joints of one annotation scheme.

    Attributes:
        name: name of the scheme, in lower case.
        joints: joint names in the order of the files; "left" and "right" are those of the person.
        flip_pairs: index pairs (right, left) that change places in a mirror image.
        limbs: index pairs (from, to) of the bones, for drawing.
        unpaired: indices of joints that have a side by their names but are in no flip pair. In a mirror
            image they would have no name.
        written: the names before conversion to lower case, because capitals separate words; empty if
            they are the same.
    """

    name: str
    joints: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    limbs: tuple[tuple[int, int], ...]
    unpaired: tuple[int, ...] = ()
    written: tuple[str, ...] = field(default=(), compare=False)

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def names(self) -> tuple[JointName, ...]:
        """The joints' names, parsed independently of their spelling."""
        return read_names(self.written or self.joints)

    def find(self, joint: str | JointName) -> int | None:
        """The index of a joint by name, in any spelling: "left_hip" finds `LHip`.

        Returns:
            The index; None if there is no such joint, or if several have this name in other spellings.
        """
        if isinstance(joint, str) and joint.lower() in self.joints:
            return self.joints.index(joint.lower())
        name = read_names((joint,))[0] if isinstance(joint, str) else joint
        return self.names.index(name) if self.names.count(name) == 1 else None

    def index(self, joint: str) -> int:
        """The index of a joint by name, in any spelling.

        Raises:
            InputError: there is no such joint.
        """
        place = self.find(joint)
        if place is None:
            raise InputError(
                f"joint must be one of {', '.join(self.joints)} in skeleton {self.name}, "
                f"got {joint!r}"
            )
        return place

    def places_in(self, other: "Skeleton") -> list[int | None]:
        """The index of each joint in `other`, by names in any spelling; None if it is missing there."""
        return [
            other.find(joint if joint in other.joints or self.names.count(name) > 1 else name)
            for joint, name in zip(self.joints, self.names, strict=True)
        ]

    @property
    def flip_permutation(self) -> tuple[int, ...]:
        """The order of the joints after mirroring: `flipped = joints[list(flip_permutation)]`.

        Raises:
            InputError: there are unpaired joints.
        """
        if self.unpaired:
            names = ", ".join(self.joints[i] for i in self.unpaired)
            raise InputError(
                f"flip: got {names} of {self.name} without a counterpart on the other side; turn "
                "mirror images off (--flip 0, no --flip-test), or train with --swap, which names the "
                "joints that change places"
            )
        order = list(range(len(self.joints)))
        for a, b in self.flip_pairs:
            order[a], order[b] = b, a
        return tuple(order)

    @property
    def stored(self) -> str | dict[str, Any]:
        """The form from which `get_skeleton` rebuilds it: its name, or a dict if the name is unknown."""
        try:
            known = get_skeleton(self.name) == self
        except InputError:
            known = False
        if known:
            return self.name
        entries = asdict(self)
        return entries if self.written else {k: v for k, v in entries.items() if k != "written"}

    @property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """The joints of each column of the published tables, such as both elbows."""
        columns: dict[str, tuple[int, ...]] = {}
        for title, parts in _COLUMNS:
            members = tuple(i for i, name in enumerate(self.names) if name.part in parts)
            if members:
                columns[title] = members
        return columns


# The titles of the published tables. LSP's "Head" is the mean of head top and neck. MPII's is the head
# top alone in nearly every paper, although the benchmark's own table includes the upper neck.
_COLUMNS = (
    ("Head", ("headtop", "neck")),
    ("Sho", ("shoulder",)),
    ("Elb", ("elbow",)),
    ("Wri", ("wrist",)),
    ("Hip", ("hip",)),
    ("Kne", ("knee",)),
    ("Ank", ("ankle",)),
)

_LEGS = ("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle")
_ARMS = (
    "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
)  # fmt: skip

LSP = Skeleton(
    name="lsp",
    joints=(*_LEGS, *_ARMS, "neck", "head_top"),
    flip_pairs=((0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9)),
    limbs=(
        (0, 1), (1, 2), (3, 4), (4, 5),
        (6, 7), (7, 8), (9, 10), (10, 11),
        (2, 3), (8, 12), (9, 12), (8, 2), (9, 3), (12, 13),
    ),
)  # fmt: skip

MPII = Skeleton(
    name="mpii",
    joints=(*_LEGS, "pelvis", "thorax", "upper_neck", "head_top", *_ARMS),
    flip_pairs=((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)),
    limbs=(
        (0, 1), (1, 2), (3, 4), (4, 5),
        (10, 11), (11, 12), (13, 14), (14, 15),
        (2, 6), (3, 6), (12, 7), (13, 7), (6, 7), (7, 8), (8, 9),
    ),
)  # fmt: skip

FLIC = Skeleton(
    name="flic",
    joints=(
        "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow",
        "right_wrist", "left_hip", "right_hip", "left_eye", "right_eye", "nose",
    ),
    flip_pairs=((3, 0), (4, 1), (5, 2), (7, 6), (9, 8)),
    limbs=((0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (0, 6), (3, 7), (6, 7), (8, 10), (9, 10), (10, 0), (10, 3)),
)  # fmt: skip

COCO = Skeleton(
    name="coco",
    joints=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder",
        "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip",
        "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    flip_pairs=((2, 1), (4, 3), (6, 5), (8, 7), (10, 9), (12, 11), (14, 13), (16, 15)),
    limbs=(
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
        (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    ),
)  # fmt: skip

_SKELETONS = {skeleton.name: skeleton for skeleton in (LSP, MPII, FLIC, COCO)}


def get_skeleton(stored: str | Mapping[str, Any]) -> Skeleton:
    """The skeleton of a name, of names joined by "+" (their union), or of `Skeleton.stored`.

    Raises:
        InputError: the name is unknown, or the stored value is not a skeleton.
    """
    if isinstance(stored, Mapping):
        try:
            joints = tuple(map(str, stored["joints"]))
            pairs, limbs = (
                tuple((int(a), int(b)) for a, b in stored[key]) for key in ("flip_pairs", "limbs")
            )
            if "unpaired" in stored:
                unpaired = tuple(map(int, stored["unpaired"]))
            else:  # stored by an earlier version, which knew one spelling of names only
                more, unpaired = pairs_by_name(joints, [i for pair in pairs for i in pair])
                pairs += more
            written = tuple(map(str, stored.get("written", ())))
            if written and tuple(name.lower() for name in written) != joints:
                raise ValueError("names written otherwise are others")
            return Skeleton(str(stored["name"]), joints, pairs, limbs, unpaired, written)
        except (KeyError, TypeError, ValueError):
            raise InputError(f"skeleton is not one that was stored, got {stored}") from None
    parts = stored.split("+")
    unknown = [name for name in parts if name not in _SKELETONS]
    if unknown:
        raise InputError(f"skeleton must be one of {', '.join(_SKELETONS)}, got {unknown[0]!r}")
    return join_skeletons([_SKELETONS[name] for name in parts])


def join_skeletons(skeletons: Sequence[Skeleton]) -> Skeleton:
    """The union of skeletons by joint names: the joints of the first, then the new ones of each other.

    Names are compared independently of their spelling; the first spelling is kept. A joint without a
    partner in one skeleton may get its partner from another.
    """
    if len(set(skeletons)) == 1:
        return skeletons[0]
    name = "+".join(dict.fromkeys(word for part in skeletons for word in part.name.split("+")))
    union = Skeleton(name, (), (), ())
    for part in skeletons:
        own = list(zip(part.joints, part.places_in(union), strict=True))
        added = tuple(joint for joint, place in own if place is None)
        spelled = [
            name
            for name, (_, place) in zip(part.written or part.joints, own, strict=True)
            if place is None
        ]
        union = replace(
            union,
            joints=union.joints + added,
            written=(*(union.written or union.joints), *spelled),
        )
    pairs: list[tuple[int, int]] = []
    limbs: dict[frozenset[int], tuple[int, int]] = {}
    lone: set[int] = set()
    for part in skeletons:
        places = [place for place in part.places_in(union) if place is not None]
        lone |= {places[i] for i in part.unpaired}
        for a, b in part.flip_pairs:
            pair = places[a], places[b]
            if not set(pair) & {i for other in pairs for i in other}:
                pairs.append(pair)
            lone |= set(pair)
        for a, b in part.limbs:
            limbs.setdefault(frozenset((places[a], places[b])), (places[a], places[b]))
    paired = {i for pair in pairs for i in pair}
    more, _ = pairs_by_name(union.written, set(range(len(union))) - (lone - paired))
    flip_pairs = (*pairs, *more)
    lone -= {i for pair in flip_pairs for i in pair}
    written = () if union.written == union.joints else union.written
    alone = tuple(sorted(lone))
    return Skeleton(name, union.joints, flip_pairs, tuple(limbs.values()), alone, written)


def name_skeleton(
    name: str, joints: Sequence[str], limbs: Sequence[tuple[int, int]] = ()
) -> Skeleton:
    """A skeleton whose flip pairs are found from the joints' names, in any usual spelling.

    Args:
        name: name of the scheme.
        joints: the names in their original capitals, which separate words. They are stored in lower
            case.
        limbs: index pairs of the bones.

    Raises:
        InputError: there are no joints, two joints have the same name, or a limb has an invalid index.
    """
    kept = tuple(joint.lower() for joint in joints)
    doubled = [joint for joint, low in zip(joints, kept, strict=True) if kept.count(low) > 1]
    if not kept or doubled:
        raise InputError(
            f"joints of {name} must have one name each, whatever its capitals, got "
            f"{', '.join(doubled) or 'none'}"
        )
    if any(not 0 <= end < len(kept) for limb in limbs for end in limb):
        raise InputError(f"limbs of {name} must lead from joint to joint, got {list(limbs)}")
    pairs, unpaired = pairs_by_name(joints)
    written = () if kept == tuple(joints) else tuple(joints)
    return Skeleton(name, kept, pairs, tuple((a, b) for a, b in limbs), unpaired, written)
