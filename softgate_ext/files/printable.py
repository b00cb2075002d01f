"""Text from files, such as names, made safe for a terminal."""

import sys
from typing import TextIO
from unicodedata import category

# Unicode categories of control and format characters, surrogates, line and paragraph separators. A
# terminal would execute them, or they cannot be encoded.
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_JOINERS = "\u200c\u200d"  # format characters that are part of words and emojis


def printable(text: str) -> str:
    """The text with "?" in place of control characters and others that are not visible."""
    if text.isprintable():
        return text
    return "".join(
        "?" if category(mark) in _UNSEEN and mark not in _JOINERS else mark for mark in text
    )


def tell(text: object, file: TextIO | None = None) -> None:
    """Prints a line. On a terminal it is made printable; for a pipe or file it is unchanged."""
    out = sys.stdout if file is None else file
    print(printable(str(text)) if out.isatty() else text, file=out, flush=True)


def brief(value: object, most: int = 40) -> str:
    """A name from a file for a message: printable, and cut to `most` characters."""
    text = printable(str(value))
    return text if len(text) <= most else f"{text[:most]}..."
