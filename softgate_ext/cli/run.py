"""`softgate train | evaluate | predict | serve | gates | study | export | info | profile | synth | demo`.

Dataclasses are the commands; what needs PyTorch is imported by the command that runs, so that
`--help` is quick.
"""

import errno
import io
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, TypeGuard

from softgate_ext.cli import command_line
from softgate_ext.cli.results import WRONG, complain, finish
from softgate_ext.cli.tools import InfoConfig, ProfileConfig, SynthConfig
from softgate_ext.commands.data_config import DataCacheConfig, DataCheckConfig
from softgate_ext.commands.demo_config import DemoConfig
from softgate_ext.commands.export_config import ExportConfig
from softgate_ext.commands.gates_config import GatesConfig
from softgate_ext.commands.study_config import StudyConfig
from softgate_ext.errors import Elsewhere, InputError
from softgate_ext.evaluation.evaluate_config import EvalConfig
from softgate_ext.page.serve_config import ServeConfig
from softgate_ext.prediction.predict_config import PredictConfig
from softgate_ext.runs.train_config import TrainConfig

# By name: the words that a command takes, and the function of this package that gets them. It is
# imported when it runs; a number that it returns is the exit code.
Commands = Mapping[str, tuple[type, str]]
COMMANDS: Commands = {
    "train": (TrainConfig, "cli.results:train_run"),
    "evaluate": (EvalConfig, "cli.results:print_figures"),
    "predict": (PredictConfig, "cli.results:print_files"),
    "serve": (ServeConfig, "page.server:serve"),
    "gates": (GatesConfig, "commands.gates:show_gates"),
    "study": (StudyConfig, "commands.study:study"),
    "export": (ExportConfig, "commands.export:export_run"),
    "info": (InfoConfig, "cli.tools:print_info"),
    "profile": (ProfileConfig, "cli.tools:profile"),
    "data check": (DataCheckConfig, "commands.data_check:check"),
    "data cache": (DataCacheConfig, "commands.data_cache:cache"),
    "synth": (SynthConfig, "cli.tools:synthesise"),
    "demo": (DemoConfig, "commands.demo:demo"),
}


def parse(arguments: Sequence[str], commands: Commands = COMMANDS) -> Any:
    """The configuration that a command line stands for; see `command_line.parse`."""
    return command_line.parse(arguments, {name: kind for name, (kind, _) in commands.items()})


def _out_of_files(error: Exception) -> bool:
    """PyTorch has no type of its own for it."""
    return isinstance(error, OSError | RuntimeError) and (
        getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE)
        or "too many open files" in str(error).lower()
    )


def _out_of_memory(error: Exception) -> bool:
    """PyTorch has a type of its own for a GPU's memory, and none for the processor's."""
    words = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


def _worker_ended(error: Exception) -> bool:
    """PyTorch has no type of its own for a process that loads pictures and is killed, or for memory
    that is shared with it."""
    words = ("dataloader worker (pid", "allocate shared memory")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)


def _no_room(error: Exception) -> TypeGuard[OSError]:
    """For streams and for what processes share, which have no name; files are told by who writes them."""
    codes = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
    return isinstance(error, OSError) and error.errno in codes


def main(arguments: Sequence[str] | None = None, commands: Commands = COMMANDS) -> int:
    """Runs a command.

    Args:
        arguments: the words of the command line (default: those of this process).
        commands: which there are.

    Returns:
        The exit code: 0, 1 when nobody reads the output any more, 2 for wrong input, 3 when some
        of several inputs could not be used, 130 when interrupted.
    """
    # Under torchrun one of the processes talks; an InputError is said by the one that raises it.
    talks = os.environ.get("RANK", "0") == "0"
    config = None
    for name in ("stdout", "stderr"):  # a process may be started without them
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be text
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        try:
            config = parse(sys.argv[1:] if arguments is None else arguments, commands)
        except SystemExit:  # help was printed
            sys.stdout.flush()  # now, while an error can be told
            raise
        (where,) = (where for kind, where in commands.values() if kind is type(config))
        module, _, name = where.partition(":")
        code = getattr(import_module(f"softgate_ext.{module}"), name)(config)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        finish(sys.stdout)
        return 1
    except Elsewhere:
        return WRONG
    except InputError as error:
        if talks or config is not None:
            complain(str(error))
        return WRONG
    except (MemoryError, RuntimeError, OSError) as error:
        if _out_of_files(error):
            complain("too many open files: use fewer --workers, or a higher `ulimit -n`")
            return WRONG
        if isinstance(error, OSError) and error.filename is not None:
            # A file system has more ways to refuse a name than each command looks for.
            complain(
                f"cannot use {error.filename} ({error.strerror}); give a place that can be used"
            )
            return WRONG
        if _no_room(error):
            finish(sys.stdout)
            complain(
                f"cannot go on ({error.strerror}): make room where the output goes, in the temporary "
                "folder and in /dev/shm"
            )
            return WRONG
        if _worker_ended(error):
            complain(
                "a worker process was ended, as where memory is short: use fewer --workers, a smaller "
                "--batch-size, or a larger /dev/shm"
            )
            return WRONG
        if not _out_of_memory(error):
            raise
        complain("out of memory: use a smaller --model, --image-size or --batch-size")
        return WRONG
    except KeyboardInterrupt as error:
        advice = str(error) or "every file written is complete"
        if talks:
            complain(f"interrupted; {advice}")
        return 130
