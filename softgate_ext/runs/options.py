"""Types of options that several commands share, and a check of their values."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from softgate_ext.errors import InputError

Device = str
Amp = Literal["auto", "off", "bf16"]
T = TypeVar("T")
Positional: TypeAlias = Annotated[T, "positional"]
"""A field that is a positional argument on the command line."""
STRICT = {"extra": "forbid"}  # tells pydantic to refuse unknown entries


@dataclass(frozen=True)
class Alone:
    """An annotation of a field whose option may be given without a value.

    Attributes:
        value: the value that the option then has.
        takes: the values that the option takes, for messages.
    """

    value: Any
    takes: str


def require(config: Any, name: str, holds: bool, takes: str) -> None:
    """Raises InputError, naming the option of `config` and its value, unless `holds`."""
    if not holds:
        raise InputError(f"{name}: got {getattr(config, name)}; takes {takes}")
