"""The command line: `softgate ...`."""

from softgate_ext.cli.run import main

__all__ = ["main"]
