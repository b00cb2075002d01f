"""What the compiler makes of the kernels for GPUs that are not here.

Held: no spills; 128-bit accesses wherever the contiguous axis allows them; and how many
specialisations a whole network needs.
"""

import pytest
from processes import lines_of

# Besides bfloat16 with 256 channels on sm_90: each target and dtype, of a power of two and not.
OTHERS = (
    ("sm_80", "bfloat16", 256),
    ("sm_90", "bfloat16", 144),
    ("sm_90", "float32", 256),
    ("sm_100", "bfloat16", 256),
    ("gfx942", "bfloat16", 256),
    ("gfx942", "float32", 144),
)


def check(line: dict) -> None:
    where = "{target} {dtype} {channels} {channels_last} {op}: {kernel}".format(**line)
    assert line["spills"] == 0, f"{where} spills {line['spills']} bytes"
    if line["held"] is not None:
        assert line["held"] >= line["promised"], f"{where}: {line['registers']} registers"
    # An element of a half tensor is 16 bits: none is accessed alone.
    widths = {int(w): count for access in ("loads", "stores") for w, count in line[access].items()}
    assert min(widths) >= 32, f"{where} accesses single elements: {line['loads']} {line['stores']}"
    if line["channels"] == 256:
        wide = line["loads"].get("128", 0) + line["stores"].get("128", 0)
        assert wide >= line["vectors"], f"{where}: {wide} of {line['vectors']} are 128 bits wide"


@pytest.mark.slow
@pytest.mark.proof("triton")
def test_sm_90():
    lines = lines_of("report.py", "--targets", "sm_90")
    assert {line["kernel"] for line in lines} == {
        "batch_norm._statistics", "batch_norm._normalise", "batch_norm._sums", "batch_norm._backward",
        "residual._forward", "residual._backward", "merge._forward", "merge._backward",
        "reduction._merge_moments", "reduction._norm_sums", "reduction._sum_groups",
    }  # fmt: skip
    assert sum(line["vectors"] > 0 for line in lines) >= 40
    for line in lines:
        check(line)


@pytest.mark.slow
@pytest.mark.proof("triton")
@pytest.mark.parametrize(("target", "dtype", "channels"), OTHERS)
def test_every_target(target, dtype, channels):
    options = ["--targets", target, "--dtypes", dtype, "--channels", str(channels)]
    for line in lines_of("report.py", *options):
        check(line)


@pytest.mark.slow
@pytest.mark.proof("triton")
def test_double_compiles():
    for line in lines_of("report.py", "--targets", "sm_90", "--dtypes", "float64"):
        assert line["spills"] == 0, line


@pytest.mark.slow
def test_specialisations_of_a_network(capsys):
    """Forward, backward and evaluation at five resolutions, in both layouts."""
    (line,) = lines_of("report.py", "--network")
    with capsys.disabled():
        print(f"\n{line['launches']} launches, {line['specialisations']} specialisations")
    assert line["launches"] > 500
    assert line["specialisations"] <= 100
