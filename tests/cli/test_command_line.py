"""The parser refuses a wrong command line with one sentence, as all other wrong input is refused."""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from softgate_ext import __version__
from softgate_ext.cli.fields import fields_of
from softgate_ext.cli.run import COMMANDS, main, parse
from softgate_ext.commands.data_config import DataCheckConfig
from softgate_ext.evaluation.evaluate_config import STDOUT, EvalConfig

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
    TRAIN + "--resume=yes": "--resume: got yes; takes no word; softgate train --help says more",
    TRAIN + "--no-plots=1": "--plots: got 1; takes no word; softgate train --help says more",
    TRAIN + "--help=1": "-h: got 1; takes no word; softgate train --help says more",
    TRAIN + "-x": "argument: got -x, which softgate train does not take;",
    TRAIN + "--lr=": "--lr: got none; takes FLOAT;",
    TRAIN + "--lr --epochs 3": "--lr: got none; takes FLOAT;",
    "predict run --out o": "images: got 'run', which is neither a run nor a picture; give",
    TRAIN
    + "--model-options width": "--model-options: got width; takes pairs of a name and a value",
    "evaluate run data --box=1": "argument: got --box=1, which softgate evaluate does not take",
    "predict run a.jpg --out o --box=1": "--box: got 1; takes FLOAT FLOAT FLOAT FLOAT",
    "train '' --out run": "data: got none; takes PATH; softgate train --help says more",
    "train data --out=": "--out: got none; takes PATH; softgate train --help says more",
    "train --out run -- --lr 1": "argument: got 1, which softgate train does not take;",
    "train data -- --out run": "argument: got --out, which softgate train does not take;",
    "predict run '' --out o": "images: got none; give pictures, videos,",
    TRAIN + "more": "argument: got more, which softgate train does not take" + HELP.format("train"),
    "train --unheard-of data": "argument: got --unheard-of, which softgate train does not take;",
    "predict run a.jpg --out o --box 1 2 3": "--box: got 1 2 3; takes FLOAT FLOAT FLOAT FLOAT",
    "predict run a.jpg --out o --outputs html": "--outputs: got html; takes csv, json or overlay",
    "evaluate run data --origin 2": "--origin: got 2; takes 0 or 1",
    "evaluate --json a b c": "--json: got a b c; takes at most one file; give it after the other",
    "export run --out x --format tflite": "--format: got tflite; takes aoti, onnx or torch",
}


def refused(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(shlex.split(words)) == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert said.out == "" and line.startswith("softgate: ")
    return line.removeprefix("softgate: ")


@pytest.mark.parametrize("words", REFUSED)
def test_one_sentence(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(words, capsys).startswith(REFUSED[words])


def test_by_subprocess(tmp_path: Any) -> None:
    """On a narrow terminal: the sentence stays one line."""
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


@pytest.mark.parametrize(
    "words", list(permutations(["run", "data", "--flip-test", "--scales=1", "--amp=off"]))
)
def test_options_may_stand_anywhere(words: Sequence[str]) -> None:
    if words.index("run") < words.index("data"):
        expected = EvalConfig(Path("run"), Path("data"), flip_test=True)
        assert parse(["evaluate", *words]) == expected


def test_what_words_stand_for() -> None:
    assert parse(["predict", "--out=o", "run", "--", "-a.jpg"]).images == ("-a.jpg",)
    assert parse(["predict", "--out=o", "--", "-r", "--out", "--"]).images == ("--out", "--")
    assert parse(["train", "--out=o", "--", "-x"]).data == Path("-x")
    told = parse(shlex.split("data check people --sheet None"))
    assert told == DataCheckConfig(Path("people"), sheet=None)
    told = parse(shlex.split("evaluate --reference a.npz --no-flip-test --scales 1 0.5 --json"))
    assert told == EvalConfig(reference=Path("a.npz"), scales=(1.0, 0.5), json=STDOUT)
    assert parse(["train", "d", "--out", "a", "--resume", "--out=b", "--no-resume"]).out == Path(
        "b"
    )
    options = parse(shlex.split(TRAIN + "--model_options a 1 b 1.5 c True d x")).model_options
    assert options == {"a": 1, "b": 1.5, "c": True, "d": "x"}


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="^0$"):
        main(["--version"])
    assert capsys.readouterr().out == f"{__version__}\n"
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "softgate --version" in capsys.readouterr().out


def test_every_option_has_a_word_of_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name, (kind, _) in COMMANDS.items():
        with pytest.raises(SystemExit):
            main([*name.split(), "--help"])
        shown = " ".join(capsys.readouterr().out.split())
        for one in fields_of(kind):
            assert one.help and one.help[:40] in shown and one.flag in shown, (name, one.name)
