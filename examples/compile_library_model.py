"""Models of torchvision and timm: the compiler backend replaces chains of their steps by the fused ops.

pip install torchvision timm
python examples/compile_library_model.py
"""

import timm
import torch
import torchvision

import softgate_ext

torch.manual_seed(0)
models = {
    "torchvision densenet121": torchvision.models.densenet121(),
    "timm resnetv2_18": timm.create_model("resnetv2_18"),
}
images = torch.randn(2, 3, 128, 128)
for name, model in models.items():
    print(name)
    softgate_ext.explain(model.eval(), images)  # prints what is fused, what is left, and why
    with torch.no_grad():
        expected = model(images)
        compiled = torch.compile(model, backend="softgate")
        print(f"compiled: differs by {(compiled(images) - expected).abs().max():.1e}")
        # For inference on a CPU, 3x3 convolutions by Winograd's algorithm besides.
        converted = softgate_ext.convert(model, conv="winograd")
        print(f"converted: differs by {(converted(images) - expected).abs().max():.1e}")
