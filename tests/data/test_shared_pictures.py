"""Test images that nearly repeat a training image."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from softgate_ext.data.poseset import PoseSet
from softgate_ext.data.shared_pictures import near_copies
from softgate_ext.pose.skeleton import LSP


def part(numbers: range) -> PoseSet:
    n = len(numbers)
    return PoseSet(
        name="lsp",
        skeleton=LSP,
        image_paths=[Path(f"images/im{number:04d}.jpg") for number in numbers],
        joints=np.zeros((n, 14, 2), np.float32),
        labelled=np.ones((n, 14), bool),
        visible=np.ones((n, 14), bool),
        centers=np.zeros((n, 2), np.float32),
        sizes=np.ones(n, np.float32),
    )


def test_the_official_lsp_has_five() -> None:
    train, test = part(range(1, 1001)), part(range(1001, 2001))
    names = {test.image_paths[i].stem for i in near_copies(train, test)}
    assert names == {"im1211", "im1233", "im1366", "im1436", "im1622"}


def test_other_parts_have_none_that_is_known() -> None:
    train, test = part(range(1, 1001)), part(range(1001, 2001))
    elsewhere = [Path("images/other.jpg"), *test.image_paths[1:]]
    for one, other in (
        (part(range(1, 1000)), test),
        (train, part(range(1001, 2000))),
        (train, replace(test, image_paths=elsewhere)),
    ):
        assert len(near_copies(one, other)) == 0
