"""What the page sends to have a picture looked at, told from what somebody else might send.

Gradio answers a request of another form with a traceback in the server's log.
"""

import json
from typing import Any

FUNCTION = 0
"""Number that Gradio gives to the page's only function."""


def is_asked(body: bytes) -> bool:
    """Whether a request's body is of the form that the page sends: one uploaded file, or none."""
    try:
        asked: Any = json.loads(body)
    except (ValueError, RecursionError):
        return False
    if not isinstance(asked, dict) or not isinstance(asked.get("session_hash"), str):
        return False
    number, data = asked.get("fn_index"), asked.get("data")
    if type(number) is not int or number != FUNCTION:
        return False
    return isinstance(data, list) and len(data) == 1 and _is_file(data[0])


def _is_file(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, dict) or value.get("meta") != {"_type": "gradio.FileData"}:
        return False
    # Every text of such a description is one, or is left out.
    texts = [value.get(name) for name in ("path", "url", "orig_name", "mime_type")]
    if not all(text is None or isinstance(text, str) for text in texts):
        return False
    path, size = value.get("path"), value.get("size")
    return isinstance(path, str) and "\0" not in path and (size is None or type(size) is int)
