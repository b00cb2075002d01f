"""Makes the package `benchmarks` importable: it lies beside `softgate_ext` and is not installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
