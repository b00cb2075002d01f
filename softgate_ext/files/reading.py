"""JSON that may be damaged."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from softgate_ext.errors import InputError, reason


def parse_json(text: str | bytes) -> Any:
    """The value that a JSON text holds; an integer of more digits than Python reads is infinity.

    One such number is then a fault of its own place, not of the whole text.

    Raises:
        ValueError, RecursionError: It is not JSON.
    """
    try:
        return json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError:  # of `int`: a function of ours for each would slow down all other files
        return json.loads(text, parse_int=_integer)


def _integer(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)


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
        data = path.read_bytes()
        return parse_json(gzip.decompress(data) if path.suffix.lower() == ".gz" else data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{where}cannot read {path} ({reason(error)}); give a JSON file"
        ) from error
    except (ValueError, RecursionError) as error:  # also UnicodeDecodeError
        raise InputError(f"{where}{path} is not valid JSON ({error}); give a JSON file") from error
