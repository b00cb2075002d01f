"""The one exception that says: the caller's input is wrong, and how."""


class InputError(ValueError):
    """Wrong input; one sentence names the argument, what it got and what it takes."""


class Elsewhere(InputError):
    """Another process of a training failed; it says why, this one only ends."""
