"""Batch norms with an activation of their own."""

from torch import nn

from softgate_ext.nn.norm import has_hooks


def activation_within(norm: nn.Module) -> nn.Module | None:
    """What follows the norm within its own forward; None where the module is no such norm.

    timm's `BatchNormAct2d` is a BatchNorm2d that also drops and activates; its parts decide.
    """
    kind = type(norm)
    if kind.__name__ != "BatchNormAct2d" or not kind.__module__.startswith("timm."):
        return None
    if not isinstance(norm, nn.BatchNorm2d) or type(norm.drop) is not nn.Identity:
        return None
    act = norm.act
    assert isinstance(act, nn.Module)
    return None if any(map(has_hooks, (norm, norm.drop, act))) else act


def relu_within(norm: nn.Module) -> bool | None:
    """Whether the norm ends with a ReLU; None where it is no such norm or ends with another."""
    # timm has a ReLU of its own beside PyTorch's, for arguments that do not concern it.
    return {"ReLU": True, "Identity": False}.get(type(activation_within(norm)).__name__)
