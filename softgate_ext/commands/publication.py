"""Weights of a run as part of the package: float16, their card, their learning curve, and the page about all."""

import dataclasses
import hashlib
import re
import shlex
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from softgate_ext.commands.publication_config import PublishConfig
from softgate_ext.commands.training_account import (
    SOURCES,
    account_of,
    entries,
    epochs_until,
    portable,
    shorter,
)
from softgate_ext.data.outside import outside
from softgate_ext.errors import InputError
from softgate_ext.evaluation.comparison import Comparison
from softgate_ext.evaluation.evaluate import evaluate
from softgate_ext.evaluation.evaluate_config import EvalConfig
from softgate_ext.figures.curves import learning_curve
from softgate_ext.files.atomic import as_json, replacing_together
from softgate_ext.files.console import say
from softgate_ext.files.tensors import save_tensors, tensor_bytes
from softgate_ext.models import PoseModel
from softgate_ext.pose.skeleton import get_skeleton
from softgate_ext.pretrained import shipped
from softgate_ext.pretrained.model_card import curve_of, model_page
from softgate_ext.ranges import check_ranges
from softgate_ext.runs import places
from softgate_ext.runs.checkpoint import save_config
from softgate_ext.runs.config_json import to_json
from softgate_ext.runs.log import Entry
from softgate_ext.runs.opening import load_run
from softgate_ext.runs.run_config import RunConfig
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.schedule import Budget


def publish(config: PublishConfig, console: Console | None = None) -> dict[str, Any]:
    """Writes weights, card, learning curve and page; returns the card.

    Raises:
        InputError: the run is not finished or cannot be used, its data are not there, or what must
            be known of it is not; then nothing is written.
    """
    check_ranges(config)
    console = console or Console()
    page = SOURCES / "docs" / "models.md"
    if not page.parent.is_dir():
        raise InputError(f"publish: {SOURCES} is no source tree; run it from a clone's own package")
    if not re.fullmatch(r"[a-z0-9]+([-_.][a-z0-9]+)*", config.name):
        raise InputError(
            f"name: got {config.name!r}; takes small letters, digits, and - _ . between them"
        )
    if not config.commit:
        raise InputError("commit: got none; takes the commit that trained the run")
    if not (config.run / places.CONFIG).is_file():
        raise InputError(f"run: got {config.run}; takes the folder that `softgate train` wrote")
    model, run, about = load_run(config.run, config.weights)
    log = _log(config, run.training, about)
    with outside(run.training.allow_outside):
        card = {
            "name": config.name,
            **_network(model, run),
            **account_of(config, config.name, run, log),
        }
    halves = half_precision(model.state_dict())
    # Of what is shipped, and before it is: an evaluation that fails leaves nothing behind.
    with TemporaryDirectory() as staged, outside(run.training.allow_outside):
        save_config(Path(staged), run)
        save_tensors(Path(staged) / places.WEIGHTS["last"], halves, {})
        card["figures"] = _figures(config, run.training, Path(staged), console)
    card["failures"] = list(config.failures)

    path = shipped.weights_file(config.name)
    stored = dataclasses.replace(run, training=portable(run.training, config.name))
    header = {
        "config": to_json(stored),
        "epoch": about.get("epoch"),
        "watched": about.get("watched"),
    }
    weights = tensor_bytes(halves, header)
    card["bytes"], card["sha256"] = len(weights), hashlib.sha256(weights).hexdigest()
    others = {*shipped.list_pretrained()} - {config.name}
    cards = {config.name: card} | {name: shipped.read_card(name) for name in others}
    text = model_page([cards[name] for name in sorted(cards)])
    curve = page.parent / curve_of(config.name)
    curve.parent.mkdir(exist_ok=True)
    written = (path, path.with_suffix(".json"), page, curve)
    # Weights beside the card of others are refused wherever they are read.
    with replacing_together(*written) as (*temporaries, picture):
        for file, data in zip(
            temporaries, (weights, as_json(card).encode(), text.encode()), strict=True
        ):
            file.write_bytes(data)
        learning_curve(log, picture)
    load_run(path)  # what is there serves
    for file in written:
        say(console, str(file))
    return card


def half_precision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state_dict whose floating-point tensors are float16; counters stay as they are.

    A tensor with a value too large for float16, as a running variance may have, is stored as float32.

    Raises:
        InputError: a value is not finite.
    """
    halves = dict(state)
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"run: {name} has values that are not finite; takes other weights")
        if tensor.is_floating_point():
            half = tensor.half()
            halves[name] = half if torch.isfinite(half).all() else tensor.float()
    return halves


def _log(config: PublishConfig, training: TrainConfig, about: dict[str, Any]) -> list[Entry]:
    """The log of the run up to the epoch of the weights."""
    log = entries(config.run)
    if not log:
        raise InputError(f"run: {config.run} has no log; takes a run with its {places.LOG}")
    last = log[-1]
    lengths = (training.epochs, training.minutes, 1, last["elapsed"], training.schedule)
    if Budget(*lengths).progress(last["epoch"]) < 1 and not config.unfinished:
        spent = f"{last['epoch']} epochs and {last['elapsed'] / 60:.1f} minutes"
        raise InputError(
            f"run: the training of {config.run} is not over after {spent}; takes a finished run, or "
            "--unfinished, which the card will say"
        )
    if config.weights == "last" and about.get("epoch") != last["epoch"]:
        raise InputError(
            f"run: the weights are of epoch {about.get('epoch')} and the log ends at epoch "
            f"{last['epoch']}; takes a run that no process writes"
        )
    return epochs_until(config.run, about)


def _network(model: PoseModel, run: RunConfig) -> dict[str, Any]:
    return {
        "model": run.model["name"],
        "parameters": sum(p.numel() for p in model.parameters()),
        "image_size": run.image_size,
        "joints": list(get_skeleton(run.skeleton).joints),
    }


def _figures(
    config: PublishConfig, training: TrainConfig, halves: Path, console: Console
) -> list[dict[str, Any]]:
    """What `softgate evaluate` says of the weights as they are shipped, and of those of the run."""
    found: list[dict[str, Any]] = []
    for data in config.measure or (training.data,):
        joints = halves / "joints.npz"
        asked = EvalConfig(
            halves,
            data,
            batch_size=config.batch_size,
            workers=config.workers,
            save_predictions=joints,
        )
        command = shlex.join(["softgate", "evaluate", config.name, str(shorter(data))])
        plain = _figure(command, evaluate(asked))
        single = dataclasses.replace(
            asked, run=config.run, weights=config.weights, save_predictions=None
        )
        plain["float32"] = round(evaluate(single).scores["network"].main, 2)
        found.append(plain)
        # The sides change what is counted, not what was found.
        sides = evaluate(EvalConfig(None, data, predictions=joints, labels="oc"))
        found.append(_figure(f"{command} --labels oc", sides))
        if config.flip_test:
            flipped = dataclasses.replace(asked, flip_test=True, save_predictions=None)
            found.append(_figure(f"{command} --flip-test", evaluate(flipped)))
    for one in found:
        exact = f" (float32 {one['float32']})" if "float32" in one else ""
        say(console, f"{one['command']}: {one['metric']} {one['figure']}{exact}")
    return found


def _figure(command: str, measured: Comparison) -> dict[str, Any]:
    """What the card keeps of an evaluation."""
    ours, *others = measured.scores.values()
    columns = ours.pck.grouped(measured.protocol.columns)
    return {
        "command": command,
        "metric": measured.protocol.metric,
        "people": measured.people,
        "figure": round(ours.main, 2),
        "mean_pose": round(others[0].main, 2) if others else None,
        "columns": {name: round(value, 2) for name, value in columns.items()},
    }
