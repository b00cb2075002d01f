"""What the fields of a command's dataclass are on the command line: names, types, words of help."""

import ast
import dataclasses
import inspect
import textwrap
import types
import typing
from collections.abc import Sequence
from dataclasses import MISSING, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from softgate_ext.runs.options import Alone

_PLAIN: dict[Any, str] = {Path: "PATH", str: "STR", int: "INT", float: "FLOAT", bool: "no word"}


@dataclass(frozen=True)
class Field:
    """A field of a dataclass as words of a command line.

    Attributes:
        name: its name.
        kind: its type, without None and what is annotated.
        positional: whether it is given without a name.
        optional: whether the word None stands for None.
        alone: what stands for the option without a word, in place of at least one.
        default: what it is when it is not given; MISSING where it must be.
        help: what the dataclass says of it.
    """

    name: str
    kind: Any
    positional: bool
    optional: bool
    alone: Alone | None
    default: Any
    help: str

    @property
    def flag(self) -> str:
        """How it is called."""
        return self.name if self.positional else "--" + self.name.replace("_", "-")

    @property
    def count(self) -> str | int | None:
        """How many words it takes, as argparse says it."""
        if self.kind is bool:
            return 0
        if self.alone is not None or typing.get_origin(self.kind) is dict:
            return "*"
        if typing.get_origin(self.kind) is tuple:
            arguments = typing.get_args(self.kind)
            return "*" if Ellipsis in arguments else len(arguments)
        return "?" if self.positional else None

    @property
    def takes(self) -> str:
        """The words that it takes, in words."""
        return self.alone.takes if self.alone is not None else _takes(self.kind)

    def convert(self, words: str | Sequence[str]) -> Any:
        """The value that words stand for.

        Raises:
            ValueError: they stand for none.
        """
        several = [words] if isinstance(words, str) else list(words)
        if self.alone is not None and not several:
            return self.alone.value
        if self.alone is None and self.optional and several == ["None"]:
            return None
        return _convert(self.kind, several)


def fields_of(kind: type) -> list[Field]:
    """The fields of a command's dataclass, in its order."""
    hints = typing.get_type_hints(kind, include_extras=True)
    helps = _helps(kind)
    found = []
    for item in dataclasses.fields(kind):
        hint = hints[item.name]
        notes: list[Any] = []
        if typing.get_origin(hint) is typing.Annotated:
            hint, *notes = typing.get_args(hint)
        union = typing.get_origin(hint) in (types.UnionType, typing.Union)
        optional = union and type(None) in typing.get_args(hint)
        if optional:
            (hint,) = (part for part in typing.get_args(hint) if part is not type(None))
        default = item.default if item.default_factory is MISSING else item.default_factory()
        alone = next((note for note in notes if isinstance(note, Alone)), None)
        words = helps.get(item.name, "")
        found.append(Field(item.name, hint, "positional" in notes, optional, alone, default, words))
    return found


def _helps(kind: type) -> dict[str, str]:
    """The text below each field."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    return {
        field.target.id: " ".join(str(text.value.value).split())
        for field, text in pairwise(tree.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }


def one_of(words: Sequence[str]) -> str:
    """Words as a choice: a, b or c."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _takes(kind: Any) -> str:
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        return one_of(sorted(map(str, arguments)))
    if typing.get_origin(kind) is tuple:
        return " ".join(_takes(part) for part in arguments if part is not Ellipsis)
    return "pairs of a name and a value" if typing.get_origin(kind) is dict else _PLAIN[kind]


def _convert(kind: Any, words: Sequence[str]) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        kinds = arguments[:1] * len(words) if Ellipsis in arguments else arguments
        return tuple(_convert(one, [word]) for one, word in zip(kinds, words, strict=True))
    if origin is dict:
        return dict(zip(words[::2], map(_plain, words[1::2]), strict=True))
    (word,) = words
    if kind is Path and not word:
        raise ValueError("of a variable that is not set: as a path it would be the working folder")
    if origin is Literal:
        return {str(choice): choice for choice in arguments}[word]
    return kind(word)


def _plain(word: str) -> int | float | bool | str:
    """A word as what it looks like."""
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return {"True": True, "False": False}.get(word, word)
