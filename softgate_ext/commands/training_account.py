"""What a card tells of a training: recipe, command, commit, cost and data, and the trainings before it."""

import dataclasses
import shlex
import subprocess
from pathlib import Path
from typing import Any

from softgate_ext.commands.publication_config import PublishConfig
from softgate_ext.data.formats import recognise
from softgate_ext.errors import InputError
from softgate_ext.files.paths import real_path
from softgate_ext.pretrained import shipped
from softgate_ext.pretrained.model_card import LICENCES
from softgate_ext.runs import places
from softgate_ext.runs.config_json import to_json
from softgate_ext.runs.log import Entry, read_log
from softgate_ext.runs.opening import load_run
from softgate_ext.runs.run_config import RunConfig
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.schedule import Budget

SOURCES = Path(__file__).parents[2]  # the source tree, of an installed package that of nothing
_KEPT = (
    "name",
    "command",
    "commit",
    "sha256",
    "epochs",
    "core_hours",
    "data",
    "licence",
)  # of an earlier one
_RECIPE = (
    "epochs", "minutes", "batch_size", "optimizer", "lr", "schedule", "warmup", "weight_decay",
    "ema", "amp", "sigma", "scale", "rotation", "flip", "colour", "seed",
)  # fmt: skip


def account_of(
    config: PublishConfig,
    name: str,
    run: RunConfig,
    log: list[Entry],
    told: frozenset[Path] = frozenset(),
) -> dict[str, Any]:
    """Recipe, command, commit, cost and data of a training, and of those before it.

    Args:
        config: what is published.
        name: what the weights are called.
        run: as it is stored.
        log: up to the epoch of the weights.
        told: runs that are told already; a folder may have been trained from itself.

    Raises:
        InputError: what the card must tell is not known.
    """
    last, training = log[-1], run.training
    training_ = portable(training, name)
    own, before = _data_of(training), _before(config, run, told)
    licences = {one["licence"] for one in (own, *before) if "licence" in one}
    lengths = (training.epochs, training.minutes, 1, last["elapsed"], training.schedule)
    cores = _cores(config, training, last)
    return {
        "recipe": {item: to_json(training_)[item] for item in _RECIPE},
        "command": train_command(training_, last.get("processes", 1)),
        "commit": commit_named(config.commit[min(len(told), len(config.commit) - 1)]),
        "weights": config.weights,
        "epochs": last["epoch"],
        "steps": last["step"],
        "finished": Budget(*lengths).progress(last["epoch"]) >= 1,
        "hours": round(last["elapsed"] / 3600, 2),
        "device": training.device,
        "cores": cores,
        "core_hours": round(cores * last["elapsed"] / 3600, 2),
        "data": own["data"],
        "licence": ", ".join(sorted(licences)),
        "continues": before,
    }


def _data_of(training: TrainConfig) -> dict[str, Any]:
    """The datasets of a training: what they are, whom they have to train on, and their licence."""
    found, licences = [], set()
    for path in (training.data, *training.extra):
        own = path == training.data
        source = recognise(path, "run", training.train_folder if own else None)
        people = len(source.read("train", check_images=False)) - own * training.holdout
        own_terms, weights = LICENCES.get(source.format, ("that of its owner", "that of the data"))
        found.append({"title": source.title, "people": people, "licence": own_terms})
        licences.add(weights)
    return {"data": found, "licence": ", ".join(sorted(licences))}


def _before(config: PublishConfig, after: RunConfig, told: frozenset[Path]) -> list[dict[str, Any]]:
    """The trainings behind the weights that the training of `after` started from, the last one first."""
    start = after.training.init
    if start is None:
        return []
    if not (start.exists() or start.name in shipped.list_pretrained()):
        start = places.find_run(start)
    if real_path(start) in told:
        return []
    if (start / places.CONFIG).is_file():
        _, run, about = load_run(start)
        log = epochs_until(start, about)
        if not log:
            return []  # it was not trained
        account = account_of(config, start.name, run, log, told | {real_path(start)})
        card = {
            "name": start.name,
            "sha256": shipped.sha256(start / places.WEIGHTS["last"]),
            **account,
        }
    else:
        name = start.stem if places.is_shipped(start) else start.name
        if name not in shipped.list_pretrained():
            raise InputError(
                f"run: its training started from {start}, of which the card must tell; takes a run whose "
                "start is a run that is still there, or weights of the package"
            )
        card = shipped.read_card(name)
    found = [{key: card[key] for key in _KEPT if key in card}, *card.get("continues", [])]
    if after.init_sha256 is None:  # a run of an earlier version
        return found
    # The weights there may have been replaced since, by some that continue them.
    digests = [one["sha256"] for one in found]
    if after.init_sha256 not in digests:
        raise InputError(
            f"run: its training started from {start} with the SHA-256 {after.init_sha256[:12]}, of which no "
            "card tells; takes a run whose start is as it was, or is told by a card"
        )
    return found[digests.index(after.init_sha256) :]


def epochs_until(run: Path, about: dict[str, Any]) -> list[Entry]:
    """The log of a run up to the epoch of its weights, whose header is `about`."""
    return [entry for entry in entries(run) if entry["epoch"] <= (about.get("epoch") or 0)]


def entries(run: Path) -> list[Entry]:
    """The log of a run, each epoch of which tells its steps and seconds."""
    log = read_log(run / places.LOG)
    if not all({"step", "elapsed"} <= {*entry} for entry in log):
        raise InputError(
            f"run: the log of {run} does not tell steps and seconds; takes one that does"
        )
    return log


def _cores(config: PublishConfig, training: TrainConfig, last: Entry) -> int:
    """The processor cores that a run was trained on."""
    if config.cores is not None:
        return config.cores
    if training.threads is not None and "processes" in last:
        cores: int = training.threads * last["processes"]
        return cores
    raise InputError(
        "cores: got none, and the run does not say its processes and --threads; takes the "
        "processor cores that trained it"
    )


def commit_named(name: str) -> str:
    """The whole name of a commit of this repository.

    Raises:
        InputError: there is no such commit, or this is no clone.
    """
    words = ["git", "-C", str(SOURCES), "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"commit: got {name!r}; takes a commit of the repository {SOURCES}")
    return done.stdout.strip()


def portable(training: TrainConfig, name: str) -> TrainConfig:
    """The training without places of the machine that did it."""
    values = {f.name: shorter(getattr(training, f.name)) for f in dataclasses.fields(training)}
    return TrainConfig(**{**values, "out": Path("runs") / name})


def shorter(value: Any) -> Any:
    """An absolute path as its last part, anything else as it is."""
    if isinstance(value, tuple):
        return tuple(map(shorter, value))
    return Path(value.name) if isinstance(value, Path) and value.is_absolute() else value


def train_command(training: TrainConfig, processes: int = 1) -> str:
    """The command line of a training, without what is as by default.

    The size of crops, the optimizer and its rate are always there: defaults of older commits differ,
    and the cards' tables read them.
    """
    words = ["softgate"]
    if processes > 1:
        words = ["torchrun", "--nproc-per-node", str(processes), "-m", "softgate_ext.cli"]
    words += ["train", str(training.data), "--out", str(training.out)]
    for item in dataclasses.fields(training):
        value, flag = getattr(training, item.name), f"--{item.name.replace('_', '-')}"
        default = (
            item.default_factory()
            if item.default_factory is not dataclasses.MISSING
            else item.default
        )
        if item.name in ("data", "out"):
            continue
        if value == default and item.name not in ("image_size", "optimizer", "lr"):
            continue
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
            continue
        if isinstance(value, dict):
            value = [word for pair in value.items() for word in pair]
        words += [flag, *map(str, value if isinstance(value, list | tuple) else [value])]
    return shlex.join(words)
