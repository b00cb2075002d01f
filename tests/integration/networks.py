"""Small networks for the tests of this folder, with parameters away from their initial values."""

import torch
from torch import Tensor, nn

from softgate_ext.models import create_model
from softgate_ext.nn import SoftGatedBlock


def perturbed(module: nn.Module) -> nn.Module:
    """Norms, statistics and gates at values where a mistake shows."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5, generator=generator)
            elif value.is_floating_point() and value.dim() == 1:
                value.normal_(0.5, 0.2, generator=generator)
    return module


def block(dtype: torch.dtype = torch.float64, **options) -> nn.Module:
    torch.manual_seed(0)
    return perturbed(SoftGatedBlock(8, 8, **options)).to(dtype)


def network(dtype: torch.dtype = torch.float64, name: str = "hybrid_1x32", **options) -> nn.Module:
    """One level and one stack; two stacks have a feedback between them."""
    torch.manual_seed(0)
    kwargs = {"width": 8, "stacks": 1, "depth": 1, "joints": 3, "groups": 1} | options
    return perturbed(create_model(name, **kwargs)).to(dtype)


def features(batch: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    """(batch, 8, 6, 4), for `block`."""
    return torch.randn(
        batch, 8, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(batch)
    ).to(dtype)


def images(batch: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    """(batch, 3, 32, 16), for `network`."""
    return torch.rand(
        batch, 3, 32, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(batch)
    ).to(dtype)


def total(outputs: Tensor | list[Tensor]) -> Tensor:
    """A loss in which every output takes part."""
    outputs = [outputs] if isinstance(outputs, Tensor) else outputs
    return torch.stack([o.float().square().sum() for o in outputs]).sum()


def gradients(module: nn.Module) -> dict[str, Tensor | None]:
    return {name: p.grad for name, p in module.named_parameters()}
