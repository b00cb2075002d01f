"""The check that the options of `softgate evaluate` fit together, so that none is silently ignored."""

import dataclasses

from softgate_ext.errors import InputError
from softgate_ext.evaluation.evaluate_config import STDOUT, EvalConfig
from softgate_ext.evaluation.joint_files import ORIGINS
from softgate_ext.files.folders import check_targets
from softgate_ext.ranges import check_ranges

_NETWORK = {
    "weights", "flip_test", "scales", "decoder", "batch_size", "workers", "device", "amp",
}  # fmt: skip
_FIGURES = {
    "split", "train_folder", "test_folder", "allow_outside", "labels", "metric", "oks_sigmas", "json",
    "save_predictions",
}  # fmt: skip


def check(config: EvalConfig) -> None:
    """Checks everything that can be checked without reading a file.

    In `evaluate DATA --predictions FILE` the only folder is moved to `data`.

    Raises:
        InputError: options exclude each other, one is out of range or has no meaning beside the
            others, or an output file cannot be written.
    """
    _check_sources(config)
    if config.reference is not None:
        used = {"labels", "json"}
        mode = "a reference, whose joints and people are those of the file"
    elif config.predictions is not None:
        used, mode = {"origin"} | _FIGURES, "predictions, since no network runs"
    else:
        used, mode = (
            _NETWORK | _FIGURES,
            "a run, which predicts the joints itself and reads no file of joints",
        )
    if config.submission is not None:
        used, mode = used - _FIGURES, "a submission, which measures nothing"
    for item in dataclasses.fields(config):
        given, default = getattr(config, item.name), item.default
        if item.name not in used | _SOURCES and given != default:
            raise InputError(f"{item.name}: got {_words(given)} beside {mode}; leave it out")
    check_ranges(config)
    check_targets(
        json=None if config.json == STDOUT else config.json,
        save_predictions=config.save_predictions,
        submission=config.submission,
    )
    saved = config.save_predictions
    if saved is not None and saved.suffix.lower() not in ORIGINS:
        takes = ", ".join(ORIGINS)
        raise InputError(f"save_predictions: got {saved}; takes a file ending in {takes}")


_SOURCES = {"run", "data", "reference", "predictions", "submission"}


def _check_sources(config: EvalConfig) -> None:
    if config.reference is not None:
        others = (config.run, config.data, config.predictions, config.save_predictions)
        if any(other is not None for other in (*others, config.submission)):
            raise InputError(
                "reference: got it together with a run, data or predictions; give it alone"
            )
    elif config.predictions is not None and config.data is None and config.run is not None:
        config.run, config.data = None, config.run
    elif config.data is None:
        raise InputError(
            "data: got none; give RUN DATA, DATA --predictions FILE or --reference FILE"
        )
    elif (config.run is None) == (config.predictions is None):
        got = "neither" if config.run is None else "both"
        raise InputError(
            f"run and predictions: got {got}; give RUN DATA or DATA --predictions FILE"
        )


def _words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
