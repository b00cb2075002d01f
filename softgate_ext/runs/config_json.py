"""Conversion of option dataclasses to JSON and back."""

import dataclasses
import json
from os.path import commonprefix
from typing import Any, TypeVar

from softgate_ext.errors import InputError
from softgate_ext.ranges import check_ranges

T = TypeVar("T")


def to_json(config: Any) -> dict[str, Any]:
    """A dataclass as a dictionary that `json` can write; paths become strings."""
    result: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    return result


def from_json(kind: type[T], stored: Any, source: str) -> T:
    """Builds a dataclass from the dictionary of `to_json`. Missing fields take their defaults.

    Args:
        kind: the dataclass.
        stored: the dictionary.
        source: the file that it was read from, for the message.

    Raises:
        InputError: a field is unknown, missing without a default, of another type or out of its
            range.
    """
    # Imported here, because `--help` must not need pydantic.
    from pydantic import TypeAdapter, ValidationError

    text = json.dumps(stored)
    if "\\u0000" in text:
        raise InputError(f"{source}: holds the character 0, which no name and no path can")
    try:
        found = TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        first, *others = error.errors(include_url=False)
        # For a union of types there is one fault per type, each with a longer location.
        same = [first, *(fault for fault in others if fault["input"] == first["input"])]
        places = [source, ".".join(map(str, commonprefix([fault["loc"] for fault in same])))]
        faults = " or ".join(dict.fromkeys(fault["msg"].lower() for fault in same))
        raise InputError(
            f"{': '.join(filter(None, places))}: got {first['input']!r:.80}; {faults}"
        ) from None
    check_ranges(found, f"{source}: ")
    return found
