"""The weights that lie in the package, by name; every reading verifies their checksum."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softgate_ext.errors import InputError
from softgate_ext.files.reading import read_json

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = Path(__file__).parent
DEFAULT = "softgate-small"  # what commands use that are told no run


def list_pretrained() -> list[str]:
    """Names of the weights that the package ships, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def weights_file(name: str) -> Path:
    """Where the weights of a name lie, whether or not they are there."""
    return FOLDER / f"{name}.safetensors"


def read_card(name: str) -> dict[str, Any]:
    """The facts of shipped weights: data, recipe, figures; docs/models.md shows them.

    Raises:
        InputError: there are none of that name, or their card is missing or damaged.
    """
    if name not in list_pretrained():
        takes = ", ".join(list_pretrained()) or "none, since this package ships none"
        raise InputError(f"pretrained: there are no weights {name!r}; takes {takes}")
    path = weights_file(name).with_suffix(".json")
    card = read_json(path, "pretrained")
    texts = [card.get(key) for key in ("sha256", "model")] if isinstance(card, dict) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise InputError(f"pretrained: {path} is damaged, not a card of weights; {_AGAIN}")
    assert isinstance(card, dict)
    return card


def read_pretrained(name: str) -> tuple[dict[str, "Tensor"], dict[str, Any]]:
    """The tensors of shipped weights, float16, and what their header says of them.

    Returns:
        A state_dict; `config`, a RunConfig as JSON, and `epoch`.

    Raises:
        InputError: there are none of that name, or they are not those of their card.
    """
    # Here, since who asks for names alone needs no PyTorch.
    from softgate_ext.files.tensors import read_tensors

    card, path = read_card(name), weights_file(name)
    try:
        found = sha256(path)
    except OSError as error:
        raise InputError(f"pretrained: cannot read {path} ({error.strerror}); {_AGAIN}") from error
    if found != card["sha256"]:
        raise InputError(
            f"pretrained: {path} has the SHA-256 {found[:12]}... where its card says "
            f"{card['sha256'][:12]}...; {_AGAIN}"
        )
    tensors, about = read_tensors(path, "pretrained")
    config = about.get("config")
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise InputError(f"pretrained: the header of {path} holds no configuration; {_AGAIN}")
    return tensors, about


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


_AGAIN = "install softgate_ext again"
