"""The table of ranges, which the command line, configurations and stored files use."""

import dataclasses
import math
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from softgate_ext.cli.fields import fields_of
from softgate_ext.cli.publish import PUBLISH
from softgate_ext.cli.run import COMMANDS, main
from softgate_ext.errors import InputError
from softgate_ext.ranges import RANGES, check_range, check_ranges
from softgate_ext.runs.train_config import TrainConfig

NUMBERS = [
    (command, field)
    for command, (kind, _) in {**COMMANDS, **PUBLISH}.items()
    for field in fields_of(kind)
    if field.kind in (int, float)
]


def test_every_number_of_a_command_has_a_range() -> None:
    for command, field in NUMBERS:
        assert field.name in RANGES, (command, field.name)
        assert RANGES[field.name].whole == (field.kind is int), (command, field.name)
        if field.default not in (None, dataclasses.MISSING):
            assert field.default in RANGES[field.name], (command, field.name)


WORDS = {
    "train": ["absent", "--out", "{out}"],
    "evaluate": ["absent", "absent"],
    "predict": ["absent"],
    "serve": ["absent"],
    "gates": ["absent"],
    "study": ["gates", "absent", "--out", "{out}"],
    "profile": ["hybrid_1x32"],
    "data check": ["absent"],
    "data cache": ["absent", "--cache", "{out}"],
    "synth": ["{out}"],
    "demo": ["--out", "{out}"],
    "publish": ["absent", "name", "--commit", "c"],
}


@pytest.mark.parametrize(("command", "field"), NUMBERS, ids=lambda one: getattr(one, "name", one))
def test_a_number_out_of_its_range_is_one_sentence(
    command: str, field: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = [*command.split(), *(word.format(out=out) for word in WORDS[command])]
    for number in ("-2", str(10**30), *(["nan", "inf"] if field.kind is float else [])):
        if field.name == "min_score" and number == "-2":
            continue
        if field.kind is float and number == str(10**30):
            number = "1e300"
        code = main([*words, field.flag, number], {**COMMANDS, **PUBLISH})
        (line,) = capsys.readouterr().err.splitlines()
        assert code == 2 and f"{field.name}: got " in line and "; takes a " in line, line
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threads", True),
        ("threads", 1.0),
        ("threads", "1"),
        ("threads", None),
        pytest.param("image_size", 10**5000, id="long"),
        ("lr", 0.0),
        pytest.param("lr", 10**400, id="beyond floats"),
        ("warmup", 1.0),
        ("sigma", np.float32("nan")),
        ("flip", np.bool_(True)),
        ("elapsed", math.inf),
    ],
)
def test_what_is_no_number_of_a_range(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"^file: {name}: got .{{1,90}}; takes a "):
        check_range(name, value, "file: ")


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    config = TrainConfig(
        tmp_path, tmp_path, image_size=typing.cast(int, np.int64(64)), lr=np.float32(1e-3)
    )
    check_ranges(config)
