"""Joint names, their order, left-right pairs and limbs of each annotation scheme."""

from dataclasses import dataclass

from softgate_ext.errors import InputError


@dataclass(frozen=True)
class Skeleton:
    """The joints of one annotation scheme.

    Attributes:
        name: Name of the scheme, lower case.
        joints: Joint names in file order; "left" and "right" are the person's own.
        flip_pairs: Index pairs (right, left) that change places in a mirrored image.
        limbs: Index pairs (from, to) of the bones, for drawing.
    """

    name: str
    joints: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    limbs: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.joints)

    def index(self, joint: str) -> int:
        """Index of a joint by name."""
        if joint not in self.joints:
            raise InputError(
                f"joint must be one of {', '.join(self.joints)} in skeleton {self.name}, "
                f"got {joint!r}"
            )
        return self.joints.index(joint)

    @property
    def flip_permutation(self) -> tuple[int, ...]:
        """Order of the joints after mirroring: `flipped = joints[list(flip_permutation)]`."""
        order = list(range(len(self.joints)))
        for a, b in self.flip_pairs:
            order[a], order[b] = b, a
        return tuple(order)

    @property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """Joints that published tables print as one column, such as both elbows."""
        columns: dict[str, tuple[int, ...]] = {}
        for title, parts in _COLUMNS:
            members = tuple(
                i
                for i, joint in enumerate(self.joints)
                if joint.split("_", 1)[-1] in parts or joint in parts
            )
            if members:
                columns[title] = members
        return columns


# "Head" in the LSP and MPII tables is the mean of head top and (upper) neck.
_COLUMNS = (
    ("Head", ("head_top", "neck", "upper_neck")),
    ("Shoulder", ("shoulder",)),
    ("Elbow", ("elbow",)),
    ("Wrist", ("wrist",)),
    ("Hip", ("hip",)),
    ("Knee", ("knee",)),
    ("Ankle", ("ankle",)),
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

_SKELETONS = {skeleton.name: skeleton for skeleton in (LSP, MPII)}


def get_skeleton(name: str) -> Skeleton:
    """Skeleton by name.

    Raises:
        InputError: The name is unknown.
    """
    if name not in _SKELETONS:
        raise InputError(f"skeleton must be one of {', '.join(_SKELETONS)}, got {name!r}")
    return _SKELETONS[name]
