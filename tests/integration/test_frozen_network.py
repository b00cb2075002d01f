"""A frozen part of a network runs as in inference, and the rest is trained as before."""

import pytest
import torch
from networks import gradients, images, network, total
from torch.autograd.graph import saved_tensors_hooks

from softgate_ext import use_backend


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_a_frozen_stem(backend):
    model, expected = network(stacks=2), network(stacks=2)
    model.stem.requires_grad_(False)
    kept: list[int] = []
    model.stem.register_forward_pre_hook(lambda *_: kept.append(-len(saved)))
    model.stem.register_forward_hook(lambda *_: kept.append(len(saved)))
    saved: list[torch.Tensor] = []
    with use_backend(backend):
        with saved_tensors_hooks(lambda t: (saved.append(t), t)[1], lambda t: t):
            outputs = model(images())
        total(outputs).backward()
        total(expected(images())).backward()
    assert sum(kept) == 0 and saved
    for name, gradient in gradients(model).items():
        if name.startswith("stem"):
            assert gradient is None, name
        else:
            torch.testing.assert_close(gradient, gradients(expected)[name], msg=name)
    statistics = dict(expected.named_buffers())
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, statistics[name], msg=name)


def test_inference_mode_leaves_a_network_that_learns():
    model, expected = network().eval(), network().eval()
    with torch.inference_mode():
        outputs = model(images())
    assert outputs[-1].is_inference()
    torch.testing.assert_close(outputs[-1].clone(), expected(images())[-1])
    total(model.train()(images())).backward()
    total(expected.train()(images())).backward()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, gradients(expected)[name], msg=name)
