"""The exceptions for wrong input, and the short text of an exception for messages."""


class InputError(ValueError):
    """The caller's input is wrong. One sentence names the argument, what it got and what it takes."""


class Elsewhere(InputError):
    """Another process of a distributed training failed. That process reports why; this one exits."""


def reason(error: BaseException) -> str:
    """The first line of an exception's message, or the name of its type if the message is empty."""
    text = getattr(error, "strerror", None) or str(error)
    return text.splitlines()[0] if text else type(error).__name__
