"""From the words of a command line to the dataclass that they stand for."""

import argparse
import difflib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from softgate_ext._version import __version__
from softgate_ext.cli.fields import Field, fields_of, one_of
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
        InputError: the command line is wrong, or the run to resume has no valid configuration.
        SystemExit: help or the version was asked for, and printed.
    """
    if list(arguments) == ["--version"]:
        print(__version__)
        raise SystemExit(0)
    command = next((n for n in kinds if list(arguments[: len(n.split())]) == n.split()), None)
    if command is None:
        raise InputError(_no_command(arguments, kinds))
    words = list(arguments[len(command.split()) :])
    fields = fields_of(kinds[command])
    try:
        given = _given(command, kinds[command], fields, words)
        resumes = command == "train" and given.get("resume") and "out" in given
        missing = [one for one in fields if one.default is MISSING and one.name not in given]
        if missing and not resumes:
            names, takes = (
                " and ".join(getattr(one, what) for one in missing) for what in ("flag", "takes")
            )
            raise InputError(f"{names}: got none; takes {takes}")
    except InputError as error:
        raise InputError(f"{error}; softgate {command} --help says more") from None
    return replace(_stored(given["out"]), **given) if resumes else kinds[command](**given)


_MARK = "\0"  # before a word that is no option, however it begins; none that is given can hold it


def _dashes(word: str) -> str:
    """An option's word, where it may have been written with underscores."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if word.startswith("--") else word


def _given(command: str, kind: type, fields: Sequence[Field], words: Sequence[str]) -> Any:
    """The values that the words give, by the names of their fields."""
    parser = _parser(command, kind, fields)
    flags = [flag for one in fields if not one.positional for flag in _flags(one)]
    before = [_dashes(word) for word in takewhile("--".__ne__, words)]
    for word in before:
        if word.startswith("--") and word.partition("=")[0] not in [*flags, "--help"]:
            close = difflib.get_close_matches(word, flags, 1, cutoff=0.75)
            guess = f" (did you mean {close[0]}?)" if close else ""
            raise InputError(f"argument: got {word}, which softgate {command} does not take{guess}")
    if {"-h", "--help"} & {*before}:
        print(parser.format_help(), end="")  # argparse says nothing where it cannot
        raise SystemExit(0)
    after = words[len(before) :]  # from the -- on; where words and options are mixed, argparse
    words = [*before, *after[:1], *(_MARK + word for word in after[1:])]  # would look for options
    try:
        found, surplus = parser.parse_known_intermixed_args(words)
    except argparse.ArgumentError as error:  # too few words for an option, or one too many
        names = str(error.argument_name).split("/")
        given = [word for name in names for word in _words_after(name, words)]
        takes = next((one.takes for one in fields if one.flag in names), "no word")
        raise InputError(f"{names[0]}: got {' '.join(given) or 'none'}; takes {takes}") from None
    if surplus:
        word = surplus[0].removeprefix(_MARK)
        raise InputError(f"argument: got {word}, which softgate {command} does not take")
    values = {}
    for one in fields:
        value = getattr(found, one.name, None)
        if value is None or (one.positional and value == []):
            continue
        if isinstance(value, str):
            value = value.removeprefix(_MARK)
        elif isinstance(value, list):
            value = [word.removeprefix(_MARK) for word in value]
        try:
            values[one.name] = value if isinstance(value, bool) else one.convert(value)
        except (ValueError, LookupError):
            got = value if isinstance(value, str) else " ".join(value)
            raise InputError(f"{one.flag}: got {got or 'none'}; takes {one.takes}") from None
    return values


def _words_after(flag: str, words: Sequence[str]) -> Sequence[str]:
    given: Sequence[str] = ()
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == flag:
            after = takewhile(lambda word: not word.startswith("--"), words[index + 1 :])
            given = [value] if equals else list(after)
    return given


def _flags(field: Field) -> list[str]:
    return [field.flag, f"--no-{field.flag[2:]}"] if field.kind is bool else [field.flag]


def _parser(command: str, kind: type, fields: Sequence[Field]) -> argparse.ArgumentParser:
    """The options as words: what they stand for, and whether there are enough, is told by us."""
    parser = argparse.ArgumentParser(
        prog=f"softgate {command}",
        description=inspect.cleandoc(kind.__doc__ or ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        exit_on_error=False,
        argument_default=argparse.SUPPRESS,
    )
    for one in fields:
        options: dict[str, Any] = {"help": _help(one)}
        if one.kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["nargs"] = one.count
            options["metavar"] = one.flag if one.positional else _metavar(one)
        parser.add_argument(one.flag, **options)
    return parser


def _metavar(field: Field) -> Any:
    words = field.takes.replace(", ", "|").replace(" or ", "|")
    if isinstance(field.count, int):
        return tuple(words.split())
    return {"alone": "FILE", "dict": "NAME VALUE"}.get(
        "alone" if field.alone else getattr(field.kind, "__name__", ""), words
    )


def _help(field: Field) -> str:
    words = field.help
    if field.default is MISSING:
        words += "" if field.positional else " (required)"
    elif field.default not in (None, (), {}) and field.kind is not bool and "default:" not in words:
        shown = field.default
        words += f" (default: {' '.join(map(str, shown)) if isinstance(shown, tuple) else shown})"
    return words.replace("%", "%%")


def _no_command(arguments: Sequence[str], kinds: Mapping[str, type]) -> str:
    """What is said of words that name no command; prints help where it is asked for."""
    groups = {name.split()[0] for name in kinds if " " in name}
    group = f"{arguments[0]} " if arguments and arguments[0] in groups else ""
    members = {name: kind for name, kind in kinds.items() if name.startswith(group)}
    rest = arguments[1:] if group else arguments
    if rest and rest[0] in ("-h", "--help"):
        version = "" if group else "\n       softgate --version"
        print(f"usage: softgate {group}COMMAND [-h] ...{version}\n\ncommands:")
        for name, kind in members.items():
            about = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0]
            print(f"  {name:<12}{' '.join(about.split())}")
        raise SystemExit(0)
    names = dict.fromkeys(name.removeprefix(group).split()[0] for name in members)
    got = rest[0] if rest else "none"
    return f"{group.strip() or 'command'}: got {got}; takes {one_of([*names])}"


def _stored(out: Path) -> TrainConfig:
    """The training configuration of the run in the folder `out`."""
    path = out / "config.json"
    if not path.is_file():
        raise InputError(
            f"resume: {out} holds no run to continue; give the --out of a run, or leave --resume out"
        )
    return from_json(RunConfig, read_json(path), str(path)).training
