"""Text of files, such as names, for a terminal."""

import sys
from typing import TextIO
from unicodedata import category

# Control and format characters, lone halves of a character, and ends of lines and paragraphs: a
# terminal obeys them, or cannot be sent them.
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_JOINERS = "\u200c\u200d"  # format characters that words and emojis are written with


def printable(text: str) -> str:
    """The text with a "?" for each character that would not be seen but obeyed."""
    if text.isprintable():
        return text
    return "".join(
        "?" if category(mark) in _UNSEEN and mark not in _JOINERS else mark for mark in text
    )


def tell(text: object, file: TextIO | None = None) -> None:
    """Prints a line with the names of files in it: as they are for a program, else printable."""
    out = sys.stdout if file is None else file
    print(printable(str(text)) if out.isatty() else text, file=out, flush=True)


def brief(value: object, most: int = 40) -> str:
    """What a file calls something, for a sentence: printable, and at most so many characters."""
    text = printable(str(value))
    return text if len(text) <= most else f"{text[:most]}..."
