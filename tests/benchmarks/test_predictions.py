"""The table of predicted times, and the terms of the model that predicts them."""

import re
from pathlib import Path

import pytest

from benchmarks import predictions
from benchmarks.predictions import GPUS, Row
from softgate_ext.ops.backend import extension

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "cuda.md"
H100 = GPUS["H100 SXM"]
# The counts of csrc/cuda/model.cpp and the kernels whose instructions they are.
COUNTS = {
    "kForwardReduce": "forward_reduce",
    "kForwardNormalise": "forward_normalise",
    "kForwardMap": "forward_map",
    "kBackwardReduce": "backward_reduce",
    "kBackwardMap": "backward_map",
}

pytestmark = pytest.mark.skipif(extension() is None, reason="needs the compiled extension")


def block(size, channels_last=False, backward=False, merge=False) -> Row:
    c = size[1]
    split = () if merge else (c // 2, c // 4, c // 4)
    return Row(size, split, merge, channels_last, backward)


def variants(row: Row, **changes: float) -> dict[str, dict]:
    return {p["variant"]: p for p in predictions.predictions(row, {**H100, **changes})}


def test_the_page_has_the_table():
    assert predictions.BEGIN + predictions.table() + predictions.END in PAGE.read_text()


def test_a_page_without_marks_is_left_alone(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("nothing")
    assert predictions.main(["--write", str(page)]) == 2
    assert page.read_text() == "nothing" and str(page) in capsys.readouterr().err


@pytest.mark.parametrize("name", COUNTS)
def test_instructions_are_those_of_the_compiled_kernels(name):
    """Within a sixth, so that a kernel may be tuned without its plan."""
    model = (ROOT / "csrc" / "cuda" / "model.cpp").read_text()
    counts = re.search(rf"{name}\[\] = {{(.+)}};", model)[1].split(", ")
    table = (ROOT / "docs" / "kernels.md").read_text()
    kinds = [(d, la) for la in ("contiguous", "channels_last") for d in ("float32", "bfloat16")]
    for count, (dtype, layout) in zip(counts, kinds, strict=True):
        row = re.search(rf"\| {COUNTS[name]} \| {dtype} \| {layout} \| 128 bits \|(.+)", table)[1]
        on_sm_90 = row.split("|")[4].split("/")[2]
        assert float(count) == pytest.approx(float(on_sm_90), rel=1 / 6)


def test_the_smallest_prediction_is_chosen():
    for row in predictions.rows():
        each = predictions.predictions(row, H100)
        assert [p["chosen"] for p in each] == [True] + [False] * (len(each) - 1)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("backward", [False, True])
def test_what_fits_l2_is_one_slice(channels_last, backward):
    """9.4 MB, of which a backward keeps two tensors."""
    assert variants(block((8, 144, 64, 64), channels_last, backward))["sliced"]["slices"] == 1


def test_no_slice_is_narrower_than_64_bytes():
    """An L2 that holds 32 bytes of every pixel and no more serves by two passes."""
    pixels = 32 * 64 * 64
    row = block((32, 256, 64, 64), channels_last=True)
    wide = 3 * 2 * 64 * pixels  # three slices under way, in half of it
    assert "sliced" in variants(row, l2_bytes=wide)
    assert "sliced" not in variants(row, l2_bytes=wide - 1)


def test_small_tensors_are_latency():
    """One launch beats three, and a device that launches for nothing would not change the bytes."""
    small = variants(block((8, 144, 8, 8)))
    assert [small[v]["launches"] for v in ("resident", "sliced", "two_pass")] == [1, 1, 3]
    assert min(small, key=lambda v: small[v]["seconds"]) == "resident"


def test_large_tensors_are_bytes():
    """Four of one activation at the rate of a copy, within a third."""
    row = block((32, 256, 64, 64))
    found = variants(row)["resident"]
    assert found["bytes"] == 4 * 2 * 32 * 256 * 64 * 64
    copy = found["bytes"] / (0.9 * H100["memory_rate"])
    assert copy < found["seconds"] < copy * 4 / 3


def test_a_slower_memory_takes_longer():
    row = block((32, 256, 64, 64), channels_last=True, backward=True)
    slow = variants(row, memory_rate=H100["memory_rate"] / 4)
    for variant, found in variants(row).items():
        assert slow[variant]["seconds"] > 2 * found["seconds"]
