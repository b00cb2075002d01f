"""Shows what a joint's score means and how many pixels a person needs: `python -m benchmarks.joint_scores RUN DATA`.

The first table shows how often joints of a given score are right, for the test people that the training did not
evaluate. The second shows PCK for every fourth test person, whose crop was resized to fewer pixels and back.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from softgate_ext.data.dataset import PoseDataset
from softgate_ext.data.formats import recognise
from softgate_ext.data.join import select_joints
from softgate_ext.data.poseset import PoseSet
from softgate_ext.evaluation.measure import protocol_for, right_joints, score
from softgate_ext.inference.pose_inference import PoseInference, predict_people
from softgate_ext.pose.calibration import Calibration
from softgate_ext.pose.skeleton import get_skeleton
from softgate_ext.runs.opening import load_run

SIDES = (128, 96, 64, 48, 40, 32, 24, 16)


class Reduced(PoseDataset):
    """A dataset whose crops are resized to `side` x `side` pixels and back to their size."""

    side = 0

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item = dict(super().__getitem__(index))
        crop = item["image"].permute(1, 2, 0).numpy()
        if self.side < len(crop):
            small = cv2.resize(crop, (self.side, self.side), interpolation=cv2.INTER_AREA)
            crop = cv2.resize(small, crop.shape[:2], interpolation=cv2.INTER_LINEAR)
            item["image"] = torch.from_numpy(crop).permute(2, 0, 1).contiguous()
        return item


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", help="a run, or the name of shipped weights")
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    model, run, about = load_run(options.run)
    calibration = Calibration.from_json((about.get("watched") or {}).get("calibration"))
    if calibration is None:
        parser.error("run: its weights have no calibration; train it again")
    skeleton = get_skeleton(run.skeleton)
    people = recognise(options.data, "data").read("test", True)
    protocol = protocol_for(people)
    codec = model.codec(run.image_size, run.sigma)
    inference = PoseInference(model, codec, skeleton, channels_last=True, folded=True)

    def found(some: PoseSet, side: int) -> tuple[np.ndarray, np.ndarray]:
        data = Reduced(some, run.image_size)
        data.side = side
        joints, peaks = predict_people(inference, data)
        return tuple(select_joints(part, skeleton, some.skeleton) for part in (joints, peaks))

    watched = np.linspace(0, len(people) - 1, run.training.watch).astype(int)
    others = people.subset(np.setdiff1d(np.arange(len(people)), watched))
    joints, peaks = found(others, run.image_size)
    labelled, correct = right_joints(joints, others, protocol)
    right, scores = correct[labelled], calibration(peaks)[labelled]
    print(f"{len(others)} people, right by {protocol.metric}\n")
    print("| score | joints | mean score | right |\n|---|---|---|---|")
    for low in np.arange(10) / 10:
        inside = (scores >= low) & (scores < low + 0.1)
        if inside.any():
            mean, share = scores[inside].mean(), right[inside].mean()
            print(f"| {low:.1f} to {low + 0.1:.1f} | {inside.sum()} | {mean:.2f} | {share:.2f} |")
    some = people.subset(np.arange(0, len(people), 4))
    print(f"\n{len(some)} people\n\n| side, pixels | {protocol.metric} |\n|---|---|")
    for side in (s for s in SIDES if s <= run.image_size):
        print(f"| {side} | {score(found(some, side)[0], some, protocol).main:.1f} |", flush=True)


if __name__ == "__main__":
    main()
