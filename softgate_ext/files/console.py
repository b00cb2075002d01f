"""Printing of text with foreign names in it, as lines or table cells, without markup."""

from rich.console import Console
from rich.text import Text

from softgate_ext.files.printable import printable


def say(console: Console, text: str) -> None:
    """Prints lines without wrapping, colours or markup; unprintable characters become "?"."""
    console.print(_lines(text), highlight=False, soft_wrap=True, markup=False)


def cell(text: str) -> Text:
    """Text for a table cell: one line, whose brackets are not read as markup."""
    return Text(printable(text))


def caption(text: str) -> Text:
    """Lines below a table, whose brackets are not read as markup."""
    return Text(_lines(text), "table.caption")


def _lines(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))
