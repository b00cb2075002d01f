"""The way to a GPU, as far as it can be walked without one."""

import json
import sys
from dataclasses import replace

import emulator_build
import pytest
import torch
from emulator_calls import CLUSTER_GPU, Machine
from emulator_checks import check
from emulator_ops import LAYOUTS
from sanitized_cases import OPS, run_cases


@pytest.fixture(scope="module")
def pretended():
    reason = emulator_build.why_not()
    if reason:
        pytest.skip(reason)
    return emulator_build.build(door="pretended.cpp")


@pytest.mark.parametrize("norm", ["training", "evaluation", "none"])
def test_the_cases_have_every_kind_of_pack(norm):
    """Plain ones and those of a low resolution, each also with branches that end within packs."""
    kinds = {
        (op.low > 0, any(width % 8 for width in op.widths))
        for op in OPS
        if op.norm == norm and op.channels % 8 == 0
    }
    assert len(kinds) == 4


@pytest.mark.slow
@pytest.mark.proof("emulator")
@pytest.mark.parametrize("tool", ["memcheck", "initcheck"])
def test_the_sanitizers_cases(pretended, tool):
    """Every variant serves most of them, whatever the outputs start as."""
    assert run_cases(pretended, tool) > 100


@pytest.mark.slow
@pytest.mark.proof("emulator")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_twins_are_as_far_off_their_alignment(pretended, layout):
    for op in OPS:
        case = replace(op, layout=layout, dtype=torch.bfloat16, shift=1)
        assert check(pretended, case, Machine("two_pass", CLUSTER_GPU))


@pytest.mark.slow
def test_the_sweep(pretended, capsys):
    """Every constant of the plan that it varies, in both layouts, with a time of each direction."""
    sys.path.insert(0, str(emulator_build.ROOT))
    from benchmarks.gpu import sweep

    sweep.main(pretended, channels=(16,), size=(2, 4, 4), repeats=1)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    constants = {"l2_bytes", "processors", "cooperative", "cluster"}
    for layout in LAYOUTS:
        served = [x for x in lines if x["layout"] == layout and "refused" not in x]
        assert {key for x in served for key in x} >= constants
        assert all(x["forward_us"] > 0 and x["backward_us"] > 0 for x in served)


@pytest.mark.slow
@pytest.mark.proof("emulator")
def test_nvcc_takes_the_door_to_the_gpu(tmp_path):
    if emulator_build.nvcc() is None:
        pytest.skip("needs nvcc")
    door = str(emulator_build.HERE / "on_device.cu")
    target = str(tmp_path / "on_device.o")
    emulator_build.run(
        [emulator_build.nvcc(), emulator_build.toolkit.STANDARD, "-c", door, "-o", target]
    )
