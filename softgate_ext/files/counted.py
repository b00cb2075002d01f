"""Counts in sentences."""

import re

_FORMS = re.compile(r"\[(?:([^][|]*)\|)?([^][|]*)\]")


def counted(count: int, words: str) -> str:
    """A count and what is counted, in the right number: "1 person is", "2 people are".

    Args:
        count: How many.
        words: Where the number changes them, "[singular|plural]" or "[plural ending]", as in
            "[person|people] [is|are] left out" and "picture[s]". Names that a user chose do not
            belong here, since they may hold brackets.
    """
    return (
        f"{count} {_FORMS.sub(lambda forms: (forms[1] or '') if count == 1 else forms[2], words)}"
    )
