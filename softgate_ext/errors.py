"""The one exception that says: the caller's input is wrong, and how."""


class InputError(ValueError):
    """Wrong input; one sentence names the argument, what it got and what it takes."""
