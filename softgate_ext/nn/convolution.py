"""How 3x3 convolutions are computed: what the options called `conv` take."""

from typing import Any, Literal, get_args

from softgate_ext.errors import InputError

Conv = Literal["direct", "winograd"]


def check_conv(conv: Any) -> None:
    """Refuses what is no `Conv`.

    Raises:
        InputError: it is none.
    """
    if conv not in get_args(Conv):
        raise InputError(f"conv must be 'direct' or 'winograd', got {conv!r}")
