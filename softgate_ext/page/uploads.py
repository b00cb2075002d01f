"""Files that visitors upload: each visitor's lie in a folder of its own.

A visitor is known by a cookie that the page sets. The name of the folder follows from it, so that
where a file lies says whose it is.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COOKIE = "softgate"
_VALUE = re.compile(rf"(?:^|;\s*){COOKIE}=([0-9a-f]{{32}})(?:;|$)")
NAME = 100  # characters of an uploaded file's name that are kept


def visitor(headers: Mapping[bytes, bytes]) -> str | None:
    """The visitor who sends a request with these headers, or None of one without our cookie."""
    found = _VALUE.search(headers.get(b"cookie", b"").decode("latin-1"))
    return None if found is None else hashlib.sha256(found[1].encode()).hexdigest()[:32]


def new_cookie() -> str:
    """The header that makes a visitor known from now on."""
    return f"{COOKIE}={secrets.token_hex(16)}; Path=/; HttpOnly; SameSite=Lax"


def owned(path: str, files: Path, who: str | None) -> bool:
    """Whether a path is that of a regular file below `files` that was written for this visitor.

    The path is that of the file itself, without links and without a way around, so that what is
    checked here is what is opened later.
    """
    if who is None or "\0" in path:
        return False
    file, folder = Path(path), files / who
    try:
        whole = str(file) == path and file.is_relative_to(folder) and file.resolve() == file
        return whole and file.is_file()
    except (OSError, ValueError):
        return False


async def save(form: Mapping[str, Any], files: Path, who: str) -> str | None:
    """Writes the one file of a form below the visitor's folder, under a name of its own.

    Returns:
        Where it lies, or None where the form is not of one file.
    """
    upload: Any = form.get("files")
    if len(form) != 1 or not getattr(upload, "filename", None):
        return None
    name = re.sub(r"[^\w.\- ]", "_", upload.filename.replace("\\", "/").split("/")[-1])[-NAME:]
    data = await upload.read()
    folder = files / who / secrets.token_hex(16)
    folder.mkdir(parents=True)
    file = folder / (name if name.strip(". ") else "picture")
    file.write_bytes(data)
    return str(file)
