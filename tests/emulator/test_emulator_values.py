"""Every op, layout, dtype and option of the CUDA kernels against float64.

The sizes are no multiples of tiles, warps, blocks, clusters and slices.
"""

import itertools
from dataclasses import replace

import pytest
import torch
from emulator_calls import (
    CLUSTER_GPU,
    DTYPES,
    ONE_WARP_AHEAD,
    SMALL_GPU,
    VARIANTS,
    Device,
    EmulatorError,
    Machine,
    shifted,
)
from emulator_checks import check, check_forward
from emulator_ops import LAYOUTS, Case, Tensors

pytestmark = pytest.mark.proof("emulator")

# An L2 of a few slices, so that the sliced variant has several of them under way.
TINY_L2 = Device(3, 100 << 10, 99 << 10, 1)
DEVICES = {"small": SMALL_GPU, "cluster": CLUSTER_GPU, "tiny": TINY_L2}

OPS = {
    "residual": dict(op="residual", widths=(16, 8, 8)),
    "plain": dict(op="plain", widths=(24,)),
    "add": dict(op="add", widths=(16,), low=16),
    "concat": dict(op="concat", widths=(8, 8), low=24),
}
NAMES = {torch.float32: "f32", torch.float64: "f64", torch.float16: "f16", torch.bfloat16: "bf16"}


MACHINES = [
    Machine("automatic", CLUSTER_GPU),
    Machine("two_pass", SMALL_GPU),
    Machine("sliced", SMALL_GPU),
    Machine("resident", CLUSTER_GPU),
]


def run_everywhere(library, case: Case) -> None:
    machines = MACHINES if case.norm == "training" else MACHINES[:1]
    served = [check(library, case, machine, seed=1) for machine in machines]
    assert served[0], "the automatic choice serves every call"


@pytest.mark.parametrize(
    ("op", "norm"),
    [
        (op, norm)
        for op in OPS
        for norm in ("training", "evaluation", "none")
        if (op, norm) != ("plain", "none")  # nothing to compute
    ],
)
@pytest.mark.parametrize("dtype", DTYPES, ids=NAMES.get)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_op_layout_and_dtype(kernels, op, layout, dtype, norm):
    run_everywhere(kernels, Case(**OPS[op], size=(2, 8, 16), layout=layout, dtype=dtype, norm=norm))


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("op", OPS)
def test_infinite_inputs_in_evaluation(kernels, op, layout, relu):
    """NaN passes the ReLU, and the gradient behind an infinite y is what torch gives it."""
    for dtype in (torch.float32, torch.bfloat16):
        case = Case(**OPS[op], size=(2, 8, 16), layout=layout, dtype=dtype, norm="evaluation")
        run_everywhere(kernels, replace(case, relu=relu, overflowed=True))


@pytest.mark.parametrize("alpha", ["channel", "shared", "none"])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_options(kernels, layout, relu, affine, alpha):
    for op, norm in itertools.product(("residual", "concat"), ("training", "evaluation")):
        case = Case(**OPS[op], size=(2, 4, 8), layout=layout, norm=norm)
        run_everywhere(kernels, replace(case, alpha=alpha, affine=affine, relu=relu))


SIZES = [
    (1, 2, 2),
    (1, 4, 4),
    (3, 2, 4),
    (5, 4, 8),
    (2, 6, 10),  # rows that no pack of eight fills
    (1, 32, 32),
    (7, 8, 8),
    (33, 4, 8),  # more than one block of items, not a multiple of it
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=NAMES.get)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sizes(kernels, size, layout, dtype):
    for op in OPS:
        run_everywhere(kernels, Case(**OPS[op], size=size, layout=layout, dtype=dtype))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(1, 1, 2), (2, 5, 7), (3, 1, 9), (1, 9, 1), (2, 7, 8)], ids=str)
def test_odd_sizes(kernels, size, layout):
    for dtype in (torch.float32, torch.float16):
        for op in ("residual", "plain"):
            run_everywhere(kernels, Case(**OPS[op], size=size, layout=layout, dtype=dtype))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_pixel(kernels, layout):
    run_everywhere(kernels, Case("residual", (8,), (1, 1, 1), layout=layout, norm="evaluation"))


@pytest.mark.parametrize(
    "widths",
    [
        (1,),
        (3,),
        (5,),
        (65,),
        (256,),
        (72, 36, 36),
        (36, 18, 18),
        (18, 9, 9),
        (2, 2, 2, 2),
        (264, 8),
    ],
    ids=str,
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_channel_counts(kernels, layout, widths):
    for dtype in (torch.float32, torch.bfloat16):
        run_everywhere(kernels, Case("residual", widths, (2, 4, 8), layout=layout, dtype=dtype))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("widths", "low", "skipped"),
    [
        ((), 8, 8),
        ((), 16, 40),
        ((12, 6, 6), 8, None),
        ((4, 4), 9, None),
        ((5, 2), 3, None),
        ((1,), 64, None),
    ],
    ids=str,
)
def test_merges_of_uneven_halves(kernels, layout, widths, low, skipped):
    for dtype in (torch.float32, torch.bfloat16):
        case = Case("concat", widths, (2, 4, 8), low=low, layout=layout, dtype=dtype)
        run_everywhere(kernels, replace(case, skip_channels=skipped))


@pytest.mark.parametrize("shift", [1, 2, 4])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensors_off_their_alignment(kernels, layout, shift):
    for op, dtype in itertools.product(OPS, (torch.float32, torch.bfloat16)):
        case = Case(**OPS[op], size=(2, 4, 8), layout=layout, dtype=dtype, shift=shift)
        run_everywhere(kernels, case)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_input_off_its_alignment_beside_results_that_are_not(kernels, dtype, layout, variant):
    """The second pass reads it by whole packs, the first could by halves."""
    tensors = Tensors(Case("plain", (64,), (2, 8, 8), layout=layout, dtype=dtype), kernels)
    half_a_pack = 8 // dtype.itemsize
    tensors.branches = [shifted(tensors.branches[0], half_a_pack)]
    machine = Machine("automatic" if variant == "two_pass" else variant, CLUSTER_GPU)
    try:
        result = tensors.forward(machine)
    except EmulatorError as refusal:
        assert "cannot serve a call of this shape, dtype and alignment" in str(refusal)
    else:
        check_forward(tensors, result)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_too_large_to_be_squared(kernels, layout, variant):
    """The variance is infinite and every result zero, as in PyTorch, not NaN."""
    tensors = Tensors(Case("plain", (4,), (2, 4, 4), layout=layout, affine=False), kernels)
    tensors.branches[0][1, :, 2, 2] = 1e20
    found = tensors.forward(Machine(variant, CLUSTER_GPU)).values
    assert bool((found["var"] == float("inf")).all()) and not bool(found["z"].any())
    tensors.branches[0][1, :, 2, 2] = float("inf")
    assert bool(tensors.forward(Machine(variant, CLUSTER_GPU)).values["var"].isnan().all())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_mean_far_from_the_deviation(kernels, layout, variant):
    # Without ReLU: its mask may rightly differ where the stored mean's rounding reaches.
    case = Case("plain", (16,), (4, 16, 16), layout=layout, mean=1e4, relu=False)
    tensors, machine = Tensors(case, kernels), Machine(variant, CLUSTER_GPU)
    y, mean, var = check_forward(tensors, tensors.forward(machine))
    _, dz = tensors.gradients()
    gradients = tensors.backward(machine, y, mean, var, None, dz).values
    expected = tensors.expected_gradients(y, None, dz)["dbranch0"].detach()
    assert (gradients["dbranch0"] - expected).norm() <= 1e-3 * expected.norm()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_variance_of_a_constant_is_zero(kernels, layout, variant):
    tensors = Tensors(Case("plain", (16,), (4, 8, 8), layout=layout), kernels)
    tensors.branches[0].fill_(1234.567)
    assert bool((tensors.forward(Machine(variant, CLUSTER_GPU)).values["var"] == 0).all())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_many_slices(kernels, layout, device):
    machine = Machine("sliced", DEVICES[device])
    for op, dtype in itertools.product(OPS, (torch.float32, torch.bfloat16)):
        case = Case(op, (256,), (2, 8, 8), low=256, layout=layout, dtype=dtype)
        assert check(kernels, case, machine)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_device_that_holds_few_blocks_at_once(emulator, layout):
    """Neither clusters nor cooperative grids, as it may be in a slice of a GPU: two passes serve."""
    tensors = Tensors(Case("plain", (4,), (64, 32, 32), layout=layout), emulator)
    for device, variant, launches in (
        (Device(4, 50 << 20, 227 << 10, 8), "resident", 1),
        (Device(4, 50 << 20, 227 << 10, 1, 1), "sliced", 1),
        (Device(4, 50 << 20, 227 << 10, 1, 0), "automatic", 3),
    ):
        result = tensors.forward(Machine(variant, device))
        assert result.launches == launches
        check_forward(tensors, result)
    with pytest.raises(EmulatorError, match="'sliced' .* cannot serve"):
        tensors.forward(Machine("sliced", device))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_cooperative_grid_that_is_refused(emulator, layout):
    """As where processes share a GPU (MPS): the call is planned anew, unless it was to be that one."""
    case = Case("residual", (16, 8, 8), (64, 32, 32), layout=layout)
    device = Device(4, 50 << 20, 16 << 10, 1)  # no channel fits its shared memory
    assert Tensors(case, emulator).forward(Machine("automatic", device)).launches == 1
    refusing = Machine("automatic", device, refuse_cooperative=True)
    assert Tensors(case, emulator).forward(refusing).launches == 3
    assert check(emulator, case, refusing)
    with pytest.raises(EmulatorError, match="forward_sliced"):
        Tensors(case, emulator).forward(replace(refusing, variant="sliced"))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_same_bits_whatever_the_order_of_threads(kernels, layout, variant):
    case = Case("concat", (16, 8), (3, 8, 16), low=24, layout=layout, dtype=torch.bfloat16)
    tensors = Tensors(case, kernels)
    dy, dz = tensors.gradients()
    runs = []
    for seed in (0, 1, ONE_WARP_AHEAD):
        machine = Machine(variant, CLUSTER_GPU, order_seed=seed)
        forward = tensors.forward(machine).values
        back = tensors.backward(machine, forward["y"], forward["mean"], forward["var"], dy, dz)
        runs.append({**forward, **back.values})
    for other in runs[1:]:
        assert all(torch.equal(runs[0][name], other[name]) for name in runs[0])


def test_wanted_gradients_only(kernels):
    case = Case("concat", (8, 8), (2, 8, 8), low=16)
    tensors = Tensors(case, kernels)
    forward = tensors.forward(Machine()).values
    dy, dz = tensors.gradients()
    saved = (forward["y"], forward["mean"], forward["var"])
    for variant in VARIANTS:
        machine = Machine(variant, CLUSTER_GPU)
        full = tensors.backward(machine, *saved, dy, dz).values
        for name in (*full, "nothing"):
            some = tensors.backward(machine, *saved, dy, dz, lambda n, name=name: n == name).values
            for found, value in some.items():
                torch.testing.assert_close(value, full[found], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("missing", ["dy", "dz"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_an_output_in_no_loss(kernels, variant, missing):
    case = Case("residual", (8, 8), (2, 8, 8))
    tensors = Tensors(case, kernels)
    forward = tensors.forward(Machine()).values
    dy, dz = tensors.gradients()
    dy, dz = (None, dz) if missing == "dy" else (dy, None)
    result = tensors.backward(
        Machine(variant, CLUSTER_GPU), forward["y"], forward["mean"], forward["var"], dy, dz
    )
    expected = tensors.expected_gradients(forward["y"], dy, dz)
    for name, value in result.values.items():
        torch.testing.assert_close(value.double(), expected[name].detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(0, 4, 4), (2, 0, 4)], ids=str)
def test_empty_tensors_launch_nothing(kernels, size):
    tensors = Tensors(Case("residual", (8,), size, norm="evaluation"), kernels)
    assert tensors.forward(Machine()).launches == 0


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_tensor_without_channels_is_there_all_the_same(kernels, layout, variant):
    """It has no address, as an absent one; the ops refuse it before it gets here."""
    case = Case("concat", (8, 8), (2, 8, 16), low=0, layout=layout)
    assert check(kernels, case, Machine(variant, CLUSTER_GPU))
