"""The configuration that a run stores, `RunConfig`."""

from dataclasses import dataclass
from typing import Any

from softgate_ext.runs.options import STRICT
from softgate_ext.runs.train_config import TrainConfig


@dataclass
class RunConfig:
    """The configuration of a run: enough to rebuild the network, make its input and decode its output.

    Attributes:
        model: name and keyword arguments for `create_model`.
        skeleton: the skeleton of the network's joints: its name, or the whole skeleton if the dataset
            has joints of its own.
        image_size: side of the square crop, in pixels.
        sigma: standard deviation of the Gaussian targets, in heatmap pixels; not used by a network
            that gives joints.
        box_margin: side of a crop over the longer side of the box around the person's joints, as the
            median of the training samples. Crops around given boxes use the same ratio.
        training: the options of the training.
        init_sha256: SHA-256 of the file that the training started from, since the name in its options may
            stand for other weights later; None for a training from new weights.
    """

    __pydantic_config__ = STRICT

    model: dict[str, Any]
    skeleton: str | dict[str, Any]
    image_size: int
    sigma: float
    box_margin: float
    training: TrainConfig
    init_sha256: str | None = None
