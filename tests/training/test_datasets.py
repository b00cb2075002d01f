"""Trainings on other datasets than LSP, on several at once, and from cached crops."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from official import coco, point, rect, write_coco, write_flic, write_mpii
from rich.console import Console

from softgate_ext.errors import InputError
from softgate_ext.evaluation.evaluate import evaluate
from softgate_ext.evaluation.evaluate_config import EvalConfig
from softgate_ext.files.reading import read_json
from softgate_ext.pose.skeleton import MPII, get_skeleton
from softgate_ext.runs.config_json import from_json
from softgate_ext.runs.run_config import RunConfig
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.trainer import train

Make = Callable[..., TrainConfig]


@pytest.fixture
def mpii(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    images = []
    for name in ["000000001.jpg", "000000002.jpg", "000000003.jpg", "005808361.jpg"]:
        people = [
            rect([point(j, *random.uniform(20, 80, 2)) for j in range(16)], x=x) for x in (40, 70)
        ]
        images.append((name, people, 1))
    return write_mpii(tmp_path / "mpii", images)


def test_joined_sets_train_and_each_is_measured_by_its_own_joints(
    tiny: Make, people: Path, mpii: Path, tmp_path: Path, quiet: Console
) -> None:
    flic = write_flic(tmp_path / "flic")
    entries = train(tiny(data=mpii, extra=(people, flic), cache=tmp_path / "cache"), quiet)
    assert len(entries[-1]["watched"]["per_joint"]) == 16 + 1 + 3  # LSP's neck, FLIC's face
    assert entries[-1]["watched"]["per_joint"]["nose"] is None  # nobody watched has one
    run = from_json(RunConfig, read_json(tmp_path / "run" / "config.json"), "config")
    assert run.skeleton == "mpii+lsp+flic" and run.training.extra == (people, flic)
    assert len(list((tmp_path / "cache").iterdir())) == 2  # to train, and to watch
    for data, joints in ((mpii, 16), (people, 14), (flic, 11)):
        result = evaluate(EvalConfig(run=tmp_path / "run", data=data, device="cpu", workers=0))
        assert len(result.scores["network"].pck.per_joint) == joints


def test_a_run_is_measured_by_the_joints_that_it_knows(run: Path, mpii: Path) -> None:
    result = evaluate(EvalConfig(run=run, data=mpii, device="cpu", workers=0))
    unknown = [MPII.index(name) for name in ("pelvis", "thorax", "upper_neck")]
    assert np.flatnonzero(result.scores["network"].pck.counts == 0).tolist() == unknown


def test_joints_of_ones_own_are_kept_with_the_run(
    tiny: Make, tmp_path: Path, quiet: Console
) -> None:
    names = ["left_shoulder", "right_shoulder", "left_hip", "right_hip", "tail"]
    dolls = coco([{"keypoints": [20, 20, 2, 50, 20, 2, 22, 60, 2, 51, 61, 2, 40, 80, 1]}] * 6)
    dolls["categories"][0].update(keypoints=names, skeleton=[[1, 2], [3, 4], [1, 3], [3, 5]])
    path = write_coco(tmp_path / "dolls" / "annotations" / "dolls.json", dolls)
    with pytest.raises(
        InputError, match="holdout: got 0, but split 'test' of .* takes the number of"
    ):
        train(tiny(data=path), quiet)
    train(tiny(data=path, holdout=2), quiet)
    run = from_json(RunConfig, read_json(tmp_path / "run" / "config.json"), "config")
    skeleton = get_skeleton(run.skeleton)
    assert skeleton.joints == tuple(names) and skeleton.flip_permutation == (1, 0, 3, 2, 4)
    train(tiny(data=path, holdout=2, epochs=3, resume=True), quiet)
    result = evaluate(
        EvalConfig(run=tmp_path / "run", data=path, split="all", device="cpu", workers=0)
    )
    assert result.people == 6


def test_kept_crops_train_to_the_same_weights_however_they_came(
    tiny: Make, tmp_path: Path, quiet: Console
) -> None:
    """Made by this training, or found there; by one worker, or by none."""
    kept = tmp_path / "cache"
    losses = [
        train(tiny(out=tmp_path / name, cache=kept, workers=workers), quiet)[-1]["loss"]
        for name, workers in (("made", 0), ("found", 0), ("worker", 1))
    ]
    assert losses[0] == losses[1] == losses[2]
