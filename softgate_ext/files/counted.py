"""Counts in messages, with nouns and verbs in the right number."""

import re

_FORMS = re.compile(r"\[(?:([^][|]*)\|)?([^][|]*)\]")


def counted(count: int, words: str) -> str:
    """A count with its words in the singular or plural: "1 person is", "2 people are".

    Args:
        count: the count.
        words: the words. "[singular|plural]" or "[plural ending]" marks what depends on the count, as
            in "[person|people] [is|are] left out" and "picture[s]". Names from users must not be part
            of it, because they may contain brackets.
    """
    return (
        f"{count} {_FORMS.sub(lambda forms: (forms[1] or '') if count == 1 else forms[2], words)}"
    )
