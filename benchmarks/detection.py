"""How many people `--detect` finds: ``python -m benchmarks.detection DATA ...``.

A person is found where a box has its middle within 0.3 of the longer side of the person's box, and a
longer side between half and twice that. The person's box is the one about the labelled joints, 8 %
wider on each side. Boxes of people who are not labelled are not errors, but they are counted.
"""

import argparse
from pathlib import Path

import numpy as np

from softgate_ext.data.formats import open_dataset
from softgate_ext.data.images import read_image
from softgate_ext.data.poseset import PoseSet
from softgate_ext.prediction.detector import MIN_BOX, PersonDetector
from softgate_ext.prediction.person import Box

MARGIN = 0.08


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.detection", description=__doc__)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--split", default="train", help="part of the data")
    parser.add_argument("--every", type=int, default=1, help="take every so many people")
    options = parser.parse_args()
    both = PersonDetector()
    # What each network finds alone, and both together.
    detectors = {"both": both}
    for network in both.networks:
        detectors[type(network).__name__] = alone = PersonDetector()
        alone.networks = [network]
    print("| data | people | " + " | ".join(detectors) + " | boxes a picture |")
    print("|---|---|" + "---|" * (len(detectors) + 1))
    for path in options.data:
        people = open_dataset(path, options.split, argument="data")
        boxes = 0
        found = dict.fromkeys(detectors, 0)
        asked = [
            i for i in range(0, len(people), options.every) if _side(_person(people, i)) >= MIN_BOX
        ]
        for i in asked:
            picture, person = read_image(people.image_paths[i]), _person(people, i)
            for name, detector in detectors.items():
                answer = detector(picture)
                found[name] += any(is_found(box, person) for box, _ in answer)
                boxes += len(answer) * (name == "both")
        shares = " | ".join(f"{100 * count / len(asked):.1f} %" for count in found.values())
        print(f"| {people.name} | {len(asked)} | {shares} | {boxes / len(asked):.2f} |")


def _person(people: PoseSet, i: int) -> Box:
    joints = people.joints[i][people.labelled[i]]
    low, high = joints.min(0), joints.max(0)
    margin = MARGIN * (high - low).max()
    low, high = low - margin, high + margin
    return (float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))


def _side(box: Box) -> float:
    return max(box[2:])


def is_found(box: Box, person: Box) -> bool:
    apart = np.abs(
        np.add(box[:2], np.divide(box[2:], 2)) - np.add(person[:2], np.divide(person[2:], 2))
    )
    return bool(apart.max() <= 0.3 * _side(person)) and 0.5 <= _side(box) / _side(person) <= 2


if __name__ == "__main__":
    main()
