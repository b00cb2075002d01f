"""The one exception that says: the caller's input is wrong, and how."""


class InputError(ValueError):
    """Wrong input; one sentence names the argument, what it got and what it takes."""


class Elsewhere(InputError):
    """Another process of a training failed; it says why, this one only ends."""


def reason(error: BaseException) -> str:
    """The first line of what an exception says, for a sentence of ours; else its type."""
    text = getattr(error, "strerror", None) or str(error)
    return text.splitlines()[0] if text else type(error).__name__
