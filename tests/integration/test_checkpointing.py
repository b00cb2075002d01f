"""Under `torch.utils.checkpoint` the forward runs twice, and running statistics are updated twice.

PyTorch's own batch norm does the same. A momentum of `1 - sqrt(1 - m)` makes up for it.
"""

from functools import partial

import pytest
import torch
from networks import block, features, gradients, images, network, total
from test_replaced_modules import plain
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    CheckpointImpl,
    apply_activation_checkpointing,
    checkpoint_wrapper,
)
from torch.utils.checkpoint import checkpoint

from softgate_ext import use_backend
from softgate_ext.models.hourglass import Down, Hourglass, Up
from softgate_ext.models.hybrid import Stack
from softgate_ext.nn import SoftGatedBlock

reentrant = pytest.mark.parametrize("reentrant", [False, True])
backends = pytest.mark.parametrize("backend", ["auto", "reference"])


@reentrant
@backends
def test_gradients_and_statistics_are_those_of_plain_pytorch(reentrant, backend):
    module, expected, once = block(), block(), block()
    x = features().requires_grad_()
    with use_backend(backend):
        total(checkpoint(module, x, use_reentrant=reentrant)).backward()
        total(once(features())).backward()
    total(checkpoint(lambda t: plain(expected, t), x, use_reentrant=reentrant)).backward()
    assert module.bn2.num_batches_tracked == 2 == expected.bn2.num_batches_tracked
    theirs = dict(expected.named_buffers())
    for name, buffer in module.named_buffers():
        torch.testing.assert_close(buffer, theirs[name], msg=name)
    for name, gradient in gradients(module).items():
        torch.testing.assert_close(gradient, gradients(once)[name], msg=name)


@reentrant
def test_the_whole_network(reentrant):
    model, expected = network(stacks=2), network(stacks=2)
    x = images().requires_grad_()
    outputs = checkpoint(lambda t: tuple(model(t)), x, use_reentrant=reentrant)
    total(list(outputs)).backward()
    total(expected(images())).backward()
    for name, gradient in gradients(expected).items():
        torch.testing.assert_close(gradients(model)[name], gradient, msg=name)


def _wrapped(model, kind, impl):
    apply_activation_checkpointing(
        model,
        checkpoint_wrapper_fn=partial(checkpoint_wrapper, checkpoint_impl=impl),
        check_fn=lambda module: isinstance(module, kind),
    )
    return model


def _patched(model, kind, impl):
    reentrant = impl is CheckpointImpl.REENTRANT
    for module in model.modules():
        if isinstance(module, kind):
            module.forward = partial(checkpoint, module.forward, use_reentrant=reentrant)
    return model


@backends
@pytest.mark.parametrize("impl", list(CheckpointImpl), ids=lambda impl: impl.name.lower())
@pytest.mark.parametrize("put", [_wrapped, _patched])
@pytest.mark.parametrize("kind", [SoftGatedBlock, Down, Up, Hourglass, Stack])
def test_parts_of_the_network(kind, put, impl, backend):
    """A part that runs twice sees sums, which the run before it has not used up."""
    model, expected = network(stacks=2), network(stacks=2)
    put(model, kind, impl)
    with use_backend(backend):
        total(model(images())).backward()
        total(expected(images())).backward()
    theirs = gradients(expected)
    for (name, gradient), wanted in zip(gradients(model).items(), theirs.values(), strict=True):
        torch.testing.assert_close(gradient, wanted, msg=name)


class Remembering(SoftGatedBlock):
    """A block whose own forward runs the block's twice."""

    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=False)


def test_a_subclass_with_a_forward_of_its_own_sees_tensors():
    model, expected = network(), network()
    for module in model.modules():
        if type(module) is SoftGatedBlock:
            module.__class__ = Remembering
    total(model(images())).backward()
    total(expected(images())).backward()
    for name, gradient in gradients(expected).items():
        torch.testing.assert_close(gradients(model)[name], gradient, msg=name)
