"""A block and the whole network under `torch.compile(fullgraph=True)`, over several training steps."""

import copy

import pytest
import torch
from networks import block, features, images, network, total
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.utils import counters
from torch._guards import TracingContext
from torch._inductor.utils import get_first_incompatible_cudagraph_node

from softgate_ext.nn import SoftGatedBlock

BATCHES = {"static": (5, 5, 5), "dynamic": (5, 7, 11)}
ways = pytest.mark.parametrize("sizes", BATCHES.values(), ids=BATCHES)
modes = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


@pytest.fixture(autouse=True)
def one_graph():
    """A second graph is an error: whether by a break or by a recompilation."""
    torch._dynamo.reset()
    counters.clear()
    with torch._dynamo.config.patch(error_on_recompile=True):
        yield
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]
    torch._dynamo.reset()


def learn(module: nn.Module, call, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """The losses of steps, one an input; in evaluation nothing is learnt."""
    optimizer = torch.optim.SGD(module.parameters(), 1e-3)
    losses = []
    for x in inputs:
        loss = total(call(x))
        losses.append(loss.detach())
        if module.training:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return losses


def agree(module: nn.Module, inputs: list[torch.Tensor], backend="aot_eager", **options) -> None:
    expected = copy.deepcopy(module)
    dynamic = len({len(x) for x in inputs}) > 1
    call = torch.compile(module, fullgraph=True, dynamic=dynamic, backend=backend, **options)
    losses = learn(module, call, inputs)
    torch.testing.assert_close(losses, learn(expected, expected, inputs))
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(module.state_dict()[name], value, msg=name)
    if module.training:
        counts = [v for k, v in module.state_dict().items() if k.endswith("num_batches_tracked")]
        assert all(count == len(inputs) for count in counts)


@modes
@ways
def test_a_block(sizes, training):
    agree(block().train(training), [features(n) for n in sizes])


@pytest.mark.slow
@modes
@ways
def test_the_network(sizes, training):
    agree(network().train(training), [images(n) for n in sizes])


@pytest.mark.slow
def test_a_block_under_inductor():
    agree(block(torch.float32), [features(n, torch.float32) for n in (5, 7)], "inductor")


def test_cumulative_averages_and_blocks_in_a_row():
    """`momentum=None`, and a sum that one block hands on to the next."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = SoftGatedBlock(8, 8), SoftGatedBlock(8, 8)
            self.second.bn1.momentum = None

        def forward(self, x):
            return self.second(self.first(x, complete=False))

    agree(Two().double(), [features(n) for n in BATCHES["dynamic"]])


@pytest.mark.parametrize("learning", [True, False])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_nothing_keeps_cuda_graphs_from_the_graphs(momentum, learning):
    """What Inductor asks before it captures: does a graph write to inputs other than parameters
    and buffers, whose addresses stay, or call what cannot be captured?"""
    seen = []

    def inspect(graph: torch.fx.GraphModule, _):
        fixed = TracingContext.get().fw_metadata.static_input_indices
        inputs = [n for n in graph.graph.nodes if n.op == "placeholder"]
        copies = graph.graph.find_nodes(op="call_function", target=torch.ops.aten.copy_.default)
        written = [inputs.index(n.args[0]) for n in copies]
        seen.append((set(written), set(fixed), get_first_incompatible_cudagraph_node(graph)))
        return graph.forward

    backend = aot_autograd(
        fw_compiler=inspect, inference_compiler=inspect, keep_inference_input_mutations=True
    )
    module = block()
    module.bn2.momentum = momentum
    with torch.set_grad_enabled(learning):
        y = torch.compile(module, fullgraph=True, backend=backend)(features())
    if learning:
        total(y).backward()
    assert len(seen) == 1 + learning  # forward, and backward
    for written, fixed, incompatible in seen:
        assert written <= fixed and incompatible is None
    assert len(seen[0][0]) == 9  # three buffers a norm
