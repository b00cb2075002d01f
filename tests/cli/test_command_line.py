"""A command line that the parser refuses is one sentence, as any other wrong input is."""

import os
import re
import shlex
import subprocess
import sys
from contextlib import nullcontext
from typing import Any

import pytest

from softgate_ext.cli import command_line
from softgate_ext.cli.refusals import known_options
from softgate_ext.cli.run import COMMANDS, main

HELP = "; softgate {} --help says more"
TRAIN = "train data --out run "
REFUSED = {
    "": "command: got none; takes train, evaluate, ",
    "fly away": "command: got fly; takes train, evaluate, ",
    "--lr 3": "command: got --lr; takes train, evaluate, ",
    "data": "data: got none; takes check or cache",
    "data chekc people": "data: got chekc; takes check or cache",
    "train": "data and --out: got none; takes PATH and PATH" + HELP.format("train"),
    "train data": "--out: got none; takes PATH" + HELP.format("train"),
    "data check": "path: got none; takes PATH" + HELP.format("data check"),
    TRAIN + "--lr": "--lr: got none; takes FLOAT",
    TRAIN + "--lr x": "--lr: got x; takes FLOAT",
    TRAIN + "--lr 0.1 --lr=1e": "--lr: got 1e; takes FLOAT",
    TRAIN + "--batch_size 3.5": "--batch-size: got 3.5; takes INT",
    TRAIN + "--epochs many": "--epochs: got many; takes INT",
    TRAIN + "--schedule linear": "--schedule: got linear; takes cosine, paper or step",
    TRAIN + "--epoch 3": "argument: got --epoch, which softgate train does not take (did you mean "
    "--epochs?)",
    TRAIN + "more": "argument: got more, which softgate train does not take" + HELP.format("train"),
    "train --unheard-of data": "argument: got --unheard-of, which softgate train does not take;",
    "predict run a.jpg --out o --box 1 2 3": "--box: got 1 2 3; takes FLOAT FLOAT FLOAT FLOAT",
    "predict run a.jpg --out o --outputs html": "--outputs: got html; takes csv, json or overlay",
    "evaluate run data --origin 2": "--origin: got 2; takes 0 or 1",
    "evaluate --json a b c": "--json: got a b c; takes at most one file; give it after the other",
    "export run --out x --format tflite": "--format: got tflite; takes aoti, onnx or torch",
}


def refused(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(words))
    assert ended.value.code == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert said.out == "" and line.startswith("softgate: ")
    return line.removeprefix("softgate: ")


@pytest.mark.parametrize("words", REFUSED)
def test_one_sentence(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(words, capsys).startswith(REFUSED[words])


@pytest.mark.parametrize("words", REFUSED)
@pytest.mark.parametrize("events", [[], [object()]], ids=["no hook", "another hook"])
def test_whatever_the_parser_tells_about_it(
    words: str, events: list[Any], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The hook is a private part of the parser: without it, the box that it prints is read."""

    def none(found: list[Any]) -> Any:
        found += events
        return nullcontext()

    monkeypatch.setattr(command_line, "listening", none)
    line = refused(words, capsys)
    assert not set("│╭╰─") & set(line)
    # What is wrong is named, if in the parser's words.
    expected = REFUSED[words].split(": got ")
    named = expected[1].split(";")[0].split(",")[0] if expected[0] == "argument" else expected[0]
    assert named.split(" and ")[-1] in line.lower()


def test_by_subprocess(tmp_path: Any) -> None:
    """On a narrow terminal, where the parser's box has more lines."""
    command = [
        sys.executable,
        "-m",
        "softgate_ext.cli",
        *shlex.split(TRAIN),
        "--schedule",
        "linear",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "COLUMNS": "30"}
    )
    assert (done.returncode, done.stdout) == (2, "")
    expected = "softgate: --schedule: got linear; takes cosine, paper or step"
    assert done.stderr == expected + HELP.format("train") + "\n"


def test_the_options_that_are_known_are_those_of_the_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All of them but the words that are given without a name."""
    option = re.compile(r"^[│ ]*(--[a-z][a-z-]*)(?:, (--no-[a-z-]+))?", re.MULTILINE)
    for name, (kind, _) in COMMANDS.items():
        with pytest.raises(SystemExit):
            main([*name.split(), "--help"])
        shown = {word for pair in option.findall(capsys.readouterr().out) for word in pair if word}
        known = set(known_options(kind))
        assert shown and shown <= known, name
        assert {word for word in known - shown if word.startswith("--no-")} == set(), name
