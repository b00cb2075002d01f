"""Loading of a run's network, from the folder of a training or from shipped weights."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from softgate_ext.errors import InputError
from softgate_ext.files.counted import counted
from softgate_ext.files.tensors import read_tensors
from softgate_ext.models import PoseModel
from softgate_ext.models.architecture import check_architecture
from softgate_ext.models.registry import rebuild
from softgate_ext.pretrained.shipped import read_pretrained, sha256
from softgate_ext.runs.checkpoint import load_config
from softgate_ext.runs.config_json import from_json
from softgate_ext.runs.places import CONFIG, WEIGHTS, Which, find_run, is_shipped
from softgate_ext.runs.run_config import RunConfig


def load_run(run: Path | str, which: Which = "last") -> tuple[PoseModel, RunConfig, dict[str, Any]]:
    """Loads the network of a run.

    Args:
        run: a folder or a name, see `find_run`.
        which: which weights of a folder to load. Shipped weights are always "last".

    Returns:
        The network in evaluation mode on the CPU, its configuration, and the description in the header
        of the weights.

    Raises:
        InputError: a file is missing or damaged, or the files do not fit together.
    """
    if which not in WEIGHTS:
        raise InputError(f"weights: got {which!r}; takes {' or '.join(WEIGHTS)}")
    place = find_run(run)
    if is_shipped(place):
        says = source = str(place)
        if which != "last":
            raise InputError(f"weights: got {which}, but {run} has one set of weights; takes last")
        stored, about = read_pretrained(place.stem)
        config = from_json(RunConfig, about["config"], f"{place}: config")
    else:
        says, source = CONFIG, str(place / WEIGHTS[which])
        config = load_config(place)
        stored, about = _weights_in(place, which)
    model = rebuild(config.model, f"{place / CONFIG if says == CONFIG else place}: model")
    model.check_image_size(config.image_size)
    check_architecture(source, stored, model, says)
    model.load_state_dict(stored)
    return model.eval(), config, about


def config_of(run: Path | str) -> RunConfig:
    """The configuration of a run that `load_run` can load.

    Raises:
        InputError: it is missing or damaged.
    """
    place = find_run(run)
    if not is_shipped(place):
        return load_config(place)
    _, about = read_pretrained(place.stem)
    return from_json(RunConfig, about["config"], f"{place}: config")


def _weights_in(run: Path, which: Which) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not (run / WEIGHTS[which]).is_file():
        there = [name for name, file in WEIGHTS.items() if (run / file).is_file()]
        takes = " or ".join(there) or "a run that was trained"
        raise InputError(
            f"weights: got {which}, but there are no weights {run / WEIGHTS[which]}; takes {takes}"
        )
    return read_tensors(run / WEIGHTS[which], "run")


def init_weights(source: Path, model: nn.Module) -> tuple[str, str]:
    """Loads the tensors of a run or safetensors file whose names and shapes fit `model`.

    Args:
        source: the folder or name of a run, see `find_run`, or a file.
        model: the network, which is changed.

    Returns:
        A message that says what was loaded and what was not, and the SHA-256 of the file.

    Raises:
        InputError: the file is missing or damaged, or none of its tensors fits.
    """
    place = find_run(source)
    path = place / WEIGHTS["last"] if place.is_dir() else place
    if not path.is_file():
        raise InputError(f"init: there are no weights {path}; takes a run or a .safetensors file")
    stored, _ = read_pretrained(path.stem) if is_shipped(path) else read_tensors(path, "init")
    own = model.state_dict()
    fitting = {n: t for n, t in stored.items() if n in own and t.shape == own[n].shape}
    learnt = dict(model.named_parameters())
    if not fitting.keys() & learnt.keys():
        raise InputError(f"init: no tensor of {path} has the name and shape of one of the network")
    model.load_state_dict(fitting, strict=False)
    anew = [name for name in own if name not in fitting]
    words = f"{counted(len(fitting), f'tensor[s] of {len(own)}')} from {path}"
    rest = f"; initialised anew: {', '.join(anew)}" if anew else ""
    return words + rest, sha256(path)
