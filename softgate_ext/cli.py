"""`softgate train | evaluate | predict | serve | gates | export | info | profile | synth | demo`.

The dataclasses of `engine.config` are the commands; what needs PyTorch is imported by the command
that runs, so that `--help` is quick.
"""

import io
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stderr
from typing import Any

from softgate_ext import command_line
from softgate_ext.engine.config import (
    STDOUT,
    DemoConfig,
    EvalConfig,
    ExportConfig,
    InfoConfig,
    ProfileConfig,
    SynthConfig,
    TrainConfig,
)
from softgate_ext.engine.data_config import DataCacheConfig, DataCheckConfig
from softgate_ext.engine.predict_config import GatesConfig, PredictConfig, ServeConfig
from softgate_ext.errors import Elsewhere, InputError

WRONG = 2  # exit code: wrong input
PARTLY = 3  # exit code: some inputs could not be used, the others were


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; its message says how to go on."""


def _train(config: TrainConfig) -> None:
    from softgate_ext.engine.train import train

    try:
        train(config)
    except KeyboardInterrupt:
        resumable = (config.out / "training.pt").is_file()
        processes = os.environ.get("LOCAL_WORLD_SIZE")
        launcher = f"torchrun --nproc-per-node {processes} -m softgate_ext.cli"
        advice = f"{launcher if processes else 'softgate'} train " + shlex.join(
            [str(config.data), "--out", str(config.out), "--resume"]
        )
        raise Interrupted(
            f"continue from the last whole epoch with: {advice}"
            if resumable
            else "no epoch was finished, so there is nothing to continue"
        ) from None


def _evaluate(config: EvalConfig) -> None:
    from rich.console import Console

    from softgate_ext.engine.evaluate import evaluate, submit

    if config.submission is not None:
        for note in submit(config):
            print(note, file=sys.stderr)  # beside the file's name, which scripts read
        print(config.submission)
        return
    result = evaluate(config)
    if config.json == STDOUT:
        print(json.dumps(result.to_json(), indent=2))
        return
    table = result.details() if config.reference is None else result.table()
    # Figures are never cut to fit: where the terminal is narrow, it wraps the lines.
    console = Console()
    console.width = max(console.width, Console(width=1000).measure(table).maximum)
    console.print(table, soft_wrap=True)


def _predict(config: PredictConfig) -> int:
    from softgate_ext.engine.predict import predict

    outcome = predict(config, tell=_complain)
    if not outcome.frames:
        return WRONG
    for path in outcome.written:
        print(path)
    print(outcome.throughput(), file=sys.stderr)
    return PARTLY if outcome.failed else 0


def _serve(config: ServeConfig) -> None:
    from softgate_ext.page.server import serve

    serve(config)


def _gates(config: GatesConfig) -> None:
    from rich.console import Console

    from softgate_ext.engine.gates import show_gates

    show_gates(config, Console())


def _export(config: ExportConfig) -> None:
    from softgate_ext.engine.export import export_run

    export_run(config)
    print(config.out)


def _data_check(config: DataCheckConfig) -> None:
    from rich.console import Console

    from softgate_ext.engine.data_check import check

    check(config, Console())


def _data_cache(config: DataCacheConfig) -> None:
    from rich.console import Console

    from softgate_ext.engine.data_cache import cache

    cache(config, Console())


def _synth(config: SynthConfig) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from softgate_ext.data.synthetic import draw_people

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("drawing people", total=config.count)
        draw_people(
            config.folder,
            config.count,
            config.seed,
            progress=lambda n: bar.update(task, completed=n),
        )
    print(f"{config.folder}: {config.count} people, the first half to train")


def _profile(config: ProfileConfig) -> None:
    from softgate_ext.models.profile import print_profile

    print_profile(config.models, config.image_size)


def _info(config: InfoConfig) -> None:
    from softgate_ext.models import list_models
    from softgate_ext.ops.backend import info

    facts = {**info(), "models": list_models()}
    if config.json:
        print(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        print(f"{name}:{_words(value)}")


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(f"\n  {key}:{_words(item)}" for key, item in value.items())
    return " " + (", ".join(map(str, value)) if isinstance(value, list) else str(value))


def _demo(config: DemoConfig) -> None:
    from softgate_ext.engine.demo import demo

    demo(config)


def _complain(sentence: str) -> None:
    # One line, though a file's name may hold the end of one.
    print(f"softgate: {' '.join(sentence.splitlines())}", file=sys.stderr)


COMMANDS: dict[str, tuple[type, Callable[[Any], int | None]]] = {
    "train": (TrainConfig, _train),
    "evaluate": (EvalConfig, _evaluate),
    "predict": (PredictConfig, _predict),
    "serve": (ServeConfig, _serve),
    "gates": (GatesConfig, _gates),
    "export": (ExportConfig, _export),
    "info": (InfoConfig, _info),
    "profile": (ProfileConfig, _profile),
    "data check": (DataCheckConfig, _data_check),
    "data cache": (DataCacheConfig, _data_cache),
    "synth": (SynthConfig, _synth),
    "demo": (DemoConfig, _demo),
}


def parse(arguments: Sequence[str]) -> Any:
    """The configuration that a command line stands for; see `command_line.parse`."""
    return command_line.parse(arguments, {name: kind for name, (kind, _) in COMMANDS.items()})


def _out_of_memory(error: Exception) -> bool:
    """PyTorch has a type of its own for a GPU's memory, and none for the processor's."""
    words = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Returns:
        The exit code: 0, 1 when nobody reads the output any more, 2 for wrong input, 3 when some
        of several inputs could not be used, 130 when interrupted.
    """
    # Under torchrun one of the processes talks; an InputError is said by the one that raises it.
    talks = os.environ.get("RANK", "0") == "0"
    try:
        code: int | None = None
        with nullcontext() if talks else redirect_stderr(io.StringIO()):
            config = parse(sys.argv[1:] if arguments is None else arguments)
        for kind, run in COMMANDS.values():
            if type(config) is kind:
                code = run(config)
        sys.stdout.flush()
        return code or 0
    except BrokenPipeError:
        # What is still buffered would fail again, with a traceback, when Python closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Elsewhere:
        return WRONG
    except InputError as error:
        _complain(str(error))
        return WRONG
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        print(
            "softgate: out of memory: take a smaller --model, --image-size or --batch-size",
            file=sys.stderr,
        )
        return WRONG
    except OSError as error:
        if error.filename is None:
            raise
        # A file system has more ways to refuse a name than each command looks for.
        _complain(f"cannot use {error.filename} ({error.strerror}); give a place that can be used")
        return WRONG
    except KeyboardInterrupt as error:
        advice = str(error) or "every file written is complete"
        if talks:
            print(f"softgate: interrupted; {advice}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
