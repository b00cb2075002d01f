"""The weights that Winograd's convolutions keep: made again after a change, and freed with the model."""

import copy
import gc

import torch
from convolved import KERNEL, Graphs, PreActivation, agree, image, lived_in, needs_kernels, one
from torch import nn

from softgate_ext import convert, use_backend
from softgate_ext.compiler import packing


@needs_kernels
def test_changed_weights_are_seen(graphs: Graphs) -> None:
    model = lived_in(PreActivation())
    twin, x = copy.deepcopy(model), image(3)
    convert(model, conv="winograd")

    def same() -> None:
        with torch.no_grad():
            agree(model.eval()(x), twin.eval()(x))

    same()
    made = graphs.made
    assert made == 7
    same()
    with torch.no_grad():
        model(image(3, 6, 6))  # another graph
    assert graphs.made == made and graphs.count(KERNEL) == 14
    for net in (model, twin):
        with torch.no_grad():
            net.block1.conv1.weight.mul_(2)
            net.block2.bn1.running_mean.add_(1)
            net.block3.bn2.bias = nn.Parameter(torch.ones(24))
    same()
    assert graphs.made == made + 3
    for net in (model, twin):
        net.train()(x)  # the statistics of every norm
        net.block1.conv2.weight.data = net.block1.conv2.weight.data + 1
    same()
    other = lived_in(PreActivation())
    for net in (model, twin):
        net.load_state_dict(other.state_dict())
    same()
    for net in (model, twin):
        net.load_state_dict(copy.deepcopy(lived_in(PreActivation()).state_dict()), assign=True)
        torch.manual_seed(0)
        nn.init.normal_(net.stem.weight)
        nn.init.normal_(net.block1.conv1.weight)
    twin.load_state_dict(model.state_dict())
    same()


@needs_kernels
def test_what_is_made_goes_with_the_model() -> None:
    gc.collect()
    before = len(packing._made)
    model = convert(one().eval(), conv="winograd")
    with torch.no_grad():
        model(image(4))
    assert len(packing._made) == before + 1
    del model
    torch._dynamo.reset()
    gc.collect()
    assert len(packing._made) == before


@needs_kernels
def test_weights_whose_changes_nobody_counts(graphs: Graphs) -> None:
    with torch.inference_mode():
        model = one().eval()
        twin, x = copy.deepcopy(model), image(4)
        convert(model, conv="winograd")
        agree(model(x), twin(x))
        for net in (model, twin):
            net.weight.mul_(2)
        agree(model(x), twin(x))
    assert graphs.made == 0


@needs_kernels
def test_another_backend_convolves_directly(graphs: Graphs) -> None:
    model = lived_in(PreActivation())
    twin, x = copy.deepcopy(model), image(3)
    convert(model, conv="winograd")
    with torch.no_grad():
        with use_backend("reference"):
            agree(model(x), twin(x))
        assert graphs.made == 0
        agree(model(x), twin(x))
        assert graphs.made == 7 and len(graphs.graphs) == 1
