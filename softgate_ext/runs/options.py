"""What the options of several commands share: their types, and how a wrong value is named."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from softgate_ext.errors import InputError

Device = str
Amp = Literal["auto", "off", "bf16"]
T = TypeVar("T")
Positional: TypeAlias = Annotated[T, "positional"]
"""A field that the command line gives without its name."""
STRICT = {"extra": "forbid"}  # pydantic's word for: an entry that is no field is a mistake


@dataclass(frozen=True)
class Alone:
    """In the annotation of a field: what its option without a word stands for.

    Attributes:
        value: the value.
        takes: the words that it takes beside none, for messages.
    """

    value: Any
    takes: str


def require(config: Any, name: str, holds: bool, takes: str) -> None:
    """Raises InputError, naming the option of `config` and its value, unless `holds`."""
    if not holds:
        raise InputError(f"{name}: got {getattr(config, name)}; takes {takes}")
