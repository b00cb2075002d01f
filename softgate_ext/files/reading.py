"""JSON that may be damaged or hostile."""

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
    """The value that a JSON text holds; an integer of more digits than Python reads is infinity.

    One such number is then a fault of its own place, not of the whole text.

    Raises:
        ValueError: It is not JSON, or nested more deeply than Python reads.
    """
    try:
        return json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:  # of `int`: a function of ours for each would slow down all other files
        return json.loads(text, parse_int=_integer)


def _integer(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def chunks(path: Path, where: str = "", takes: str = "a JSON file") -> Iterator[bytes]:
    """The bytes of a file from its beginning, gzipped where its name ends in .gz.

    Args:
        path: the file.
        where: put before the message, such as the name of an argument.
        takes: what it must be, for the message.

    Raises:
        InputError: the file is missing, unreadable, no file, or a bomb.
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
    """The value stored as JSON in `path`, gzipped where its name ends in .gz.

    An integer of more digits than Python reads is infinity.

    Args:
        path: the file.
        argument: where it was named, for the message.

    Raises:
        InputError: the file is missing, unreadable, or not JSON.
    """
    where = "" if argument is None else f"{argument}: "
    try:
        return parse_json(b"".join(chunks(path, where)))
    except InputError:
        raise
    except ValueError as error:  # also UnicodeDecodeError
        raise InputError(f"{where}{path} is not valid JSON ({error}); give a JSON file") from error
