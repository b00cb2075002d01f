"""The running statistics of a norm: the kernel against torch.lerp, and the launches of a training call."""

from dataclasses import replace

import emulator_build
import pytest
import torch
from emulator_calls import CLUSTER_GPU, DTYPES, ONE_WARP_AHEAD, Machine
from emulator_ops import LAYOUTS, Case, Tensors, update_running

pytestmark = pytest.mark.proof("emulator")

COUNT = 24  # values a channel
AHEAD = Machine(order_seed=ONE_WARP_AHEAD)


def cases(channels: int, dtype: torch.dtype):
    g = torch.Generator().manual_seed(channels)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    make = lambda kind: [torch.rand(channels, generator=g, dtype=wide).to(kind) for _ in range(2)]  # noqa: E731
    return make(dtype), make(wide)


@pytest.mark.parametrize("momentum", [0.1, 0.75, 1.0, None])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 144, 700])
def test_values(kernels, channels, dtype, momentum):
    running, batch = cases(channels, dtype)
    calls = torch.tensor(3)
    before = [t.clone() for t in running]
    result = update_running(kernels, running, batch, calls, momentum, COUNT, AHEAD)
    assert calls.item() == 4 and result.launches in (0, 1)  # a GPU does not count them
    unbiased = (batch[0], batch[1] * (COUNT / (COUNT - 1)))
    for t, old, new in zip(running, before, unbiased, strict=True):
        expected = old.lerp(new.to(dtype), 0.25 if momentum is None else momentum)
        torch.testing.assert_close(t, expected)


def test_nobody_counts(kernels):
    running, batch = cases(144, torch.float32)
    expected = running[0].lerp(batch[0], 0.1)
    update_running(kernels, running, batch, None, 0.1, COUNT, AHEAD)
    torch.testing.assert_close(running[0], expected)


@pytest.mark.slow
def test_a_count_that_is_raised_too_early_is_caught(emulator, tmp_path):
    change = (
        "running.cu",
        "    __syncthreads();\n    if (threadIdx.x == 0) {",
        "    if (threadIdx.x == 0) {",
    )
    wrong = emulator_build.build_wrong(tmp_path, *change, dtype="f32")
    for library, same in ((emulator, True), (wrong, False)):
        running, batch = cases(144, torch.float32)
        expected = running[0].lerp(batch[0], 0.25)
        in_order = replace(AHEAD, order_seed=0)
        update_running(library, running, batch, torch.tensor(3), None, COUNT, in_order)
        assert torch.allclose(running[0], expected) is same


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_small_tensor_in_training_takes_two_launches(emulator, layout):
    """Forward and buffers: running_mean, running_var and the number of calls."""
    case = Case("residual", (16, 8, 8), (4, 8, 8), layout=layout, dtype=torch.bfloat16)
    forward = Tensors(case, emulator).forward(Machine("automatic", CLUSTER_GPU))
    running = [torch.zeros(32), torch.ones(32)]
    batch = [forward.values["mean"], forward.values["var"]]
    after = update_running(emulator, running, batch, torch.tensor(0), None, COUNT, AHEAD)
    assert forward.launches + after.launches <= 2
    torch.testing.assert_close(running[0], batch[0])
