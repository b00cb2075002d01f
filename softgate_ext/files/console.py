"""Lines and cells for a person at a terminal."""

from rich.console import Console
from rich.text import Text

from softgate_ext.files.printable import printable


def say(console: Console, text: str) -> None:
    """Prints lines as they are: not wrapped, not coloured."""
    console.print(_lines(text), highlight=False, soft_wrap=True, markup=False)


def cell(text: str, style: str = "") -> Text:
    """Text for a table as it is: brackets in it are no markup."""
    return Text(_lines(text), style)


def _lines(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))
