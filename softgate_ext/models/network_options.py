"""Checks of the networks' options."""

import math
from collections.abc import Sequence

from softgate_ext.errors import InputError
from softgate_ext.ranges import RANGES, shown

LARGEST = 2**25  # the limit of `check_size`: about 700 million parameters, far above any in use


def check_numbers(**numbers: float) -> None:
    """Raises InputError for the first number that is outside of its range in `RANGES`."""
    for name, value in numbers.items():
        if value not in RANGES[name]:
            raise InputError(f"{name} must be {RANGES[name]}, got {shown(value)}")


def check_size(product: str, size: int) -> None:
    """Raises InputError for a network that is too large for memory.

    Args:
        product: a product of options that the number of parameters is roughly proportional to, as
            text for the message.
        size: the value of that product.
    """
    if size > LARGEST:
        raise InputError(
            f"{product} must be at most {LARGEST}, got {size}; fewer or narrower "
            f"{'stacks' if 'stacks' in product else 'stages'} fit memory"
        )


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises InputError unless the value is one of the choices."""
    if value not in choices:
        raise InputError(f"{name} must be {' or '.join(map(repr, choices))}, got {value!r}")


def check_colours(mean: Sequence[float], std: Sequence[float]) -> None:
    """Raises InputError unless `mean` and `std` are three finite numbers each, `std` positive."""
    for name, values in (("mean", mean), ("std", std)):
        numbers = isinstance(values, Sequence) and all(isinstance(v, int | float) for v in values)
        if not numbers or len(values) != 3 or not all(math.isfinite(v) for v in values):
            raise InputError(f"{name} must be three numbers, got {values!r}")
    if not all(v > 0 for v in std):
        raise InputError(f"std must be three positive numbers, got {std!r}")
