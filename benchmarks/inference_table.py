"""Reads the result file of `benchmarks.inference`, makes its table, and finds cases that got slower."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from softgate_ext.errors import InputError, reason
from softgate_ext.files.atomic import write_text
from softgate_ext.files.reading import read_json

KEY = ("model", "size", "batch", "threads")
SHORTEST = "shortest"
BEGIN = "<!-- written by benchmarks.inference --table -->"
END = "<!-- end of what benchmarks.inference wrote -->"
CLOCKS = {"cpu": "CPU time", "wall": "time that passes"}
MARGIN = 0.1  # the ratio to OpenVINO may grow by this share: repeated runs differ by less

Rows = dict[tuple[Any, ...], dict[str, Any]]


def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """The values that identify a row: model, size, batch and threads."""
    return tuple(row[k] for k in KEY)


def _read(path: Path) -> tuple[dict[str, Any], Rows]:
    stored = read_json(path)
    try:
        rows = {key(r): r for r in stored["rows"]}
        for row in rows.values():
            row["load"], row["rounds"], row["clock"]
            for figures in row["seconds"].values():
                if not 0 < figures[SHORTEST] <= figures["median"]:
                    raise ValueError
        return dict(stored["machine"]), rows
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is no result file of benchmarks.inference") from error


def read_rows(path: Path, machine: Mapping[str, Any] | None = None) -> Rows:
    """The rows of a result file by their key.

    Args:
        path: the file.
        machine: the machine and the versions that the file must have. None accepts any.

    Raises:
        InputError: the file cannot be read, or has another machine or other versions.
    """
    there, rows = _read(path)
    differing = [k for k, v in (machine or {}).items() if there.get(k) != v]
    if differing:
        k = differing[0]
        raise InputError(
            f"out: {path} was measured with {k} {there.get(k)!r}, here it is {machine[k]!r}; "  # type: ignore[index]
            "give another file"
        )
    return rows


def ratio(row: Mapping[str, Any]) -> float | None:
    """Winograd's shortest time divided by OpenVINO's, or None where either is missing.

    The shortest rounds are compared, since other programs can only make a round longer.
    """
    sides = row["seconds"]
    if not {"winograd", "openvino"} <= sides.keys():
        return None
    return float(sides["winograd"][SHORTEST] / sides["openvino"][SHORTEST])


def worse(rows: Sequence[Mapping[str, Any]], committed: Rows) -> Iterator[str]:
    """Yields a sentence for each row whose ratio is more than a tenth above the committed one."""
    for row in rows:
        now, then = ratio(row), ratio(committed.get(key(row), {"seconds": {}}))
        if now is not None and then is not None and now > then * (1 + MARGIN):
            case = ", ".join(f"{k} {row[k]}" for k in KEY)
            yield f"{case}: winograd takes {now:.2f} of openvino's time, which was {then:.2f}"


def table(path: Path) -> str:
    """The Markdown table of a result file, below a sentence on the machine.

    Raises:
        InputError: the file cannot be read.
    """
    machine, rows = _read(path)
    if not rows:
        raise InputError(f"{path} has no rows; measure some first")
    names = list(dict.fromkeys(name for row in rows.values() for name in row["seconds"]))
    heads = [*KEY, *names, "winograd / openvino"]
    lines = [heads, ["---"] * len(KEY) + ["---:"] * (len(heads) - len(KEY))]
    for row in rows.values():
        sides = row["seconds"]
        ms = [
            f"{1e3 * sides[n]['median']:.1f} ({1e3 * sides[n][SHORTEST]:.1f})" if n in sides else ""
            for n in names
        ]
        beside = ratio(row)
        lines.append([*(str(row[k]) for k in KEY), *ms, "" if beside is None else f"{beside:.2f}"])
    clocks = {row["clock"] for row in rows.values()}
    if len(clocks) > 1:
        raise InputError(f"{path} mixes CPU time and time that passes; measure its cases alike")
    clock = clocks.pop()
    loads, rounds = ([row[k] for row in rows.values()] for k in ("load", "rounds"))
    versions = {"torch": machine["torch"], **machine["packages"]}
    said = (
        f"Milliseconds of a pass ({CLOCKS[clock]}), median (shortest) of {min(rounds)} to {max(rounds)} rounds in turns, on "
        f"{machine['cores']} cores of {machine['cpu']}; kernels for {machine['isa']}; "
        f"{', '.join(f'{k} {v}' for k, v in versions.items())}; load average before a case "
        f"{min(loads):.1f} to {max(loads):.1f}. The ratio is that of the shortest."
    )
    return f"{said}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_table(path: Path, page: Path) -> None:
    """Writes the table of a result file between the two marks of a page.

    Raises:
        InputError: the file cannot be read, or the page lacks the marks.
    """
    text = table(path)
    try:
        before, rest = page.read_text(encoding="utf-8").split(BEGIN)
        _, after = rest.split(END)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{page} cannot take the table ({reason(error)}); it needs one {BEGIN!r} before one {END!r}"
        ) from error
    write_text(page, f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
