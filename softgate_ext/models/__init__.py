"""The pose networks (hybrid, the hourglass baseline, DeepPose) and the registry of their names."""

from softgate_ext.models.base import PoseModel
from softgate_ext.models.deeppose import DeepPose
from softgate_ext.models.hybrid import HybridNet
from softgate_ext.models.registry import (
    ModelDefaults,
    build_model,
    create_model,
    list_models,
    model_defaults,
    register_model,
)
from softgate_ext.pretrained.shipped import list_pretrained

__all__ = [
    "DeepPose",
    "HybridNet",
    "ModelDefaults",
    "PoseModel",
    "build_model",
    "create_model",
    "list_models",
    "list_pretrained",
    "model_defaults",
    "register_model",
]
