"""Printing of text with foreign names in it, as lines or table cells, without markup."""

from rich.console import Console
from rich.text import Text

from softgate_ext.files.printable import printable


def say(console: Console, text: str) -> None:
    """Prints lines without wrapping, colours or markup; unprintable characters become "?"."""
    console.print(_lines(text), highlight=False, soft_wrap=True, markup=False)


def cell(text: str, style: str = "") -> Text:
    """Text for a table cell, whose brackets are not read as markup."""
    return Text(_lines(text), style)


def _lines(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))
