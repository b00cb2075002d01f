"""Runs one leg or both (``python -m benchmarks.gpu --leg 1``). It writes leg1.json and leg1.md after each group of steps."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu import __doc__ as about
from benchmarks.gpu.device import obstacle
from benchmarks.gpu.legs import LEGS
from benchmarks.gpu.runner import ROOT, Done, run_leg, stored
from benchmarks.gpu.tables import page
from softgate_ext.errors import InputError
from softgate_ext.files.atomic import write_json, write_text
from softgate_ext.files.folders import make_folder


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=about)
    parser.add_argument("--leg", type=int, choices=LEGS, help="default: both, one after the other")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu", help="folder")
    parser.add_argument(
        "--dry-run", action="store_true", help="also where there is no device: every step says so"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    reason = obstacle()
    if reason is not None and not options.dry_run:
        print(f"make gpu needs a CUDA device: {reason}.", file=sys.stderr)
        return 2
    try:
        make_folder(options.out, "--out")
    except InputError as error:
        print(f"make gpu: {error}", file=sys.stderr)
        return 2
    passed = True
    for leg in [options.leg] if options.leg else LEGS:
        passed &= _leg(leg, options.out.resolve())
    return 0 if passed else 1


def _leg(leg: int, out: Path) -> bool:
    told = 0

    def keep(done: list[Done]) -> None:
        nonlocal told
        write_json(out / f"leg{leg}.json", stored(done))
        write_text(out / f"leg{leg}.md", page(leg, done))
        for d in done[told:]:
            print(f"leg {leg}, {d.step}: {d.state} in {d.seconds:.0f} s: {d.says}", flush=True)
            print(d.output, end="\n" if d.output else "", flush=True)
        told = len(done)

    done = run_leg(LEGS[leg], out, keep)
    print(page(leg, done))
    return all(d.state == "passed" for d in done)


if __name__ == "__main__":
    raise SystemExit(main())
