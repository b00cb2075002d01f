"""Writes the table and the plot of a result file: ``python -m benchmarks.report FILE.json``."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.plot import plot_races
from softgate_ext.errors import InputError
from softgate_ext.files.atomic import write_text
from softgate_ext.files.reading import read_json

HEADINGS = {
    "OpCase": "Ops",
    "BlockCase": "Gated block with its convolutions",
    "NetworkCase": "Training steps",
}
# The columns that identify a row of each table: heading -> keys of the record.
COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    "OpCase": {
        "op": ("op",),
        "phase": ("phase",),
        "shape": ("size",),
        "form": ("split", "mode"),
        "layout": ("layout",),
        "dtype": ("dtype",),
        "device": ("device",),
    },
    "BlockCase": {
        "phase": ("phase",),
        "shape": ("size",),
        "layout": ("layout",),
        "dtype": ("dtype",),
        "device": ("device",),
    },
    "NetworkCase": {
        "network": ("model",),
        "image": ("image_size",),
        "batch": ("batch_size",),
        "layout": ("layout",),
        "autocast": ("amp",),
        "device": ("device",),
        "parameters": ("parameters",),
        "MAC": ("macs",),
    },
}


def read_results(path: Path) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """The description of the machine, and the records of the cases by kind.

    Raises:
        InputError: the file is missing, or ``benchmarks.run`` did not write it.
    """
    stored = read_json(path)
    try:
        machine = stored["machine_info"]
        machine["datetime"] = stored["datetime"]
        machine["commit"] = stored["commit_info"].get("id"), stored["commit_info"].get("dirty")
        kinds: dict[str, list[dict[str, Any]]] = {}
        for entry in stored["benchmarks"]:
            kinds.setdefault(entry["group"], []).append(entry["extra_info"])
        if not kinds.keys() <= HEADINGS.keys() or "memory" not in machine:
            raise KeyError("a kind or the memory")
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is no result file of benchmarks.run") from error
    return machine, kinds


def markdown(machine: Mapping[str, Any], kinds: Mapping[str, Sequence[dict[str, Any]]]) -> str:
    """A Markdown page with the description of the machine and tables of all cases."""
    blocks = ["\n".join(_describe(machine, kinds)), NOTE]
    for kind, heading in HEADINGS.items():
        if kind in kinds:
            blocks += [f"## {heading}", _table(COLUMNS[kind], kinds[kind])]
    return "\n\n".join(blocks) + "\n"


NOTE = (
    "Times are medians (20th–80th percentile) of rounds in which the competitors took turns; a "
    "ratio is that competitor's median over the fused one's. The copy moves the fewest bytes "
    "that the op can, half read and half written, by PyTorch's `copy_`; its share is the copy's "
    "median over the fused one's, and GB/s counts those bytes. That copy writes through the "
    "caches, which costs a read of what is overwritten: on a CPU, kernels that write past them can "
    "beat it. Where the copy is far slower than in other rows, something else ran meanwhile."
)


def _describe(machine: Mapping[str, Any], kinds: Mapping[str, Any]) -> Iterable[str]:
    records = [r for records in kinds.values() for r in records]
    yield f"# Benchmarks of {machine['datetime'][:16]}"
    yield ""
    if any(r["quick"] for r in records):
        yield "**Tiny sizes, to see whether everything runs: these times mean nothing.**\n"
    caches = ", ".join(f"{k} {v}" for k, v in machine["caches"].items())
    yield f"- processor: {machine['cpu']}, {machine['cores']} cores, {caches}"
    gpu = machine["gpu"]
    if gpu:
        yield f"- GPU: {gpu['name']}, {gpu['multiprocessors']} multiprocessors, CUDA {gpu['cuda']}"
    yield f"- kernels in use: {machine['auto']}; CPU instructions {machine['isa']}"
    yield f"- torch {machine['torch']}, {machine['threads']} threads, Python {machine['python']}"
    commit, dirty = machine["commit"]
    yield f"- commit {str(commit)[:10]}{' with local changes' if dirty else ''}"
    yield f"- memory: {machine['memory']}"
    loads = sorted(r["load"] for r in records)
    yield f"- load average {loads[0]:.1f} to {loads[-1]:.1f} while measuring"
    sides = [side for record in records for side in record["competitors"].items()]
    modes = sorted({f"{name}: {side['compile']}" for name, side in sides if "compile" in side})
    if modes:
        isa = machine["inductor_isa"]
        yield f"- torch.compile of eager, one graph, static shapes, {isa}; modes {', '.join(modes)}"


def _table(columns: Mapping[str, tuple[str, ...]], records: Sequence[dict[str, Any]]) -> str:
    rivals = list(dict.fromkeys(n for r in records for n in r["competitors"]))
    rivals = [n for n in rivals if n not in ("fused", "copy")]
    copied = any("copy" in r["competitors"] for r in records)
    heads = [*columns, "fused, ms", *rivals]
    if copied:
        heads += ["copy share", "GB/s", "copy GB/s"]
    rows = []
    for record in records:
        sides = record["competitors"]
        fused = sides["fused"]
        low, middle, high = (1e3 * fused[k] for k in ("p20", "median", "p80"))
        row = [_text(record, keys) for keys in columns.values()]
        row.append(f"{middle:.3g} ({low:.3g}–{high:.3g})")
        for name in rivals:
            there = name in sides
            row.append(f"{sides[name]['median'] / fused['median']:.2f}x" if there else "")
        if copied:
            copy = sides["copy"]
            row.append(f"{copy['median'] / fused['median']:.2f}")
            row.append(f"{record['ideal_bytes'] / fused['median'] / 1e9:.1f}")
            row.append(f"{copy['bytes'] / copy['median'] / 1e9:.1f}")
        rows.append(row)
    rule = ["---"] * len(columns) + ["---:"] * (len(heads) - len(columns))
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, rule, *rows])


def _text(record: Mapping[str, Any], keys: Sequence[str]) -> str:
    if keys == ("split", "mode"):
        form = {"gated": "+".join(map(str, record["split"])), "skip": record["mode"]}
        return form.get(record["op"].split("_")[0], "")
    value = record[keys[0]]
    if isinstance(value, list):
        return "x".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def write_report(path: Path) -> str:
    """Writes the table (.md) and the plot (.png) beside a result file, and returns the table."""
    machine, kinds = read_results(path)
    text = markdown(machine, kinds)
    write_text(path.with_suffix(".md"), text)
    if "OpCase" in kinds:
        plot_races(kinds["OpCase"], path.with_suffix(".png"))
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.report", description=__doc__)
    parser.add_argument("file", type=Path, help="what benchmarks.run wrote")
    try:
        print(write_report(parser.parse_args(arguments).file))
    except InputError as error:
        raise SystemExit(f"benchmarks.report: {error}") from None
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
