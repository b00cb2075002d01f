"""What the page sends to have a picture looked at, told from what somebody else might send.

Gradio answers a request of another form with a traceback in the server's log.
"""

import json
from typing import Any

FUNCTION = 0
"""Number that Gradio gives to the page's only function."""


ASKED = {"data", "fn_index", "session_hash", "event_data", "trigger_id"}
FILE = {"path", "url", "orig_name", "size", "mime_type", "meta"}


def asked_file(body: bytes) -> str | None:
    """The path that a request's body names, an empty one where the page's picture was removed.

    Returns:
        None where the body is not of the form that the page sends: one uploaded file, or none.
    """
    try:
        asked: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(asked, dict) or asked.keys() - ASKED:
        return None
    number, data = asked.get("fn_index"), asked.get("data")
    if type(number) is not int or number != FUNCTION or asked.get("event_data") is not None:
        return None
    if not isinstance(asked.get("session_hash"), str):
        return None
    if not isinstance(data, list) or len(data) != 1:
        return None
    return "" if data[0] is None else _path(data[0])


def _path(value: Any) -> str | None:
    """Of a file's description; None where it has other keys, or is streamed, or has no path."""
    if not isinstance(value, dict) or value.get("meta") != {"_type": "gradio.FileData"}:
        return None
    if value.keys() - FILE - {"is_stream"} or value.get("is_stream", False) is not False:
        return None  # a stream's path would not be checked by the framework
    texts = [value.get(name) for name in ("url", "orig_name", "mime_type")]
    size, path = value.get("size"), value.get("path")
    if not all(text is None or isinstance(text, str) for text in texts):
        return None
    if size is not None and type(size) is not int:
        return None
    return path if isinstance(path, str) and path else None
