"""Bytes that the CUDA kernels move, held to the fewest possible and 2 % for everything else
(per-channel vectors, partial sums)."""

from dataclasses import replace

import pytest
import torch
from emulator_calls import CLUSTER_GPU, Device, Machine, Result
from emulator_ops import LAYOUTS, Case, Tensors

pytestmark = pytest.mark.proof("emulator")

# Sizes that fill tiles; e is one activation of the block.
BLOCK = Case("residual", (32, 16, 16), (32, 32, 32), dtype=torch.bfloat16)
PLAIN = replace(BLOCK, op="plain", widths=(64,))
ADD = replace(BLOCK, op="add", widths=(), skip_channels=64, low=64)
CONCAT = replace(BLOCK, op="concat", widths=(), skip_channels=32, low=32)
FORWARD = {"two_pass": 5.0, "resident": 4.0}
BACKWARD = {"two_pass": 8.0, "resident": 6.0}
MARGIN = 1.02


def elements(case: Case) -> int:
    n, h, w = case.size
    return n * case.channels * h * w * case.dtype.itemsize


def hold(result: Result, case: Case, ideal: float, variant: str | None = None) -> None:
    """Of a variant on CLUSTER_GPU also that the model of its time knows the bytes."""
    assert ideal <= result.bytes / elements(case) <= ideal * MARGIN
    if variant is not None:
        from_l2 = CLUSTER_GPU.l2_bytes / 2 if variant == "two_pass" else 0  # of the second pass
        assert result.predicted_bytes == pytest.approx(ideal * elements(case) - from_l2)


def run(library, case: Case, machine: Machine, backward: bool, y_in_loss: bool = True) -> Result:
    tensors = Tensors(case, library)
    forward = tensors.forward(machine)
    if not backward:
        return forward
    y = forward.values.get("y", tensors.branches[0] if tensors.branches else None)
    dy, dz = tensors.gradients()
    running = {"mean": tensors.running_mean, "var": tensors.running_var}
    statistics = [forward.values.get(name, running[name]) for name in ("mean", "var")]
    return tensors.backward(machine, y, *statistics, dy if y_in_loss else None, dz)


def sized(case: Case, variant: str, layout: str) -> Case:
    """A cluster of channels_last holds several channels: smaller images."""
    return replace(case, layout=layout, size=(8 if variant == "resident" else 32, 32, 32))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("variant", FORWARD)
class TestTraining:
    def test_block(self, emulator, variant, layout):
        case, machine = sized(BLOCK, variant, layout), Machine(variant, CLUSTER_GPU)
        hold(run(emulator, case, machine, False), case, FORWARD[variant], variant)
        hold(run(emulator, case, machine, True), case, BACKWARD[variant], variant)

    def test_plain(self, emulator, variant, layout):
        case, machine = sized(PLAIN, variant, layout), Machine(variant, CLUSTER_GPU)
        hold(run(emulator, case, machine, False), case, FORWARD[variant] - 2, variant)
        hold(run(emulator, case, machine, True), case, BACKWARD[variant] - 3, variant)

    def test_merge_by_addition(self, emulator, variant, layout):
        """A quarter for low, in the place of the branches."""
        case, machine = sized(ADD, variant, layout), Machine(variant, CLUSTER_GPU)
        hold(run(emulator, case, machine, False), case, FORWARD[variant] - 0.75, variant)
        hold(run(emulator, case, machine, True), case, BACKWARD[variant] - 0.75, variant)

    def test_merge_of_which_only_z_is_used(self, emulator, variant, layout):
        case, machine = sized(ADD, variant, layout), Machine(variant, CLUSTER_GPU)
        result = run(emulator, case, machine, True, y_in_loss=False)
        hold(result, case, BACKWARD[variant] - 1.75, variant)

    def test_merge_side_by_side(self, emulator, variant, layout):
        """Skip is half of y, and low an eighth."""
        case, machine = sized(CONCAT, variant, layout), Machine(variant, CLUSTER_GPU)
        hold(run(emulator, case, machine, False), case, FORWARD[variant] - 1.375, variant)
        hold(run(emulator, case, machine, True), case, BACKWARD[variant] - 1.875, variant)

    def test_branches_that_end_within_packs(self, emulator, variant, layout):
        case = sized(replace(BLOCK, widths=(36, 20, 16)), variant, layout)
        machine = Machine(variant, CLUSTER_GPU)
        hold(run(emulator, case, machine, False), case, FORWARD[variant], variant)
        hold(run(emulator, case, machine, True), case, BACKWARD[variant], variant)


SLICED = {
    "block": (replace(BLOCK, widths=(256, 128, 128)), 4, 6),
    "plain": (replace(PLAIN, widths=(512,)), 2, 3),
    "add": (replace(ADD, skip_channels=512, low=512), 3.25, 5.25),
    "concat": (replace(CONCAT, skip_channels=256, low=256), 2.625, 4.125),
}


@pytest.mark.parametrize("name", SLICED)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_slices_wait_in_the_cache(emulator, layout, name):
    """One read and one write of device memory, where the cache holds a few slices of four tensors;
    the same cache is far too small for two passes."""
    case, *ideals = SLICED[name]
    case = replace(case, size=(8, 16, 16), layout=layout)
    device = Device(4, elements(case) * 3 // 4, 99 << 10, 1)
    for backward, ideal in zip((False, True), ideals, strict=True):
        sliced = Machine("sliced", device, cache_bytes=device.l2_bytes)
        result = run(emulator, case, sliced, backward)
        assert ideal <= result.device_bytes / elements(case) <= ideal * MARGIN
        assert result.predicted_bytes == pytest.approx(ideal * elements(case))
        twice = Machine("two_pass", device, cache_bytes=device.l2_bytes)
        assert run(emulator, case, twice, backward).device_bytes / elements(case) > ideal * 1.1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_pass_where_statistics_are_known_or_absent(emulator, layout):
    machine = Machine()
    for case, forward in (
        (replace(BLOCK, norm="evaluation"), 4),
        (replace(BLOCK, norm="none"), 3),
        (replace(PLAIN, norm="evaluation"), 2),
        (replace(ADD, norm="none"), 2.25),
        (replace(ADD, norm="evaluation"), 3.25),
        (replace(CONCAT, norm="none"), 1.625),
        (replace(CONCAT, norm="evaluation"), 2.625),
    ):
        case = replace(case, layout=layout)
        hold(run(emulator, case, machine, False), case, forward)


# In: the gradients of the outputs, y where there is a norm, and skip; out: one gradient per source.
ONE_PASS_BACKWARD = {
    "block": (replace(BLOCK, norm="none"), 1 + 1 + 2),
    "add": (replace(ADD, norm="none"), 1 + 1 + 1.25),
    "concat": (replace(CONCAT, norm="none"), 1 + 0.5 + 0.625),
    "normed block": (replace(BLOCK, norm="evaluation", affine=False), 3 + 1 + 2),
    "normed add": (replace(ADD, norm="evaluation", affine=False), 3 + 1 + 1.25),
    "normed concat": (replace(CONCAT, norm="evaluation", affine=False), 3 + 0.5 + 0.625),
    "norm": (replace(PLAIN, norm="evaluation", affine=False), 2 + 1),
}


@pytest.mark.parametrize("name", ONE_PASS_BACKWARD)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_pass_backward_where_no_sum_is_waited_for(emulator, layout, name):
    case, ideal = ONE_PASS_BACKWARD[name]
    case = replace(case, layout=layout)
    hold(run(emulator, case, Machine(), True), case, ideal)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_nobody_wants_is_not_moved(emulator, layout):
    case = replace(BLOCK, layout=layout, alpha="none")
    hold(run(emulator, case, Machine("two_pass"), True), case, 7)  # skip is not read
    tensors = Tensors(case, emulator)
    forward = tensors.forward(Machine()).values
    _, dz = tensors.gradients()
    saved = (forward["y"], forward["mean"], forward["var"])
    result = tensors.backward(Machine("two_pass"), *saved, None, dz, lambda name: name == "dskip")
    hold(result, case, 5)  # dz and y twice, dskip


@pytest.mark.parametrize("variant", FORWARD)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_skip_of_closed_gates_is_not_read(emulator, variant, layout):
    """Half of the gates, in whole packs of channels."""
    case = sized(BLOCK, variant, layout)
    tensors = Tensors(case, emulator)
    tensors.alpha[: case.channels // 2] = 0
    result = tensors.forward(Machine(variant, CLUSTER_GPU))
    hold(result, case, FORWARD[variant] - 0.5)


@pytest.mark.parametrize("variant", ["sliced", "resident"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_small_tensors_take_one_launch(emulator, layout, variant):
    for side in (4, 8, 16):
        case = Case("residual", (16, 8, 8), (4, side, side), layout=layout, dtype=torch.bfloat16)
        for chosen in (variant, "automatic"):
            machine = Machine(chosen, CLUSTER_GPU)
            assert run(emulator, case, machine, False).launches == 1
            assert run(emulator, case, machine, True).launches == 1


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_small_tensors_take_two_passes_where_packs_are_not_whole(emulator, layout, passes):
    """As docs/cuda.md says it: what divides into packs, and what just does not."""
    half, single = torch.bfloat16, torch.float32
    if layout == "contiguous":
        sizes = {1: ((half, 8), (single, 4), (single, 12)), 2: ((half, 4), (half, 12), (single, 6))}
        cases = [
            Case("add", (), (2, w, w), low=8, skip_channels=8, dtype=d) for d, w in sizes[passes]
        ]
    else:
        widths = {1: ((36, 20, 16), (8,)), 2: ((36, 18, 18), (5,))}
        cases = [Case("residual", w, (2, 4, 4), dtype=half) for w in widths[passes]]
    for case in cases:
        case = replace(case, layout=layout)
        machine = Machine("automatic", CLUSTER_GPU)
        assert run(emulator, case, machine, False).launches == {1: 1, 2: 3}[passes]
        assert run(emulator, case, machine, True).launches == {1: 1, 2: 4}[passes]
