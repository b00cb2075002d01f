"""The fewest elements that each op moves, against the table of the design."""

import pytest

from benchmarks.ideal import ideal_elements

SIZE = (2, 8, 6, 10)
E = 2 * 8 * 6 * 10


@pytest.mark.parametrize(
    ("op", "phase", "options", "activations"),
    [
        ("gated_residual_bn_relu", "forward", {}, 4),
        ("gated_residual_bn_relu", "backward", {}, 6),
        ("gated_residual_bn_relu", "both", {}, 10),
        ("gated_residual_bn_relu", "inference", {}, 4),
        ("skip_merge_bn_relu", "forward", {"mode": "add", "z_only": True}, 2.25),
        ("skip_merge_bn_relu", "backward", {"mode": "add", "z_only": True}, 3.5),
        ("skip_merge_bn_relu", "forward", {"mode": "concat"}, 5.25),
        ("skip_merge_bn_relu", "backward", {"mode": "concat"}, 6.5),
        ("skip_merge", "inference", {"mode": "concat"}, 3.25),
        ("skip_merge", "backward", {"mode": "add"}, 3.25),
        ("gated_residual", "inference", {}, 3),
        ("gated_residual", "backward", {}, 4),
        ("bn_relu", "forward", {}, 2),
        ("bn_relu", "backward", {}, 3),
    ],
)
def test_table(op: str, phase: str, options: dict, activations: float) -> None:
    low = 8 if op.startswith("skip") else 0
    assert ideal_elements(op, phase, SIZE, low, **options) == activations * E
