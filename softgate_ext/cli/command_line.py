"""From the words of a command line to the dataclass that they stand for."""

import io
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Union

import tyro

from softgate_ext.cli.refusals import Events, listening, refusal
from softgate_ext.errors import InputError
from softgate_ext.files.reading import read_json
from softgate_ext.runs.config_json import from_json
from softgate_ext.runs.run_config import RunConfig
from softgate_ext.runs.train_config import TrainConfig


def parse(arguments: Sequence[str], kinds: Mapping[str, type]) -> Any:
    """The configuration that a command line stands for.

    With `train --resume` the stored configuration of the run takes the place of the defaults.

    Args:
        arguments: the words.
        kinds: dataclasses of the commands by their names; "data check" is the command `check` of
            the group `data`.

    Raises:
        InputError: the run to resume has no valid configuration.
        SystemExit: the command line is wrong, which is said in one sentence, or asked for help.
    """
    resumes = list(arguments[:1]) == ["train"] and "--resume" in arguments
    stored = _stored(arguments) if resumes else None
    events: Events = []
    printed = io.StringIO()
    try:
        with redirect_stderr(printed), listening(events):
            config = tyro.cli(
                _union(kinds, stored),
                prog="softgate",
                description="Soft-gated pose networks: train, evaluate, predict.",
                args=list(arguments),
            )
    except SystemExit as end:
        if end.code in (0, None):
            raise
        sentence = refusal(arguments, kinds, events, printed.getvalue())
        print(f"softgate: {' '.join(sentence.split())}", file=sys.stderr)
        raise SystemExit(2) from None
    if stored is not None and not config.model_options:
        config.model_options = stored.model_options
    return config


def _union(kinds: Mapping[str, type], stored: TrainConfig | None) -> Any:
    """All commands as one type; `stored` holds the defaults of `train`."""
    commands: list[Any] = []
    groups: dict[str, list[Any]] = {}
    for name, kind in kinds.items():
        if " " in name:
            group, _, name = name.partition(" ")
            groups.setdefault(group, []).append(Annotated[kind, tyro.conf.subcommand(name)])
            continue
        about: dict[str, Any] = {}
        if name == "train" and stored is not None:
            # A dictionary that is not empty would turn its option into one for each key.
            about = {"default": replace(stored, model_options={})}
        commands.append(Annotated[kind, tyro.conf.subcommand(name, **about)])
    for group, members in groups.items():
        union: Any = Union[tuple(members)]  # noqa: UP007
        about = {"description": f"Work on a {group}set: one of the commands below."}
        commands.append(Annotated[union, tyro.conf.subcommand(group, **about)])
    return Union[tuple(commands)]  # noqa: UP007


def _stored(arguments: Sequence[str]) -> TrainConfig | None:
    """The training configuration of the run that `--out` names, or None where it names none."""
    for index, word in enumerate(arguments):
        if word == "--out" and index + 1 < len(arguments):
            out = Path(arguments[index + 1])
        elif word.startswith("--out="):
            out = Path(word.removeprefix("--out="))
        else:
            continue
        path = out / "config.json"
        if not path.is_file():
            raise InputError(
                f"resume: {out} holds no run to continue; takes the --out of one, or leave it out"
            )
        stored = from_json(RunConfig, read_json(path), str(path)).training
        stored.out = out
        return stored
    return None
