"""Makes the command line options of a program from the parameters of its main function."""

import argparse
import inspect
from collections.abc import Callable

from softgate_ext.errors import InputError


def run(main: Callable[..., None]) -> None:
    """Calls `main` with the options of the command line. The defaults of `main` give their types.

    Raises:
        SystemExit: with status 2 and one sentence on stderr, where `main` raises InputError or an
            option is invalid.
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
