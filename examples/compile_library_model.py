"""A model of a library, whose chains the compiler backend finds and puts the ops in the place of.

pip install timm
python examples/compile_library_model.py
"""

import timm
import torch

import softgate_ext

torch.manual_seed(0)
model = timm.create_model("resnetv2_18").eval()
images = torch.randn(2, 3, 128, 128)

softgate_ext.explain(model, images)  # prints what is fused, what is left, and why
with torch.no_grad():
    expected = model(images)
    compiled = torch.compile(model, backend="softgate")
    print(f"compiled: differs by {(compiled(images) - expected).abs().max():.1e}")
    # For inference on a CPU, 3x3 convolutions by Winograd's algorithm besides.
    converted = softgate_ext.convert(model, conv="winograd")
    print(f"converted: differs by {(converted(images) - expected).abs().max():.1e}")
