"""Poses in many pictures at once with the weights of the package: key points as JSON, and drawings.

python examples/batch_inference.py photo.jpg another.jpg --out poses
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from softgate_ext import PosePredictor
from softgate_ext.pose.draw import draw_pose

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("pictures", nargs="+", type=Path)
parser.add_argument("--out", type=Path, default=Path("poses"))
options = parser.parse_args()

predictor = PosePredictor.from_pretrained("softgate-small", flip_test=True)
pictures = [Image.open(path).convert("RGB") for path in options.pictures]
options.out.mkdir(parents=True, exist_ok=True)
# A picture that comes without boxes shows one person, who fills it; `boxes` names others.
for path, picture, people in zip(options.pictures, pictures, predictor(pictures), strict=True):
    drawn = np.array(picture)
    for person in people:
        surest = int(np.argmax(person.scores))
        print(f"{path.name}: surest of {person.names[surest]}, score {person.scores[surest]:.2f}")
        drawn = draw_pose(drawn, person.joints, person.scores, predictor.skeleton)
    Image.fromarray(drawn).save(options.out / f"{path.stem}.png")
    found = [person.to_json() for person in people]
    (options.out / f"{path.stem}.json").write_text(json.dumps(found, indent=1))
