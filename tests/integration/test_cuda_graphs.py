"""CUDA graphs of inference and of training steps, captured by hand and by `mode="reduce-overhead"`."""

import copy

import pytest
import torch
from networks import images, network, total
from torch import Tensor, nn
from torch._dynamo.utils import counters

from softgate_ext import use_backend
from softgate_ext.ops.backend import unavailable

pytestmark = pytest.mark.gpu
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
layouts = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


@pytest.fixture(params=["cuda", "triton"], autouse=True)
def backend(request, monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    reason = unavailable(request.param)
    if reason is not None:
        pytest.skip(f"needs the {request.param} kernels: {reason}")
    # Convolutions that add up in another order would hide what is compared.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    with use_backend(request.param):
        yield request.param


def model_and_images(layout: torch.memory_format) -> tuple[nn.Module, list[Tensor]]:
    model = network(torch.float32, stacks=2).to("cuda", memory_format=layout)
    batches = [images(4, torch.float32) * scale for scale in (1.0, 0.5, 0.8)]
    return model, [x.to("cuda", memory_format=layout) for x in batches]


def captured(function) -> torch.cuda.CUDAGraph:
    """A graph of one call, after the warm-up on a stream of its own that PyTorch asks for."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph


@layouts
def test_inference(layout):
    model, batches = model_and_images(layout)
    model.eval().requires_grad_(False)
    static, outputs = batches[0].clone(), []

    def run() -> None:
        outputs[:] = model(static)

    graph = captured(run)
    for x in batches:
        static.copy_(x)
        graph.replay()
        torch.testing.assert_close(outputs, model(x))


@layouts
def test_a_training_step(layout):
    """Forward, backward and optimiser in one graph; statistics go on being updated."""
    model, batches = model_and_images(layout)
    expected = copy.deepcopy(model)
    static = batches[0].clone()

    def step(m: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        total(m(x)).backward()
        optimizer.step()

    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    graph = captured(lambda: step(model, optimizer, static))
    other = torch.optim.SGD(expected.parameters(), 1e-3)
    for _ in range(3):  # the warm-up; a capture runs nothing
        step(expected, other, batches[0])
    for x in batches:
        static.copy_(x)
        graph.replay()
        step(expected, other, x)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-3, atol=1e-4, msg=name)
    assert model.stem.bn.num_batches_tracked == 3 + len(batches)


@layouts
def test_make_graphed_callables(layout):
    model, batches = model_and_images(layout)
    expected = copy.deepcopy(model).eval()
    model.eval()
    wrapped = torch.cuda.make_graphed_callables(model, (batches[0].clone(),))
    for x in batches:
        for m, call in ((model, wrapped), (expected, expected)):
            m.zero_grad()
            total(call(x)).backward()
        for (name, p), q in zip(model.named_parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_reduce_overhead_is_not_switched_off(training):
    """Inductor counts what it could not capture; our buffers must not be a reason."""
    torch._dynamo.reset()
    counters.clear()
    model, batches = model_and_images(torch.channels_last)
    expected = copy.deepcopy(model)
    compiled = torch.compile(model.train(training), fullgraph=True, mode="reduce-overhead")
    expected.train(training)
    for x in [batches[0]] * 3 + batches:
        torch.compiler.cudagraph_mark_step_begin()
        for m, call in ((model, compiled), (expected, expected)):
            m.zero_grad()
            with torch.set_grad_enabled(training):
                loss = total(call(x))
            if training:
                loss.backward()
    assert counters["inductor"]["cudagraph_skips"] == 0
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-3, atol=1e-3, msg=name)
    torch._dynamo.reset()
