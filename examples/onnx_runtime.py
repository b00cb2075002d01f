"""The shipped network as one ONNX file, with the decoder inside, run without this package or PyTorch.

pip install onnx onnxscript onnxruntime
python examples/onnx_runtime.py photo.jpg --out softgate-small.onnx
"""

import argparse
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from softgate_ext.commands.export import export_program, save_program
from softgate_ext.models import create_model
from softgate_ext.pose.codec import HeatmapCodec

SIZE = 128  # side of the crop in pixels: what these weights were trained on

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("picture", type=Path)
parser.add_argument("--out", type=Path, default=Path("softgate-small.onnx"))
options = parser.parse_args()

network = create_model("hybrid_2x48", pretrained="softgate-small").eval()
program = export_program(network, SIZE, HeatmapCodec(SIZE, SIZE // 4))
save_program(program, options.out)

# From here on numpy, Pillow and ONNX Runtime are enough; a browser does the same with onnxruntime-web.
picture = Image.open(options.picture).convert("RGB").resize((SIZE, SIZE))
images = np.asarray(picture, np.float32).transpose(2, 0, 1)[None] / 255
session = onnxruntime.InferenceSession(options.out)
joints, scores = session.run(None, {"images": images})
print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB")
for (x, y), score in zip(joints[0], scores[0], strict=True):
    print(f"x {x:6.1f}  y {y:6.1f}  score {score:.2f}")
