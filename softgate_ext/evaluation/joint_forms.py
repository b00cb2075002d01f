"""The readers of predictions in text files: .json, .jsonl and .csv."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from softgate_ext.data.poseset import PoseSet
from softgate_ext.errors import InputError, reason
from softgate_ext.evaluation.joint_contents import Contents
from softgate_ext.evaluation.joint_entries import Entry, Listing, contents_of
from softgate_ext.evaluation.joint_objects import list_object, listed
from softgate_ext.files.reading import parse_json, read_json
from softgate_ext.files.unfolding import check_holes


def read_text(path: Path, people: PoseSet) -> Contents:
    """Reads a .json, .jsonl or .csv file of predictions.

    Args:
        path: the file.
        people: the samples, with their joints and categories.

    Raises:
        InputError: the file cannot be read, has no known form, or has no entry that can be read.
    """
    return contents_of(TEXTS[path.suffix.lower()](path, people), people, path)


def _json(path: Path, people: PoseSet) -> Listing:
    return list_object(read_json(path, "predictions"), path, people)


def _json_lines(path: Path, people: PoseSet) -> Listing:
    """Reads lines of JSON: each is an entry, or a frame of a video as `softgate predict` writes it."""
    listing, found = Listing(), []
    for number, line in enumerate(_text(path).split("\n"), 1):
        try:
            found += [parse_json(line)] if line.strip() else []
        except (ValueError, RecursionError):
            listing.notes.count(
                "line[s] that [is|are] not valid JSON [is|are] left out", f"line {number}"
            )
    listing.entries += listed(found, listing.notes)
    return listing


COLUMNS = ("file", "frame", "person", "x", "y", "w", "h", "joint", "joint_x", "joint_y", "score")


def _csv(path: Path, people: PoseSet) -> Listing:
    """Reads a predictions.csv of `softgate predict`, which has a row per joint."""
    reader = csv.DictReader(io.StringIO(_text(path), newline=""))
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    listing = Listing()
    try:
        absent = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if absent:
            raise InputError(
                f"predictions: {path} has no column {', '.join(absent)}; takes predictions.csv as "
                "softgate predict writes it"
            )
        for row in reader:
            if None in row.values():
                listing.notes.count(
                    "line[s] that lack[s|] columns [is|are] left out", f"line {reader.line_num}"
                )
                continue
            key = (row["file"], row["frame"], row["person"])
            box = [_number(row[name]) for name in ("x", "y", "w", "h")]
            person = found.setdefault(key, {"box_xywh": box, "joints": {}})
            values = (_number(row[name]) for name in ("joint_x", "joint_y", "score"))
            person["joints"][row["joint"]] = list(values)
    except csv.Error as error:
        raise InputError(
            f"predictions: cannot read {path} ({reason(error)}); give a complete file"
        ) from None
    videos = sorted({file for file, frame, _ in found if frame})
    if len(videos) > 1:
        raise InputError(
            f"predictions: {path} has frames of {len(videos)} videos, such as {videos[0]} and "
            f"{videos[1]}; takes those of one, as its .jsonl has them"
        )
    for (file, frame, number), person in found.items():
        whole = {"frame": _number(frame)} if frame else {"file": file}
        which = f"{file} {frame} person {number}" if frame else f"{file} person {number}"
        listing.entries.append(Entry(which, person, whole))
    return listing


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _text(path: Path) -> str:
    try:
        check_holes(path)
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(
            f"predictions: cannot read {path} ({reason(error)}); give a file in UTF-8"
        ) from None


TEXTS: dict[str, Callable[[Path, PoseSet], Listing]] = {
    ".json": _json,
    ".jsonl": _json_lines,
    ".csv": _csv,
}
"""The reader for each suffix."""
