"""A function's parameters as the options of a program."""

import argparse
import inspect
from collections.abc import Callable

from softgate_ext.errors import InputError


def run(main: Callable[..., None]) -> None:
    """Calls `main` with what the command line says; its defaults tell the types.

    Raises:
        SystemExit: with 2, and one sentence on stderr, for options that `main` does not take.
    """
    parser = argparse.ArgumentParser(
        description=inspect.getdoc(main), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, parameter in inspect.signature(main).parameters.items():
        default, flag = parameter.default, "--" + name.replace("_", "-")
        if isinstance(default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=default)
        elif isinstance(default, tuple):
            parser.add_argument(flag, nargs="*", type=type(default[0]), default=default)
        else:
            parser.add_argument(flag, type=type(default), default=default)
    try:
        main(**vars(parser.parse_args()))
    except InputError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
