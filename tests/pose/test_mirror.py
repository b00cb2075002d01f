"""Pairs of left and right joints that are given beside the names."""

from typing import Any

import pytest

from softgate_ext.errors import InputError
from softgate_ext.pose.mirror import mirror_words, pair_joints, swap_joints
from softgate_ext.pose.skeleton import LSP, name_skeleton

DOLL = name_skeleton("doll", ("nose", "left_eye", "right_eye", "L_Ear", "ohr2", "paw1", "paw2"))


def test_told_pairs_are_beside_those_of_the_names() -> None:
    told = swap_joints(DOLL, ["OHR2", "L_Ear", "paw1", "paw2"])
    assert told.flip_pairs == ((2, 1), (4, 3), (5, 6)) and told.unpaired == ()
    assert told.flip_permutation == (0, 2, 1, 4, 3, 6, 5)
    assert pair_joints(DOLL, [(3, 4), (4, 3), [6, 5]]).flip_permutation == told.flip_permutation
    assert swap_joints(DOLL, ()) == DOLL and swap_joints(LSP, ()).stored == "lsp"


def test_told_pairs_are_of_joints_in_any_spelling() -> None:
    told = swap_joints(DOLL, ["EarL", "OHR_2", "Paw 1", "paw-2"])
    assert told.flip_pairs == ((2, 1), (4, 3), (5, 6))
    twice = name_skeleton("twice", ("l_ear", "ear.l", "ohr"))
    assert swap_joints(twice, ["EAR.L", "ohr"]).flip_pairs == ((2, 1),)
    with pytest.raises(InputError, match="^swap: got Ear-L ohr; takes pairs of joints of twice"):
        swap_joints(twice, ["Ear-L", "ohr"])


def test_told_pairs_count_before_the_names_and_leave_nobody_behind_unsaid() -> None:
    told = swap_joints(DOLL, ["left_eye", "paw1"])
    assert told.flip_pairs == ((5, 1),)
    assert [told.joints[i] for i in told.unpaired] == ["right_eye", "l_ear"]
    alone = swap_joints(DOLL, ["l_ear", "l_ear"])
    assert alone.unpaired == () and alone.flip_permutation == (0, 2, 1, 3, 4, 5, 6)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["paw1"], r"^swap: got paw1; takes pairs of names"),
        (["", "paw1"], r"^swap: got  paw1; takes pairs of joints of doll"),
        (["paw1", "paw3"], r"^swap: got paw1 paw3; takes pairs of joints of doll, which has nose"),
        (["paw1", "paw2", "paw2", "nose"], r"^swap: got paw2 in two pairs; takes each joint once"),
        (["paw1", "paw1", "paw1", "paw2"], r"^swap: got paw1 in two pairs"),
    ],
)
def test_bad_names_are_one_sentence(words: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        swap_joints(DOLL, words)


@pytest.mark.parametrize("pair", [(0, 7), (-1, 0), (0,), (0, 1, 2), 3, (True, 2), (None, 1), {}])
def test_bad_indices_are_one_sentence(pair: Any) -> None:
    with pytest.raises(InputError, match=r"^pairs: got .*; takes pairs of joints of doll"):
        pair_joints(DOLL, [pair])


def test_the_words_name_every_pair() -> None:
    assert mirror_words(DOLL) == (
        "a mirror image exchanges right_eye with left_eye; on one side only: l_ear"
    )
    assert mirror_words(name_skeleton("face", ["1", "2"])) == (
        "no left and right among the joints: a mirror image keeps every name"
    )
    assert mirror_words(name_skeleton("arm", ["LHand"])) == (
        "no joints form a left and right pair; on one side only: lhand"
    )
