"""A command line that the parser refuses, in one sentence."""

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

Events = list[Any]


def listening(events: Events) -> AbstractContextManager[None]:
    """A block in which what the parser refuses is added to `events`.

    The parser's hook is private and may change: where it is not there, there are no events, and
    where an event is not as expected, what the parser would have printed is the sentence.
    """
    try:
        from tyro._errors import on_parse_error
    except ImportError:
        return nullcontext()
    return on_parse_error(events.append)


def refusal(
    arguments: Sequence[str], kinds: Mapping[str, type], events: Events, printed: str
) -> str:
    """The sentence for a command line that was refused.

    Args:
        arguments: its words.
        kinds: dataclasses of the commands by their names, such as "train" or "data check".
        events: as `listening` filled it.
        printed: what the parser printed.
    """
    command = next((n for n in kinds if list(arguments[: len(n.split())]) == n.split()), None)
    if command is None:
        return _no_command(arguments, kinds)
    hint = f"softgate {command} --help says more"
    rest = arguments[len(command.split()) :]
    strange = next((word for word in rest if _is_strange(word, kinds[command])), None)
    if strange is not None:
        return f"{_unknown(strange, command, kinds[command])}; {hint}"
    try:
        sentence = _SENTENCES[type(events[-1]).__name__](events[-1], rest, command)
    except (LookupError, AttributeError, TypeError):
        sentence = _first_part(printed)
    return f"{sentence}; {hint}"


def _no_command(arguments: Sequence[str], kinds: Mapping[str, type]) -> str:
    groups: dict[str, list[str]] = {}
    for name in kinds:
        first, _, second = name.partition(" ")
        groups.setdefault(first, []).append(second)
    if arguments and arguments[0] in groups:
        got = arguments[1] if len(arguments) > 1 else "none"
        return f"{arguments[0]}: got {got}; takes {_one_of(groups[arguments[0]])}"
    return f"command: got {arguments[0] if arguments else 'none'}; takes {_one_of([*groups])}"


def _one_of(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def known_options(kind: type) -> list[str]:
    """The options of a command; a bool has two."""
    typed = {item.name.replace("_", "-"): item.type for item in dataclasses.fields(kind)}
    flags = (name for name, type_ in typed.items() if type_ is bool)
    return [*(f"--{name}" for name in typed), *(f"--no-{name}" for name in flags)]


def _is_strange(word: str, kind: type) -> bool:
    name = word.partition("=")[0].replace("_", "-")
    return name.startswith("--") and name not in known_options(kind)


def _unknown(word: str, command: str, kind: type) -> str:
    close = difflib.get_close_matches(word, known_options(kind), 1, cutoff=0.75)
    guess = f" (did you mean {close[0]}?)" if close else ""
    return f"argument: got {word}, which softgate {command} does not take{guess}"


def _missing(event: Any, rest: Sequence[str], command: str) -> str:
    missing = [one.arg for one in event.missing_arguments]
    names, takes = (map(words, missing) for words in (_name, _takes))
    return f"{' and '.join(names)}: got none; takes {' and '.join(takes)}"


def _bad_value(event: Any, rest: Sequence[str], command: str) -> str:
    return f"{_name(event.argument)}: got {_given(event.argument, rest)}; {_wants(event.argument)}"


def _bad_choice(event: Any, rest: Sequence[str], command: str) -> str:
    choices = sorted({*event.choices} - {"None"})  # of an optional one they come in any order
    return f"{_name(event.argument)}: got {event.value}; takes {_one_of(choices)}"


def _bad_object(event: Any, rest: Sequence[str], command: str) -> str:
    argument, message = event.argument, event.message
    # Our own types say what they take.
    wants = message if message.startswith("takes ") else _wants(argument)
    return f"{_name(argument)}: got {_given(argument, rest)}; {wants}"


def _surplus(event: Any, rest: Sequence[str], command: str) -> str:
    return f"argument: got {event.tokens[0]}, which softgate {command} does not take"


_SENTENCES: dict[str, Callable[[Any, Sequence[str], str], str]] = {
    "MissingArgs": _missing,
    "BadValue": _bad_value,
    "InvalidChoice": _bad_choice,
    "InstantiationFailure": _bad_object,
    "UnrecognizedArgs": _surplus,
}


def _name(argument: Any) -> str:
    return str(
        argument.display_name() if argument.is_positional() else argument.lowered.name_or_flags[0]
    )


def _takes(argument: Any) -> str:
    words = str(argument.lowered.metavar).replace("{None}|", "")
    return words.strip("{}") if words.count("{") == 1 else words


def _wants(argument: Any) -> str:
    return f"takes {_takes(argument)}"


def _given(argument: Any, rest: Sequence[str]) -> str:
    """The words that an option was given, as they were typed."""
    flags = [flag.replace("_", "-") for flag in argument.lowered.name_or_flags]
    given: list[str] = []
    for index, word in enumerate(rest):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") in flags:
            following = list(rest[index + 1 :])
            ends = (i for i, other in enumerate(following) if other.startswith("--"))
            given = [value] if equals else following[: next(ends, len(following))]
    return " ".join(given) or "none"


def _first_part(printed: str) -> str:
    """The text of the parser's box up to its first rule, on one line."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", printed)
    lines = [line.strip("│ ") for line in plain.splitlines()[1:]]
    end = next((i for i, line in enumerate(lines) if set(line) <= set("─╰╯")), len(lines))
    return " ".join(" ".join(lines[:end]).split()) or "the command line is wrong"
