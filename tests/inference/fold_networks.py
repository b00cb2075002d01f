"""Networks with norms, gates and biases away from their initial values, and the comparison of results."""

import torch
from torch import Tensor, nn

from softgate_ext.models import create_model
from softgate_ext.nn import SoftGatedBlock

NETWORKS = {
    "hybrid": {},
    "add": {"fusion": "add"},
    "hourglass": {"fusion": "add", "gate": "none", "block": "bottleneck", "inner_block": True},
}


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


def network(**options) -> nn.Module:
    """Two small stacks, of images divisible by 16, the same in every test."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = create_model("hybrid_1x32", **{"width": 16, "stacks": 2, "depth": 2} | options)
    return varied(model)


def build(name: str) -> nn.Module:
    """One of `NETWORKS`, or a block: "block" (8 to 16) or "same" (16)."""
    if name in NETWORKS:
        return network(joints=5, **NETWORKS[name])
    return varied(SoftGatedBlock(16 if name == "same" else 8, 16))


def images(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(1), dtype=dtype)


def input_of(model: nn.Module) -> Tensor:
    if isinstance(model, SoftGatedBlock):
        return images(2, model.in_channels, 7, 9) - 0.5
    return images(2, 3, 32, 48)


def results(model: nn.Module, *inputs: Tensor) -> list[Tensor]:
    with torch.no_grad():
        out = model(*inputs)
    out = [out] if isinstance(out, Tensor) else out
    return [t for t in out if t is not None]


def furthest(got: list[Tensor], wanted: list[Tensor]) -> float:
    """The largest difference, as a share of the largest value of its result."""
    pairs = zip(got, wanted, strict=True)
    return max(float((g.double() - w).abs().max() / w.double().abs().max()) for g, w in pairs)
