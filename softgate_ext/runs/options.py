"""What the options of several commands share: their types, and how a wrong value is named."""

from typing import Any, Literal

from softgate_ext.errors import InputError

Device = str
Amp = Literal["auto", "off", "bf16"]
MOST_PEOPLE = 2**31 - 1  # in a batch; iterators count with machine words


def require(config: Any, name: str, holds: bool, takes: str) -> None:
    """Raises InputError, naming the option of `config` and its value, unless `holds`."""
    if not holds:
        raise InputError(f"{name}: got {getattr(config, name)}; takes {takes}")
