"""Measures and writes a result file: ``python -m benchmarks.run [options] [pytest's options]``.

``python -m pytest benchmarks --help`` lists the options of the benchmarks. ``-k`` selects cases by
their names, as in ``-k "inference and float32"``.
"""

import argparse
import datetime
import tempfile
from pathlib import Path

import pytest

from benchmarks.report import write_report
from softgate_ext.files.atomic import write_bytes
from softgate_ext.files.folders import make_folder

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results"


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.run", description=__doc__, allow_abbrev=False)
    parser.add_argument("--json", type=Path, help="result file (default: results/<date>.json)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes; keeps no default file")
    options, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="softgate-bench-") as scratch:
        measured = Path(scratch) / "results.json"
        command = [str(FOLDER), "-q", "--benchmark-only", "--benchmark-quiet"]
        command += [f"--benchmark-json={measured}", *(["--quick"] if options.quick else []), *rest]
        status = int(pytest.main(command))
        if not measured.is_file() or not measured.stat().st_size:
            return status or 1
        target = options.json or (measured if options.quick else _default_file())
        if target != measured:
            make_folder(target.parent, "json")
            write_bytes(target, measured.read_bytes())
        print(write_report(target))
    return status


def _default_file() -> Path:
    return RESULTS / f"{datetime.datetime.now():%Y-%m-%d-%H%M}.json"


if __name__ == "__main__":
    raise SystemExit(main())
