"""The hybrid network, the hourglass baseline, and their registry."""

from softgate_ext.models.base import PoseModel
from softgate_ext.models.hybrid import HybridNet
from softgate_ext.models.registry import (
    ModelDefaults,
    create_model,
    list_models,
    model_defaults,
    register_model,
)

__all__ = [
    "HybridNet",
    "ModelDefaults",
    "PoseModel",
    "create_model",
    "list_models",
    "model_defaults",
    "register_model",
]
