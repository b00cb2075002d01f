"""What a run keeps of its training."""

from dataclasses import dataclass
from typing import Any

from softgate_ext.runs.options import STRICT
from softgate_ext.runs.train_config import TrainConfig


@dataclass
class RunConfig:
    """What a run's folder says of its weights: enough to rebuild, feed and decode the network.

    Attributes:
        model: name and keyword arguments for `create_model`.
        skeleton: whose joints the network gives: its name, or all of it where a dataset has
            joints of its own.
        image_size: side of the square crop, pixels.
        sigma: standard deviation of the Gaussian targets, heatmap pixels; of a network that gives
            joints without a meaning.
        box_margin: side of a crop over the longer side of the box around the person's joints,
            the median of the training people; crops around boxes are made to match.
        training: the command that trained it.
    """

    __pydantic_config__ = STRICT

    model: dict[str, Any]
    skeleton: str | dict[str, Any]
    image_size: int
    sigma: float
    box_margin: float
    training: TrainConfig
