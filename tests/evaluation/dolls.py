"""A dataset of five people in three images, and predictions for them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError
from softgate_ext.evaluation.joint_files import read_predictions

# Two people in picture 10, two in 11, one in 12; the second of 11 lies within the first.
BOXES = [[10, 10, 20, 60], [60, 10, 20, 60], [10, 10, 90, 70], [30, 20, 30, 40], [5, 5, 40, 60]]
PICTURES = [10, 10, 11, 11, 12]
IDS = [104, 100, 103, 102, 101]
SHUFFLE = [3, 0, 4, 2, 1]


def truth_of(box: list[int]) -> list[list[float]]:
    x, y, w, h = box
    return [[x + w / 2, y], [x, y + h / 2], [x + w, y + h / 2.0]]


TRUTH = np.array([truth_of(box) for box in BOXES])
FOUND = TRUTH + np.arange(5)[:, None, None] / 4  # tells whose they are


def results(**fields: Callable[[int], Any]) -> list[dict[str, Any]]:
    """COCO's results, with further fields by the number of the person."""
    return [
        {
            "image_id": PICTURES[i],
            "category_id": 1,
            "keypoints": np.hstack([FOUND[i], np.ones((3, 1))]).ravel().tolist(),
            "score": 0.9 - i / 10,
            **{name: field(i) for name, field in fields.items()},
        }
        for i in range(5)
    ]


def save(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def refused(path: Path, people: PoseSet, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_predictions(path, people)
    assert "\n" not in str(caught.value)


def kept(path: Path, people: PoseSet, *rows: int) -> tuple[str, ...]:
    """The notes; the joints of these people are found and no others."""
    found = read_predictions(path, people)
    expected = np.full_like(FOUND, np.nan)
    expected[list(rows)] = FOUND[list(rows)]
    np.testing.assert_allclose(found.joints, expected, atol=1e-3)
    return found.notes
