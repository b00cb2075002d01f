import json

import pytest

from softgate_ext.errors import InputError
from softgate_ext.pose.skeleton import (
    COCO,
    FLIC,
    LSP,
    MPII,
    Skeleton,
    get_skeleton,
    join_skeletons,
    name_skeleton,
)

EACH = pytest.mark.parametrize(
    "skeleton",
    [LSP, MPII, FLIC, COCO, get_skeleton("coco+flic+mpii+lsp")],
    ids=lambda s: s.name,
)


@EACH
def test_flip_exchanges_left_and_right_and_nothing_else(skeleton: Skeleton) -> None:
    flipped = [skeleton.joints[i] for i in skeleton.flip_permutation]
    swap = {"left": "right", "right": "left"}
    for before, after in zip(skeleton.joints, flipped, strict=True):
        side, _, part = before.partition("_")
        assert after == (f"{swap[side]}_{part}" if side in swap else before)


@EACH
def test_limbs_connect_all_joints(skeleton: Skeleton) -> None:
    reached = {0}
    for _ in skeleton.limbs:
        reached |= {b for a, b in skeleton.limbs if a in reached}
        reached |= {a for a, b in skeleton.limbs if b in reached}
    assert reached == set(range(len(skeleton)))


def test_orders_of_the_two_schemes_agree_where_they_overlap() -> None:
    """LSP 0-5 are MPII 0-5, LSP 6-11 are MPII 10-15, head top is 13 and 9."""
    assert LSP.joints[:6] == MPII.joints[:6]
    assert LSP.joints[6:12] == MPII.joints[10:16]
    assert (LSP.index("head_top"), MPII.index("head_top")) == (13, 9)


def test_groups_hold_the_columns_of_the_published_tables() -> None:
    assert list(LSP.groups) == ["Head", "Sho", "Elb", "Wri", "Hip", "Kne", "Ank"]
    assert LSP.groups["Head"] == (12, 13)
    assert LSP.groups["Elb"] == (7, 10)
    assert list(MPII.groups) == list(LSP.groups)
    assert MPII.groups["Head"] == (9,)
    left_out = {MPII.joints[i] for i in set(range(16)) - set(sum(MPII.groups.values(), ()))}
    assert left_out == {"pelvis", "thorax", "upper_neck"}
    assert FLIC.groups == {"Sho": (0, 3), "Elb": (1, 4), "Wri": (2, 5), "Hip": (6, 7)}


def test_unknown_names() -> None:
    assert get_skeleton("mpii") is MPII
    with pytest.raises(
        InputError, match=r"skeleton must be one of lsp, mpii, flic, coco, got 'cat'"
    ):
        get_skeleton("lsp+cat")
    with pytest.raises(InputError, match="tail"):
        LSP.index("tail")


def test_a_union_keeps_the_first_ones_order_and_has_each_name_once() -> None:
    both = join_skeletons([LSP, MPII])
    assert both.joints == (*LSP.joints, "pelvis", "thorax", "upper_neck")
    assert both.name == both.stored == "lsp+mpii" and get_skeleton("lsp+mpii") == both
    assert join_skeletons([LSP, LSP]) is LSP
    assert join_skeletons([both, FLIC]) == get_skeleton("lsp+mpii+flic")


def test_own_skeletons_pair_sides_by_name_and_are_stored_whole() -> None:
    own = name_skeleton("cat", ("tail", "left_ear", "right_ear"), [(1, 2)])
    assert own.flip_permutation == (0, 2, 1)
    assert get_skeleton(json.loads(json.dumps(own.stored))) == own
    joined = join_skeletons([own, LSP])
    assert get_skeleton(json.loads(json.dumps(joined.stored))) == joined
    with pytest.raises(InputError, match="one name each, .*, got RightHand, righthand$"):
        name_skeleton("cat", ("RightHand", "tail", "righthand"))
    with pytest.raises(InputError, match="one name each, .*, got none$"):
        name_skeleton("cat", ())
    with pytest.raises(InputError, match="from joint to joint"):
        name_skeleton("cat", ("tail",), [(0, 1)])
    with pytest.raises(InputError, match="not one that was stored"):
        get_skeleton({"name": "cat"})
