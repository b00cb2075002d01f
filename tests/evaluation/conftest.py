"""Datasets with which several of these tests compare predictions."""

from pathlib import Path

import numpy as np
import pytest
from dolls import BOXES, IDS, PICTURES, TRUTH
from official import coco as coco_object
from official import write_coco

from softgate_ext.data.coco import read_coco
from softgate_ext.data.poseset import PoseSet


@pytest.fixture
def dolls(tmp_path: Path) -> Path:
    """Five people in three pictures, in COCO's form."""
    annotations = [
        {
            "id": name,
            "image_id": picture,
            "bbox": box,
            "area": box[2] * box[3],
            "keypoints": np.hstack([joints, np.full((3, 1), 2)]).ravel().tolist(),
        }
        for name, picture, box, joints in zip(IDS, PICTURES, BOXES, TRUTH, strict=True)
    ]
    contents = coco_object(annotations, 3)
    return write_coco(tmp_path / "annotations" / "dolls_val.json", contents)


@pytest.fixture
def doll_set(dolls: Path) -> PoseSet:
    """The five people, read."""
    return read_coco(dolls, "test")
