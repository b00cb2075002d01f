"""PCK@0.2 of a run, joint by joint, beside a predictor that ignores the image."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from softgate_ext.data.dataset import PoseDataset
from softgate_ext.data.formats import open_dataset
from softgate_ext.data.join import select_joints, with_joints_of
from softgate_ext.data.poseset import PoseSet
from softgate_ext.engine.checkpoint import load_run
from softgate_ext.engine.config import EvalConfig
from softgate_ext.engine.device import resolve_device
from softgate_ext.engine.files import write_json
from softgate_ext.engine.inference import PoseInference, predict_people
from softgate_ext.errors import InputError
from softgate_ext.pose.codec import HeatmapCodec
from softgate_ext.pose.metrics import PCK, mean_pose, pck, place_pose
from softgate_ext.pose.skeleton import Skeleton, get_skeleton


@dataclass(frozen=True)
class Evaluation:
    """What `softgate evaluate` measures.

    Attributes:
        people: number of people measured.
        left_out: people who are not, since their reference length is not labelled.
        skeleton: their joints.
        network: PCK@0.2 of the network.
        baseline: PCK@0.2 of the mean pose of the training half, put into every crop.
        about: run, epoch, data and how the network was run.
    """

    people: int
    left_out: int
    skeleton: Skeleton
    network: PCK
    baseline: PCK
    about: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The figures as a dictionary that `json` can write."""
        return {
            **self.about,
            "people": self.people,
            "left_out": self.left_out,
            "threshold": self.network.threshold,
            "network": pck_to_json(self.network, self.skeleton),
            "mean_pose": pck_to_json(self.baseline, self.skeleton),
        }

    def table(self) -> Table:
        """The figures for a terminal."""
        table = Table(title=f"PCK@{self.network.threshold} of {self.people} people, in percent")
        table.add_column("joint")
        table.add_column("network", justify="right")
        table.add_column("constant mean pose", justify="right")
        rows = zip(
            self.skeleton.joints, self.network.per_joint, self.baseline.per_joint, strict=True
        )
        for name, ours, constant in rows:
            table.add_row(name.replace("_", " "), f"{ours:.1f}", f"{constant:.1f}")
        table.add_section()
        columns = self.baseline.grouped(self.skeleton)
        for title, ours in self.network.grouped(self.skeleton).items():
            table.add_row(title, f"{ours:.1f}", f"{columns[title]:.1f}")
        notes = []
        if self.left_out:
            notes.append(left_out_words(self.left_out))
        if self.about.get("selected_here"):
            notes.append("these weights were selected by their PCK on people measured here")
        table.caption = "; ".join(notes) or None
        table.add_section()
        for title, key in (("plain mean of joints", "mean"), ("pooled over joints", "pooled")):
            ours, constant = getattr(self.network, key), getattr(self.baseline, key)
            table.add_row(title, f"{ours:.1f}", f"{constant:.1f}", style="bold")
        return table


def pck_to_json(result: PCK, skeleton: Skeleton) -> dict[str, Any]:
    """Percentages: both means, and each joint's (None where nobody has it labelled)."""
    values = (None if np.isnan(value) else round(float(value), 4) for value in result.per_joint)
    return {
        "mean": round(result.mean, 4),
        "pooled": round(result.pooled, 4),
        "per_joint": dict(zip(skeleton.joints, values, strict=True)),
    }


def reference_lengths(people: PoseSet) -> np.ndarray:
    """(N,) pixels, |left shoulder - right hip|, the unit of PCK; NaN where it is not labelled."""
    ends = [people.skeleton.index(name) for name in ("left_shoulder", "right_hip")]
    known = people.labelled[:, ends].all(1)
    diagonal = people.joints[:, ends[0]] - people.joints[:, ends[1]]
    return np.where(known, np.linalg.norm(diagonal, axis=-1), np.nan)


def measurable(people: PoseSet) -> np.ndarray:
    """(N,) bool: whose reference length is known."""
    return np.isfinite(reference_lengths(people))


def left_out_words(count: int) -> str:
    """What is said of people whom PCK leaves out."""
    return f"{count} people left out: left shoulder or right hip, the unit of PCK, not labelled"


def measure(joints: np.ndarray, people: PoseSet) -> PCK:
    """PCK@0.2 of joints (N, J, 2) in source pixels, |left shoulder - right hip| = 1.

    Raises:
        InputError: nobody has both of these labelled.
    """
    counted = measurable(people)
    if not counted.any():
        raise InputError(
            f"data: nobody of {people.name} has both left shoulder and right hip labelled, whose "
            "distance is the unit of PCK"
        )
    length = np.where(counted, reference_lengths(people), 0.0)
    return pck(joints, people.joints, people.labelled & counted[:, None], length, 0.2)


def measure_mean_pose(train: PoseSet, people: PoseSet) -> PCK:
    """PCK@0.2 of the mean pose of `train`, put into the crops of `people`."""
    pose = mean_pose(train.joints, train.labelled, train.centers, train.sizes)
    return measure(place_pose(pose, people.centers, people.sizes), people)


def evaluate(config: EvalConfig) -> Evaluation:
    """Measures a run.

    Raises:
        InputError: the run or the data cannot be used, or do not fit each other.
    """
    if config.batch_size < 1 or config.workers < 0:
        raise InputError("batch_size takes 1 or more and workers 0 or more")
    if config.json is not None:
        _check_target(config.json)
    device = resolve_device(config.device)
    model, run, about = load_run(config.run, config.weights)
    skeleton = get_skeleton(run.skeleton)
    people, train = (open_dataset(config.data, split) for split in (config.split, "train"))
    people = with_joints_of(people, skeleton)
    inference = PoseInference(
        model.to(device),
        HeatmapCodec(run.image_size, run.image_size // 4, run.sigma),
        skeleton,
        config.amp,
        config.flip_test,
        run.training.channels_last,
    )
    baseline = measure_mean_pose(train, people)
    counted = int(measurable(people).sum())
    dataset = PoseDataset(people, run.image_size)
    joints, _ = predict_people(inference, dataset, config.batch_size, config.workers)
    joints = select_joints(joints, skeleton, people.skeleton)
    result = Evaluation(
        people=counted,
        left_out=len(people) - counted,
        skeleton=people.skeleton,
        network=measure(joints, people),
        baseline=baseline,
        about={
            "run": str(config.run),
            "weights": config.weights,
            "epoch": about.get("epoch"),
            "model": run.model["name"],
            "image_size": run.image_size,
            "data": str(config.data),
            "split": config.split,
            "flip_test": config.flip_test,
            "selected_here": config.weights == "best"
            and (config.split == "all" or (config.split == "test") == (run.training.holdout == 0)),
        },
    )
    if config.json is not None:
        write_json(config.json, result.to_json())
    return result


def _check_target(path: Path) -> None:
    """Raises InputError unless the figures can be written to `path`."""
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"json: got {path}; takes a file in a folder that exists")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"json: got {path}; takes a file in a folder that can be written to")
