"""How `softgate train`, `evaluate` and `predict` end: what they print, and their exit codes."""

import json
import os
import shlex
import sys
from contextlib import suppress
from typing import TextIO

from softgate_ext.evaluation.evaluate_config import STDOUT, EvalConfig
from softgate_ext.files.printable import printable, tell
from softgate_ext.prediction.predict_config import PredictConfig
from softgate_ext.runs.train_config import TrainConfig

WRONG = 2  # exit code: wrong input
PARTLY = 3  # exit code: some inputs could not be used, the others were


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; its message says how to go on."""


def complain(sentence: str) -> None:
    """Says a sentence on stderr, as far as that can be written."""
    # One line, though a file's name may hold the end of one.
    with suppress(OSError):
        print(f"softgate: {printable(' '.join(sentence.splitlines()))}", file=sys.stderr)
    finish(sys.stderr)


def finish(stream: TextIO) -> None:
    """Writes what a stream holds, or drops it, since closing would fail again, with a traceback."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def train_run(config: TrainConfig) -> None:
    """Trains; Ctrl-C ends it with a word on how to go on."""
    from softgate_ext.training.trainer import train

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


def print_figures(config: EvalConfig) -> None:
    """Prints figures as a table or JSON, or the name of a submission."""
    from rich.console import Console

    from softgate_ext.evaluation.evaluate import evaluate, submit

    if config.submission is not None:
        for note in submit(config, complain):
            print(printable(note), file=sys.stderr)  # beside the file's name, which scripts read
        tell(config.submission)
        return
    result = evaluate(config, complain)
    if config.json == STDOUT:
        print(json.dumps(result.to_json(), indent=2))
        return
    table = result.details() if config.reference is None else result.table()
    # Figures are never cut to fit: where the terminal is narrow, it wraps the lines.
    console = Console()
    console.width = max(console.width, Console(width=1000).measure(table).maximum)
    console.print(table, soft_wrap=True)


def print_files(config: PredictConfig) -> int:
    """Prints the files that were written, and how fast."""
    from softgate_ext.prediction.predict import predict

    outcome = predict(config, tell=complain)
    if not outcome.frames:
        return WRONG
    for path in outcome.written:
        tell(path)
    print(outcome.throughput(), file=sys.stderr)
    return PARTLY if outcome.failed else 0
