"""Reading of JSON files that may be damaged or hostile."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from softgate_ext.errors import InputError, reason
from softgate_ext.files.paths import unusual
from softgate_ext.files.unfolding import check_holes, check_unfolding

CHUNK = 1 << 20  # bytes


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text. An integer with more digits than Python reads becomes infinity.

    The check of that one value then reports it, and the rest of the text can be used.

    Raises:
        ValueError: the text is not JSON, or is nested more deeply than Python reads.
    """
    try:
        try:
            return json.loads(text)
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise
        except ValueError:  # from `int`; `parse_int` would slow down the reading of all other files
            return json.loads(text, parse_int=_integer)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _integer(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def chunks(path: Path, where: str = "", takes: str = "a JSON file") -> Iterator[bytes]:
    """The bytes of a file in chunks, unpacked if its name ends in .gz.

    Args:
        path: the file.
        where: a text before the message, such as the name of an argument.
        takes: what the file must be, for the message.

    Raises:
        InputError: the file is missing, cannot be read, is no regular file, or is a bomb.
    """
    if what := unusual(path):
        raise InputError(f"{where}{path} is {what}, which is not read; give {takes}")
    zipped = path.suffix.lower() == ".gz"
    try:
        check_holes(path)
        with open(path, "rb") as file, gzip.open(file) if zipped else file as stream:
            size = 0
            while chunk := stream.read(CHUNK):
                size += len(chunk)
                if zipped:
                    check_unfolding("gzip", size, file.tell())
                yield chunk
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{where}cannot read {path} ({reason(error)}); give {takes}") from error


def read_json(path: Path, argument: str | None = None) -> Any:
    """The value of the JSON file `path`, which is unpacked if its name ends in .gz.

    An integer with more digits than Python reads becomes infinity.

    Args:
        path: the file.
        argument: name of the argument that gave it, for the message.

    Raises:
        InputError: the file is missing, cannot be read, or is not JSON.
    """
    where = "" if argument is None else f"{argument}: "
    try:
        return parse_json(b"".join(chunks(path, where)))
    except InputError:
        raise
    except ValueError as error:  # also UnicodeDecodeError
        raise InputError(f"{where}{path} is not valid JSON ({error}); give a JSON file") from error
