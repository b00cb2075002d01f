"""Dataclasses of options as JSON and back."""

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar

from softgate_ext.errors import InputError

T = TypeVar("T")


def to_json(config: Any) -> dict[str, Any]:
    """A dataclass as a dictionary that `json` can write; paths become strings."""

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value

    result = plain(dataclasses.asdict(config))
    assert isinstance(result, dict)
    return result


def from_json(kind: type[T], stored: Any, source: str) -> T:
    """The dataclass `kind` from what `to_json` made of it; absent fields take their defaults.

    Args:
        kind: a dataclass.
        stored: the dictionary.
        source: where it was read, for the message.

    Raises:
        InputError: a field is unknown, missing without a default, or of another type.
    """
    if not isinstance(stored, dict):
        raise InputError(f"{source}: expected a JSON object, got {type(stored).__name__}")
    hints = typing.get_type_hints(kind)
    known = [item.name for item in dataclasses.fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(set(stored) - set(known))
    if unknown:
        raise InputError(f"{source}: unknown entry {unknown[0]!r}; known are {', '.join(known)}")
    try:
        return kind(**{k: _restore(hints[k], v, f"{source}: {k}") for k, v in stored.items()})
    except TypeError as error:
        raise InputError(f"{source}: an entry is missing ({error})") from error


def _restore(hint: Any, value: Any, source: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _restore(arguments[0], value, source)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        choices = [item for item in arguments if item is not type(None)]
        return _restore(choices[0], value, source) if len(choices) == 1 else value
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value, source)  # type: ignore[arg-type]
    if hint is Path and isinstance(value, str):
        return Path(value)
    if origin is tuple and isinstance(value, list):
        same = len(arguments) == 2 and arguments[1] is Ellipsis
        return tuple(_restore(arguments[0], item, source) if same else item for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is Literal:
        if value in arguments:
            return value
    elif origin is dict:
        if isinstance(value, dict):
            return value
    elif hint is Any or (isinstance(hint, type) and isinstance(value, hint)):
        return value
    raise InputError(f"{source}: expected {_words(hint)}, got {value!r}")


def _words(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    return getattr(hint, "__name__", str(hint))
