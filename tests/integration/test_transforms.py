"""`torch.func` on the network: supported transforms give the plain values, others raise as in PyTorch."""

import copy

import pytest
import torch
from networks import block, features, gradients, images, network, total
from test_replaced_modules import plain
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jvp, stack_module_state, vmap


def state(module):
    return dict(module.named_parameters()), dict(module.named_buffers())


@pytest.mark.parametrize("training", [True, False])
def test_functional_call_reads_and_updates_the_given_state(training):
    model, given = network().train(training), network()
    with torch.no_grad():
        for p in given.parameters():
            p.mul_(1.1)
    expected = copy.deepcopy(given).train(training)
    before = copy.deepcopy(model.state_dict())
    outputs = functional_call(model, state(given), (images(),))
    torch.testing.assert_close(outputs, expected(images()))
    for name, buffer in given.named_buffers():
        torch.testing.assert_close(buffer, expected.get_buffer(name), msg=name)
    assert all(torch.equal(v, before[name]) for name, v in model.state_dict().items())


@pytest.mark.parametrize("training", [True, False])
def test_grad_of_a_functional_call(training):
    model, expected = network().train(training), network().train(training)
    parameters, buffers = state(model)

    def loss(p):
        own = {name: b.clone() for name, b in buffers.items()}
        return total(functional_call(model, (p, own), (images(),)))

    got = grad(loss)(parameters)
    total(expected(images())).backward()
    for name, gradient in gradients(expected).items():
        torch.testing.assert_close(got[name], gradient, msg=name)


def test_gradients_of_each_sample():
    model = network().eval()
    parameters, buffers = state(model)

    def loss(p, image):
        return total(functional_call(model, (p, buffers), (image[None],)))

    got = vmap(grad(loss), in_dims=(None, 0))(parameters, images(3))
    for n in range(3):
        model.zero_grad()
        total(model(images(3)[n : n + 1])).backward()
        for name, gradient in gradients(model).items():
            torch.testing.assert_close(got[name][n], gradient, msg=name)


@pytest.mark.parametrize("training", [True, False])
def test_an_ensemble(training):
    models = [network().train(training) for _ in range(2)]
    with torch.no_grad():
        for p in models[1].parameters():
            p.mul_(1.1)
    parameters, buffers = stack_module_state(models)
    base = copy.deepcopy(models[0]).to("meta")
    x = images()
    got = vmap(lambda p, b: functional_call(base, (p, b), (x,))[-1])(parameters, buffers)
    for n, model in enumerate(models):
        torch.testing.assert_close(got[n], model(x)[-1])
        for name, buffer in model.named_buffers():
            torch.testing.assert_close(buffers[name][n], buffer, msg=name)


def test_forward_mode_derivatives():
    model = network().eval()
    direction = images(5)[:2]
    h = 1e-6
    moved = [model(images() + s * h * direction)[-1] for s in (1, -1)]
    expected = (moved[0] - moved[1]) / (2 * h)
    _, tangent = jvp(lambda x: model(x)[-1], (images(),), (direction,))
    with forward_ad.dual_level():
        dual = model(forward_ad.make_dual(images(), direction))[-1]
        torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, tangent)
    torch.testing.assert_close(tangent, expected, rtol=1e-5, atol=1e-6)


def message(function) -> tuple[type, str]:
    with pytest.raises(RuntimeError) as error:
        function()
    return type(error.value), str(error.value)


@pytest.mark.parametrize(
    "transformed",
    [
        lambda f: vmap(lambda x: f(x[None]))(features(3)),
        lambda f: grad(lambda x: f(x).sum())(features()),
    ],
    ids=["vmap", "grad"],
)
def test_running_statistics_that_a_transform_cannot_update_are_refused_as_by_pytorch(transformed):
    module = block()
    ours = message(lambda: transformed(module))
    assert ours == message(lambda: transformed(lambda x: plain(module, x)))
    for norm in (module.bn1, module.bn2, module.bn3):
        norm.track_running_stats = False
        norm.running_mean = norm.running_var = norm.num_batches_tracked = None
    torch.testing.assert_close(transformed(module), transformed(lambda x: plain(module, x)))
