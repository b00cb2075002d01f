"""Safetensors files with a state_dict, and a JSON description of it in the header."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from softgate_ext.errors import InputError
from softgate_ext.files.atomic import write_bytes
from softgate_ext.files.paths import unusual
from softgate_ext.files.reading import parse_json
from softgate_ext.files.unfolding import check_holes


def save_tensors(path: Path, state: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Writes a state_dict as safetensors, atomically, with `about` as JSON in the header."""
    write_bytes(path, tensor_bytes(state, about))


def tensor_bytes(state: dict[str, Tensor], about: dict[str, Any]) -> bytes:
    """What `save_tensors` writes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    return save(tensors, metadata={"softgate": json.dumps(about)})


def read_tensors(path: Path, argument: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads the tensors of a safetensors file and the description in its header.

    Args:
        path: the file.
        argument: name of the argument that gave it, for the message.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        if what := unusual(path):
            raise OSError(f"it is {what}")
        check_holes(path)
        with safe_open(path, framework="pt") as file:
            about = parse_json((file.metadata() or {}).get("softgate", "{}"))
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{argument}: {path} is not a readable safetensors file ({error}); takes a whole one"
        ) from error
    return stored, about if isinstance(about, dict) else {}
