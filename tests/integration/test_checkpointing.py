"""`torch.utils.checkpoint`: the forward runs twice, and running statistics are updated twice.

That is what PyTorch's own batch norm does there; a momentum of `1 - sqrt(1 - m)` undoes it.
"""

import pytest
import torch
from networks import block, features, gradients, images, network, total
from test_replaced_modules import plain
from torch.utils.checkpoint import checkpoint

from softgate_ext import use_backend

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
