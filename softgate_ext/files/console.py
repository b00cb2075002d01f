"""Lines for a person at a terminal."""

from rich.console import Console


def say(console: Console, text: str) -> None:
    """Prints a line as it is: not wrapped, not coloured."""
    console.print(text, highlight=False, soft_wrap=True, markup=False)
