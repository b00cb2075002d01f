"""Models of the package are copied and stored in files, also from one backend to another."""

import copy
import io
import pickle

import pytest
import torch
from networks import features, images, network, total
from torch import nn

from softgate_ext import convert, use_backend
from softgate_ext.nn import GatedResidualBNReLU, SkipMerge

NETWORKS = {
    "hybrid": lambda: network(stacks=2),
    "add": lambda: network(fusion="add", gate="block"),
    "hourglass": lambda: network(name="hourglass_1x48", stacks=2),
}
networks = pytest.mark.parametrize("name", NETWORKS)


def stored(value, weights_only: bool = True):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=weights_only)


def trained(model: nn.Module) -> nn.Module:
    """After a step: statistics, their counters and weights have moved."""
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    total(model(images())).backward()
    optimizer.step()
    optimizer.zero_grad()
    return model


@networks
@pytest.mark.parametrize("first, second", [("auto", "reference"), ("reference", "auto")])
def test_a_state_dict_goes_from_fused_to_reference_and_back(name, first, second):
    with use_backend(first):
        model = trained(NETWORKS[name]())
        expected = model.eval()(images(3))
    with use_backend(second):
        other = trained(trained(NETWORKS[name]())).eval()
        assert not torch.allclose(other(images(3))[-1], expected[-1])
        other.load_state_dict(stored(model.state_dict()), strict=True)
        torch.testing.assert_close(other(images(3)), expected)


@networks
@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), lambda m: stored(m, False)],
    ids=["deepcopy", "pickle", "torch.save"],
)
def test_copies_are_whole_and_independent(name, copied):
    model = trained(NETWORKS[name]())
    twin = copied(model)
    expected = copy.deepcopy(model.state_dict())
    trained(twin)
    for key, value in model.state_dict().items():
        assert torch.equal(value, expected[key]), key
    trained(model)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, twin.state_dict()[key], msg=key)


@pytest.mark.parametrize(
    "make", [lambda: GatedResidualBNReLU(8), lambda: SkipMerge(8, bn_relu=True)]
)
def test_modules(make):
    module, other = make().double(), make().double()
    x = features()
    for _ in range(2):
        module(x, x[..., ::2, ::2] if isinstance(module, SkipMerge) else x)
    other.load_state_dict(stored(module.state_dict()), strict=True)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), other):
        assert twin.bn.num_batches_tracked == 2
        torch.testing.assert_close(twin.state_dict(), module.state_dict())


def test_synchronised_norms_load_both_ways():
    model = trained(network())
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(network())
    synchronised.load_state_dict(model.state_dict(), strict=True)
    torch.testing.assert_close(synchronised.eval()(images()), model.eval()(images()))
    other = network().eval()
    other.load_state_dict(synchronised.state_dict(), strict=True)
    torch.testing.assert_close(other(images()), model(images()))


def test_a_converted_model_loads_both_ways():
    def plain() -> nn.Module:
        torch.manual_seed(0)
        parts = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1)]
        return nn.Sequential(*parts, nn.BatchNorm2d(8), nn.ReLU()).double()

    original, expected = plain(), trained(plain())
    converted = convert(plain())
    converted.load_state_dict(stored(expected.state_dict()), strict=True)
    torch.testing.assert_close(converted.eval()(images()), expected.eval()(images()))
    trained(converted.train())
    original.load_state_dict(stored(converted.state_dict()), strict=True)
    torch.testing.assert_close(original.eval()(images()), converted.eval()(images()))
    whole = stored(converted, weights_only=False)
    torch.testing.assert_close(whole(images()), converted(images()))
