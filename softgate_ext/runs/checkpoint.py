"""What a run leaves on the disk, and how it is read back.

    config.json         what the weights are (RunConfig); written with the first epoch
    model.safetensors   the last weights, the ones to use; the header says of which epoch
    best.safetensors    the weights with the highest figure on the people watched during training
    training.pt         all that `--resume` needs: raw weights, optimizer, counters, RNG
    log.jsonl           a line an epoch
    plots.png           the plot sheet, once the training is over
    tensorboard/        event files, with `--tensorboard`

Every file is replaced as a whole and is of use by itself, so a run that is killed at any moment
leaves a folder that predicts and resumes: from training.pt alone, whichever epoch the others hold.
"""

import io
import json
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from softgate_ext.errors import InputError
from softgate_ext.files.atomic import write_bytes, write_json
from softgate_ext.files.counted import counted
from softgate_ext.files.reading import read_json
from softgate_ext.models import PoseModel, create_model
from softgate_ext.runs.config_json import from_json, to_json
from softgate_ext.runs.run_config import RunConfig

CONFIG, STATE, LOG, PLOTS = "config.json", "training.pt", "log.jsonl", "plots.png"
Which = Literal["last", "best"]
WEIGHTS: dict[Which, str] = {"last": "model.safetensors", "best": "best.safetensors"}
FILES = (CONFIG, *WEIGHTS.values(), STATE, LOG, PLOTS)


def save_config(run: Path, config: RunConfig) -> None:
    """Writes the run's configuration."""
    write_json(run / CONFIG, to_json(config))


def load_config(run: Path) -> RunConfig:
    """The configuration of a run.

    Raises:
        InputError: `run` is no folder, or holds no (valid) configuration.
    """
    try:
        there = run.is_dir()
    except OSError as error:
        raise InputError(
            f"run: cannot look into {run} ({error.strerror}); give a folder that `softgate train` "
            "wrote"
        ) from None
    if not there:
        raise InputError(f"run: there is no folder {run}; give one that `softgate train` wrote")
    path = run / CONFIG
    if not path.is_file():
        raise InputError(f"run: {run} holds no {CONFIG}; give a folder that `softgate train` wrote")
    return from_json(RunConfig, read_json(path), str(path))


def save_weights(path: Path, state: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Writes a state_dict as safetensors; `about` goes into the header as JSON."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    write_bytes(path, save(tensors, metadata={"softgate": json.dumps(about)}))


def load_weights(path: Path, model: nn.Module) -> dict[str, Any]:
    """Loads a safetensors file into `model` and returns what its header says of it.

    Raises:
        InputError: the file is missing, damaged, or of another architecture than `model`.
    """
    stored, about = _read_weights(path, "run")
    check_architecture(str(path), stored, model)
    model.load_state_dict(stored)
    return about


def _read_weights(path: Path, argument: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a safetensors file, and what its header says of them."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("softgate", "{}"))
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{argument}: {path} is not a readable safetensors file ({error}); takes a whole one"
        ) from error
    return stored, about if isinstance(about, dict) else {}


def init_weights(source: Path, model: nn.Module) -> str:
    """Loads what fits `model`, by name and shape, from a run's folder or a safetensors file.

    Returns:
        What was taken and what was not, in words.

    Raises:
        InputError: the file is missing or damaged, or nothing of it fits.
    """
    path = source / WEIGHTS["last"] if source.is_dir() else source
    if not path.is_file():
        raise InputError(f"init: there are no weights {path}; takes a run or a .safetensors file")
    stored, _ = _read_weights(path, "init")
    own = model.state_dict()
    fitting = {n: t for n, t in stored.items() if n in own and t.shape == own[n].shape}
    learnt = dict(model.named_parameters())
    if not fitting.keys() & learnt.keys():
        raise InputError(f"init: no tensor of {path} has the name and shape of one of the network")
    model.load_state_dict(fitting, strict=False)
    anew = [name for name in own if name not in fitting]
    words = f"{counted(len(fitting), f'tensor[s] of {len(own)}')} from {path}"
    return f"{words}; anew: {', '.join(anew)}" if anew else words


def check_architecture(source: str, stored: dict[str, Tensor], model: nn.Module) -> None:
    """Raises InputError, with the first difference, unless `stored` is a state_dict of `model`."""
    expected = model.state_dict()
    fault = None
    if missing := [name for name in expected if name not in stored]:
        fault = f"{missing[0]} is missing ({counted(len(missing), f'tensor[s] of {len(expected)} [is|are]')})"
    elif surplus := [name for name in stored if name not in expected]:
        fault = f"{surplus[0]} has no place in it ({counted(len(surplus), f'tensor[s] of {len(stored)} [has|have] none')})"
    else:
        for name, tensor in expected.items():
            if stored[name].shape != tensor.shape:
                got, takes = tuple(stored[name].shape), tuple(tensor.shape)
                fault = f"{name} has the shape {got} where the network has {takes}"
                break
    if fault:
        raise InputError(f"{source} belongs to another architecture than {CONFIG} says: {fault}")


def load_run(run: Path, which: Which = "last") -> tuple[PoseModel, RunConfig, dict[str, Any]]:
    """The network of a run in inference mode on the CPU, its configuration and the header's words.

    Raises:
        InputError: a file is missing, damaged, or does not fit the others.
    """
    if which not in WEIGHTS:
        raise InputError(f"weights: got {which!r}; takes {' or '.join(WEIGHTS)}")
    config = load_config(run)
    if not (run / WEIGHTS[which]).is_file():
        there = [name for name, file in WEIGHTS.items() if (run / file).is_file()]
        takes = " or ".join(there) or "a run that was trained"
        raise InputError(
            f"weights: got {which}, but there are no weights {run / WEIGHTS[which]}; takes {takes}"
        )
    source = f"{run / CONFIG}: model"
    for key, kind in (("name", str), ("kwargs", dict)):
        if key not in config.model:
            raise InputError(f"{source}: {key!r} is missing")
        if not isinstance(config.model[key], kind):
            got = config.model[key]
            raise InputError(f"{source}: {key}: expected {kind.__name__}, got {got!r}")
    try:
        model = create_model(config.model["name"], **config.model["kwargs"])
    except InputError:
        raise
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError(
            f"{source}: no network has the options {config.model['kwargs']}"
        ) from error
    model.check_image_size(config.image_size)
    about = load_weights(run / WEIGHTS[which], model)
    return model.eval(), config, about


def save_state(run: Path, state: dict[str, Any]) -> None:
    """Writes the training state: tensors, numbers, strings, and containers of them."""
    # By way of memory: writing to a file itself, torch.save hides why a disk refuses.
    data = io.BytesIO()
    torch.save(state, data)
    write_bytes(run / STATE, data.getvalue())


def load_state(run: Path) -> dict[str, Any]:
    """The training state of a run; nothing in the file is executed.

    Raises:
        InputError: the file is missing or damaged.
    """
    path = run / STATE
    if not path.is_file():
        raise InputError(f"resume: {run} holds no {STATE}; train without --resume, or give its run")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for damaged files
        raise InputError(
            f"resume: {path} is damaged, not a readable training state; put a copy of it back, or "
            "train into another folder"
        ) from error
    if not isinstance(state, dict):
        raise InputError(f"resume: {path} is not a training state but a {type(state).__name__}")
    return state
