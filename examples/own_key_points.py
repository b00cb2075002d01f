"""Training on your own key points: any object whose points are labelled in COCO's form, not people alone.

    python examples/own_key_points.py work

Draws a few hundred arrows with two points each, `tip` and `tail`, as COCO's JSON, and trains on them by the
same command that trains on people. An annotation tool's export takes the place of what is drawn here.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

work = Path(sys.argv[1])
generator = np.random.default_rng(0)
for part, count in (("train", 300), ("val", 50)):
    folder = work / "arrows" / part
    folder.mkdir(parents=True)
    images, annotations = [], []
    for number in range(count):
        tail, tip = generator.uniform(20, 108, (2, 2))
        picture = Image.new("RGB", (128, 128), tuple(generator.integers(0, 120, 3)))
        draw = ImageDraw.Draw(picture)
        draw.line([*tail, *tip], fill="white", width=4)
        draw.circle(tuple(tip), 7, fill="orange")
        picture.save(folder / f"{number}.png")
        low, high = np.minimum(tail, tip) - 10, np.maximum(tail, tip) + 10
        images.append({"id": number, "file_name": f"{number}.png", "width": 128, "height": 128})
        annotations.append({
            "id": number, "image_id": number, "category_id": 1, "iscrowd": 0,
            "keypoints": [*tip, 2, *tail, 2], "num_keypoints": 2,
            "bbox": [*low, *(high - low)], "area": float(np.prod(high - low)),
        })  # fmt: skip
    category = {"id": 1, "name": "arrow", "keypoints": ["tip", "tail"], "skeleton": [[1, 2]]}
    found = {"images": images, "annotations": annotations, "categories": [category]}
    (folder / "annotations.json").write_text(json.dumps(found))

data, run = str(work / "arrows"), str(work / "run")
softgate = [sys.executable, "-m", "softgate_ext.cli"]
sheet = ["--sheet", str(work / "sheet.png")]
subprocess.run([*softgate, "data", "check", data, *sheet], check=True)
options = ["--model", "hybrid_1x32", "--image-size", "64", "--lr", "2e-3", "--epochs", "4"]
subprocess.run([*softgate, "train", data, "--out", run, *options], check=True)
subprocess.run([*softgate, "evaluate", run, data], check=True)
