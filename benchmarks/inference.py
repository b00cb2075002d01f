"""Compares the inference of whole networks with other runtimes: `python -m benchmarks.inference`.

Each case is written to the result file as soon as it is measured, and replaces the same case there. A long
measurement can therefore be made in several runs.
"""

import importlib.metadata
import importlib.util
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks import options
from benchmarks.inference_table import SHORTEST, key, read_rows, worse, write_table
from benchmarks.machine import describe_machine
from benchmarks.race import quantiles
from benchmarks.rivals import RIVALS, Case, missing, write_onnx
from benchmarks.turns import Turns
from softgate_ext.errors import InputError
from softgate_ext.files.atomic import write_json
from softgate_ext.files.folders import check_folder, make_folder
from softgate_ext.models import list_models

OUT = Path(__file__).resolve().parent / "results" / "inference.json"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "inference.md"
PACKAGES = ("onnx", "onnxscript", "onnxruntime", "openvino")


def describe() -> dict[str, Any]:
    """The machine and the versions of the packages, without the facts that differ between runs."""
    own = ("threads", "inductor_isa")
    versions = {m: importlib.metadata.version(m) for m in PACKAGES if importlib.util.find_spec(m)}
    return {k: v for k, v in describe_machine().items() if k not in own} | {"packages": versions}


def chosen(names: Sequence[str]) -> Iterator[str]:
    """Yields the rivals that are installed, and prints for the others what to install."""
    for name in names:
        lacking = missing(name)
        if lacking:
            print(
                f"{name} is left out, for the package {lacking[0]} is missing; "
                "pip install 'softgate_ext[peers]'"
            )
        else:
            yield name


def measure(
    case: Case, names: Sequence[str], rounds: int, onnx: Path, busy: bool
) -> dict[str, Any]:
    """Measures a case. Its row has the median and the shortest time of each rival, in seconds."""
    clock = "cpu" if busy else "wall"
    load = os.getloadavg()[0]  # taken before the case: it shows whether other programs run
    with Turns(names, case, onnx, busy) as turns:
        for _ in range(rounds):
            turns.round()
    figures = {
        name: {"median": quantiles(s)["median"], SHORTEST: min(s)} for name, s in turns.seconds.items()
    }  # fmt: skip
    return {
        **vars(case),
        "rounds": rounds,
        "clock": clock,
        "load": round(load, 2),
        "seconds": figures,
    }


def _check(
    models: Sequence[str], names: Sequence[str], numbers: Mapping[str, Sequence[int]], out: Path
) -> None:
    known = {"models": (models, list_models()), "rivals": (names, list(RIVALS))}
    for argument, (values, takes) in known.items():
        wrong = [v for v in values if v not in takes]
        if wrong or not values:
            got = repr(wrong[0]) if wrong else "none"
            raise InputError(f"{argument} must be some of {', '.join(takes)}, got {got}")
    for argument, counts in numbers.items():
        if not counts or min(counts) < 1:
            got = str(min(counts)) if counts else "none"
            raise InputError(f"{argument} must be whole numbers from 1 on, got {got}")
    if out.suffix != ".json":
        raise InputError(f"out must end in .json, got {out.name!r}")
    check_folder(out.parent)


def main(
    models: tuple[str, ...] = ("hybrid_2x48", "hybrid_4x144"),
    sizes: tuple[int, ...] = (256,),
    batches: tuple[int, ...] = (1, 8),
    threads: tuple[int, ...] = (1, 2),
    rivals: tuple[str, ...] = tuple(RIVALS),
    rounds: int = 9,
    busy: bool = False,
    out: Path = OUT,
    compare: str = "",
    table: str = "",
) -> None:
    """Measures, or writes the table of docs/inference.md.

    Args:
        models: names that `softgate info` lists.
        sizes: sides of an image in pixels.
        batches: images in a batch.
        threads: numbers of threads that a rival uses.
        rivals: keys of benchmarks.rivals.RIVALS.
        rounds: how often each rival is measured.
        busy: count CPU time instead of wall time, for a machine on which other programs run. Takes
            one thread only.
        out: the result file. Other cases in it are kept.
        compare: a result file to compare with. Where the ratio of winograd's time to openvino's is
            more than a tenth higher than in it, the case is printed and the exit status is 1.
        table: a result file whose table is written into docs/inference.md. Nothing is measured.

    Raises:
        InputError: an argument is invalid, a file does not fit, or a rival fails.
    """
    if table:
        write_table(Path(table), PAGE)
        return
    numbers = {"sizes": sizes, "batches": batches, "threads": threads, "rounds": (rounds,)}
    _check(models, rivals, numbers, out)
    if busy and set(threads) != {1}:
        raise InputError(
            f"busy measures CPU time, which adds up threads, so threads must be 1, got {max(threads)}"
        )
    machine = describe()
    rows = read_rows(out, machine) if out.exists() else {}
    committed = read_rows(Path(compare)) if compare else {}
    names = list(chosen(rivals))
    if not names:
        raise InputError(f"rivals: got {', '.join(rivals)}, of which none is installed")
    cases = [Case(*c) for c in product(models, sizes, batches, threads)]
    if compare:
        _comparable(cases, names, committed)
    make_folder(out.parent)
    measured = []
    with tempfile.TemporaryDirectory(prefix="softgate-bench-") as scratch:
        for case in cases:
            onnx = Path(scratch) / f"{case.model}-{case.size}.onnx"
            if not onnx.exists() and any(RIVALS[n].needs for n in names):
                write_onnx(case, onnx)
            row = measure(case, names, rounds, onnx, busy)
            measured.append(row)
            rows[key(row)] = row
            write_json(out, {"machine": machine, "rows": [rows[k] for k in sorted(rows)]})
            ms = {n: f"{1e3 * s['median']:.1f}" for n, s in row["seconds"].items()}
            print(f"{case}, ms: {', '.join(f'{n} {t}' for n, t in ms.items())}", flush=True)
    if compare and (lost := list(worse(measured, committed))):
        print("\n".join(lost))
        raise SystemExit(1)


def _comparable(
    cases: Sequence[Case], names: Sequence[str], committed: dict[tuple[Any, ...], Any]
) -> None:
    lacking = [n for n in ("winograd", "openvino") if n not in names]
    if lacking:
        raise InputError(
            f"compare needs the rivals winograd and openvino, got none that is {lacking[0]}; "
            "name both in --rivals, and pip install 'softgate_ext[peers]'"
        )
    if not any(key(vars(c)) in committed for c in cases):
        raise InputError(
            f"compare: the file has none of the cases asked for, such as {cases[0]}; takes a "
            "result file of the same cases"
        )


if __name__ == "__main__":
    options.run(main)
