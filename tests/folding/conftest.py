"""Networks whose norms, gates and biases matter."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from softgate_ext.models import create_model
from softgate_ext.nn import SoftGatedBlock

Build = Callable[..., nn.Module]


def varied(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, with values away from those that it starts with."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5, generator=generator)
            elif name.endswith(("bias", "alpha", "running_mean")):
                value.normal_(0.0, 0.3, generator=generator)
            elif name.endswith("heatmaps.weight"):
                value.normal_(0.0, 0.1, generator=generator)
    return model.eval()


@pytest.fixture
def build() -> Build:
    """Makes "hybrid", "add", "hourglass" (two small stacks), "block" (8 to 16) or "same" (16)."""

    def make(name: str) -> nn.Module:
        if name in ("block", "same"):
            return varied(SoftGatedBlock(16 if name == "same" else 8, 16))
        options = {"width": 16, "stacks": 2, "depth": 2, "joints": 5}
        if name == "hourglass":
            return varied(create_model("hourglass_1x48", **options))
        fusion = "add" if name == "add" else "concat"
        return varied(create_model("hybrid_1x32", fusion=fusion, **options))

    return make
