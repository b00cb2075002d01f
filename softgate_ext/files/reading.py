"""JSON that may be damaged."""

import json
from pathlib import Path
from typing import Any

from softgate_ext.errors import InputError


def read_json(path: Path, argument: str | None = None) -> Any:
    """The value stored as JSON in `path`.

    Args:
        path: the file.
        argument: where it was named, for the message.

    Raises:
        InputError: the file is missing, unreadable, or not JSON.
    """
    where = "" if argument is None else f"{argument}: "
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{where}cannot read {path} ({error.strerror}); give a JSON file"
        ) from error
    except (ValueError, RecursionError) as error:  # also UnicodeDecodeError
        raise InputError(f"{where}{path} is not valid JSON ({error}); give a JSON file") from error
