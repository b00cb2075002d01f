"""Whether the arguments of `softgate predict` go together, before anything is read."""

import math
from pathlib import Path
from typing import get_args

from softgate_ext.errors import InputError
from softgate_ext.files.folders import check_folder
from softgate_ext.prediction.predict_config import Output, PredictConfig
from softgate_ext.runs.options import require


def check(config: PredictConfig) -> None:
    """Looks at everything that can be told from the arguments alone.

    Raises:
        InputError: they do not go together, or one is out of range.
    """
    if sum((config.box is not None, config.boxes is not None, config.detect)) > 1:
        raise InputError("box, boxes and detect: got more than one; give one of them")
    for name in ("batch_size", "max_frames"):
        value = getattr(config, name)
        require(config, name, value is None or value >= 1, "at least 1")
    require(config, "min_score", math.isfinite(config.min_score), "a finite number")
    kinds = get_args(Output)
    known = bool(config.outputs) and set(config.outputs) <= set(kinds)
    if not known:
        got = " ".join(config.outputs) or "none"
        raise InputError(f"outputs: got {got}; takes one or more of {', '.join(kinds)}")
    if config.detect_score != PredictConfig.detect_score and not config.detect:
        raise InputError(
            f"detect_score: got {config.detect_score:g} without detect, which alone looks at it; "
            "give both, or neither"
        )
    check_folder(config.out)


def check_folders(config: PredictConfig) -> None:
    """Raises InputError where drawings would lie among the pictures of a folder that is read.

    The next prediction of that folder would take them for pictures.
    """
    for word in config.images:
        if Path(word).is_dir() and Path(word).resolve() == config.out.resolve():
            raise InputError(
                f"out: got {config.out}, whose pictures are read; takes another folder, such as "
                f"{config.out / 'poses'}"
            )
