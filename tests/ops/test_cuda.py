"""The CUDA ops on a GPU: graphs, streams, devices, variants and large tensors."""

import importlib
from dataclasses import replace

import pytest
import torch
from cases import Case, call, check, make_inputs, outputs_and_gradients

from softgate_ext import ops, use_backend
from softgate_ext.ops.backend import unavailable

pytestmark = pytest.mark.gpu

BLOCK = Case(size=(4, 16, 8, 8), split=(8, 4, 4), device="cuda")
KINDS = {
    "residual": BLOCK,
    "plain": replace(BLOCK, plain=True),
    "concat": replace(BLOCK, merge="concat", low_channels=16),
    "add": replace(BLOCK, merge="add", low_channels=16),
}
VARIANTS = ("automatic", "two_pass", "sliced", "resident")
kinds = pytest.mark.parametrize("kind", KINDS)
variants = pytest.mark.parametrize("variant", VARIANTS)
layouts = pytest.mark.parametrize("channels_last", [False, True])


@pytest.fixture(autouse=True)
def cuda():
    reason = unavailable("cuda")
    if reason is not None:
        pytest.skip(f"needs the cuda backend: {reason}")
    with use_backend("cuda"):
        yield


@pytest.fixture
def force():
    extension = importlib.import_module("softgate_ext._C")
    yield extension.force_variant
    extension.force_variant("automatic")


def results(case: Case, inputs) -> dict[str, torch.Tensor]:
    try:
        return outputs_and_gradients(case, *call(case, inputs), inputs)
    except (ValueError, RuntimeError) as error:
        if "cannot serve" not in str(error):
            raise
        pytest.skip("too much for the shared memory of this device")


@kinds
@variants
@layouts
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_variants(kind, variant, channels_last, dtype, force):
    force(variant)
    check(replace(KINDS[kind], channels_last=channels_last, dtype=dtype))


def test_unknown_variant(force):
    with pytest.raises(ValueError, match="variant must be automatic, .* got 'fastest'"):
        force("fastest")


@kinds
@variants
@layouts
def test_graph_replays_what_eager_does(kind, variant, channels_last, force):
    """Captured once, replayed on other values: nothing waits, allocates or leaves a counter behind."""
    force(variant)
    case = replace(KINDS[kind], channels_last=channels_last, running=False)
    static, other = (make_inputs(replace(case, seed=s)).cast() for s in (0, 1))
    expected = results(case, other)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            results(case, static)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = results(case, static)
    with torch.no_grad():
        for name, value in other.differentiable().items():
            static.differentiable()[name].copy_(value)
        static.dy.copy_(other.dy)
        static.dz.copy_(other.dz)
    for _ in range(2):
        graph.replay()
    torch.cuda.synchronize()
    for name, value in expected.items():
        assert torch.equal(captured[name], value), name


@variants
def test_two_streams_at_once(variant, force):
    force(variant)
    case = replace(BLOCK, size=(8, 16, 32, 32))
    inputs = [make_inputs(replace(case, seed=seed)).cast() for seed in range(2)]
    alone = [results(case, replace_running(i)) for i in inputs]
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in inputs]
    found = []
    for _ in range(20):
        for stream, i in zip(streams, inputs, strict=True):
            with torch.cuda.stream(stream):
                found.append(results(case, replace_running(i)))
    torch.cuda.synchronize()
    for n, got in enumerate(found):
        for name, value in alone[n % 2].items():
            assert torch.equal(got[name], value), name


def replace_running(inputs):
    """Running statistics of its own, so that a call leaves the inputs as they are."""
    mean, var = (t.clone() for t in (inputs.running_mean, inputs.running_var))
    return replace(inputs, running_mean=mean, running_var=var)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs a second GPU")
def test_a_device_that_is_not_the_current_one():
    check(replace(BLOCK, device="cuda:1"))
    assert torch.cuda.current_device() == 0


@layouts
def test_a_small_norm_in_training_takes_two_launches(channels_last):
    """Forward and buffers; the profiler counts kernels of whatever origin."""
    case = replace(BLOCK, channels_last=channels_last, dtype=torch.bfloat16)
    inputs = make_inputs(case).cast()
    calls = torch.tensor(0, device="cuda")
    x, mean, var = inputs.dy.detach(), inputs.running_mean, inputs.running_var
    momenta = (0.1, None)

    def run() -> None:
        for momentum in momenta:
            ops.bn_relu(x, mean, var, training=True, momentum=momentum, num_batches_tracked=calls)
        torch.cuda.synchronize()

    run()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        run()
    kernels = [e for e in profile.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    assert 0 < len(kernels) <= 2 * len(momenta)


@kinds
@variants
def test_same_bits_every_time(kind, variant, force):
    force(variant)
    case = replace(KINDS[kind], size=(16, 16, 32, 32), dtype=torch.bfloat16, running=False)
    inputs = make_inputs(case).cast()
    first = results(case, inputs)
    for _ in range(10):
        for name, value in results(case, inputs).items():
            assert torch.equal(first[name], value), name


@pytest.mark.parametrize("size", [(70_000, 1, 2, 2), (1, 70_000, 2, 2), (2, 2, 2, 70_000)])
@layouts
def test_beyond_the_short_sides_of_a_grid(size, channels_last):
    check(replace(BLOCK, size=size, split=(size[1],), channels_last=channels_last))


@layouts
def test_more_than_2_to_the_31_elements(channels_last):
    """Both ends of a tensor that 32-bit offsets do not span."""
    size = (9, 8, 1 << 13, 1 << 12)  # 2.4e9 elements, 4.8 GB
    if torch.cuda.mem_get_info()[0] < 24 << 30:
        pytest.skip("needs 24 GiB of free GPU memory")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.full(size, 0.5, dtype=torch.bfloat16, device="cuda").to(memory_format=layout)
    x[0, 0, 0, 0], x[-1, -1, -1, -1] = 2.0, 3.0
    mean, var = torch.zeros(8, device="cuda"), torch.ones(8, device="cuda")
    z = ops.bn_relu(x, mean, var, eps=0.0)
    assert z.is_contiguous(memory_format=layout)
    assert torch.equal(z, x)
    del z
    y = ops.gated_residual(x, x, torch.full((8,), 2.0, device="cuda"))
    assert [y[0, 0, 0, 0].item(), y[-1, -1, -1, -1].item()] == [6.0, 9.0]
    assert y[1:-1].eq(1.5).all()
