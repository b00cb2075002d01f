"""JSON that may be damaged."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from softgate_ext.errors import InputError, reason


def read_json(path: Path, argument: str | None = None) -> Any:
    """The value stored as JSON in `path`, gzipped where its name ends in .gz.

    Args:
        path: the file.
        argument: where it was named, for the message.

    Raises:
        InputError: the file is missing, unreadable, or not JSON.
    """
    where = "" if argument is None else f"{argument}: "
    try:
        data = path.read_bytes()
        return json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{where}cannot read {path} ({reason(error)}); give a JSON file"
        ) from error
    except (ValueError, RecursionError) as error:  # also UnicodeDecodeError
        raise InputError(f"{where}{path} is not valid JSON ({error}); give a JSON file") from error
