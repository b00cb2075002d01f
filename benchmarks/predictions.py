"""Prints the times that csrc/cuda/model.cpp predicts for four GPUs: ``python -m benchmarks.predictions``.

The Markdown table has one line per call, which a measurement on such a GPU can confirm or refute. The program needs
the compiled extension, but no GPU. ``--write docs/cuda.md`` replaces the table of that page.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ideal import Size
from softgate_ext.ops.backend import extension

# The fields of struct Device in csrc/cuda/plan.h, from the vendors' data sheets.
GPUS: dict[str, dict[str, float]] = {
    "H100 SXM": dict(
        processors=132, l2_bytes=50 << 20, shared_bytes=227 << 10, cluster=8, cooperative=2,
        clock=1.755e9, memory_rate=3.35e12,
    ),
    "H200": dict(
        processors=132, l2_bytes=50 << 20, shared_bytes=227 << 10, cluster=8, cooperative=2,
        clock=1.755e9, memory_rate=4.8e12,
    ),
    "A100 80GB": dict(
        processors=108, l2_bytes=40 << 20, shared_bytes=163 << 10, cluster=1, cooperative=2,
        clock=1.41e9, memory_rate=2.039e12,
    ),
    "RTX 4090": dict(
        processors=128, l2_bytes=72 << 20, shared_bytes=99 << 10, cluster=1, cooperative=2,
        clock=2.52e9, memory_rate=1.008e12,
    ),
}  # fmt: skip
BEGIN, END = "<!-- predictions -->\n", "<!-- end of predictions -->\n"


@dataclass(frozen=True)
class Row:
    """A training call in bfloat16 with all gradients. The low of a merge has as many channels as the skip."""

    size: Size
    split: tuple[int, ...]
    merge: bool
    channels_last: bool
    backward: bool

    def __str__(self) -> str:
        op = "merge" if self.merge else "block"
        layout = "channels_last" if self.channels_last else "contiguous"
        size = "x".join(map(str, self.size))
        return f"{op} {size} {layout} {'backward' if self.backward else 'forward'}"


def rows() -> Iterator[Row]:
    """Yields the levels of hybrid_4x144 on 8 images of 256x256, and the sizes of the benchmark."""
    shapes: list[tuple[Size, tuple[int, ...]]] = [
        *[((8, 144, side, side), (72, 36, 36)) for side in (64, 32, 16, 8, 4)],
        ((32, 256, 64, 64), (128, 64, 64)),
    ]
    for size, split in shapes:
        for merge in (False, True):
            if merge and size[2] == 4:  # the innermost level is merged into the next
                continue
            for channels_last in (False, True):
                for backward in (False, True):
                    yield Row(size, () if merge else split, merge, channels_last, backward)


def predictions(row: Row, gpu: dict[str, float]) -> list[dict[str, Any]]:
    """The predictions for each variant that can compute the call, the fastest first."""
    low = row.size[1] if row.merge else 0
    found: list[dict[str, Any]] = extension().predictions(
        row.backward, row.size, 2, row.channels_last, row.split, low, row.merge, gpu
    )
    return sorted(found, key=lambda p: p["seconds"])


def table() -> str:
    """A Markdown table of the microseconds of each variant. The chosen one comes first."""
    lines = [f"| call | {' | '.join(GPUS)} |", "|---" * (len(GPUS) + 1) + "|"]
    for row in rows():
        cells = []
        for gpu in GPUS.values():
            each = [f"{p['variant']} {p['seconds'] * 1e6:.1f}" for p in predictions(row, gpu)]
            cells.append(", ".join([f"**{each[0]}**", *each[1:]]))
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.predictions", description=__doc__)
    parser.add_argument("--write", type=Path, help="a page that has the table between its marks")
    options = parser.parse_args(arguments)
    if extension() is None:
        print(
            "benchmarks.predictions needs the compiled extension: run make install.",
            file=sys.stderr,
        )
        return 2
    if options.write is None:
        print(table(), end="")
        return 0
    try:
        text = options.write.read_text()
        before, rest = text.split(BEGIN)
        after = rest.split(END)[1]
    except (OSError, ValueError, IndexError):
        print(
            f"--write takes a page with '{BEGIN.strip()}', got '{options.write}'.", file=sys.stderr
        )
        return 2
    options.write.write_text(before + BEGIN + table() + END + after)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
