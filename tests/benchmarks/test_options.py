"""The command lines that are made from the parameters of a main function."""

import inspect
import sys
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import conversion, cost, errors, growth, inference, options, step_memory

PROGRAMS = [conversion, cost, errors, growth, inference, step_memory]


def test_these_are_all_programs() -> None:
    folder = Path(options.__file__).parent
    found = {f.stem for f in folder.glob("*.py") if "options.run(main)" in f.read_text("utf-8")}
    assert found == {program.__name__.split(".")[1] for program in PROGRAMS}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_each_option_takes_its_default(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = {k: p.default for k, p in inspect.signature(program.main).parameters.items()}
    words = []
    for name, value in defaults.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", *map(str, value if isinstance(value, tuple) else [value])]
    given = {}

    def main(**arguments: object) -> None:
        given.update(arguments)

    main.__signature__ = inspect.signature(program.main)  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "argv", ["program", *words])
    options.run(main)
    assert {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()} == defaults


def test_a_refusal_is_a_sentence_and_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["conversion.py", "--then", "softgate"])
    with pytest.raises(SystemExit) as end:
        options.run(conversion.main)
    out, err = capsys.readouterr()
    assert end.value.code == 2 and not out
    assert err.startswith("conversion.py: then must be the name of another backend, got 'softgate'")
    assert err.count("\n") == 1
