"""Models of timm, torchvision and segmentation-models-pytorch keep their results when converted."""

import copy
import importlib
from typing import Any

import pytest
import torch
from comparison import Fusions, compare
from torch import nn

from softgate_ext import convert, explain

CHAINS = {
    ("timm", "resnetv2_18"): 17,
    ("timm", "densenet121"): 121,
    ("timm", "resnet18"): 9,
    ("torchvision.models", "resnet18"): 9,
    ("segmentation_models_pytorch", "Unet"): 19,
}


def _installed(name: str) -> Any:
    """A package that needs torchvision, whose import raises anything where it does not fit torch."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        pytest.skip(f"needs {name}, see docs/compiler.md: {error}")


def _make(package: str, name: str) -> nn.Module:
    library = _installed(package)
    if package == "timm":
        return library.create_model(name, num_classes=10)
    if package == "torchvision.models":
        return library.get_model(name, num_classes=10)
    return library.Unet("resnet18", encoder_weights=None, classes=2)


@pytest.mark.slow
@pytest.mark.parametrize("package, name", CHAINS, ids=lambda value: value)
def test_chains_and_numbers(package, name, fusions: Fusions):
    model = _make(package, name).double()
    original = copy.deepcopy(model)
    convert(model)
    compare(original, model, X, modes=(True,), exact=1e-9)
    assert fusions.count == CHAINS[package, name] and fusions.graphs == 1
    compare(original, model, X, modes=(False,), exact=1e-9)
    assert fusions.count == 2 * CHAINS[package, name]


WINOGRAD = {
    ("torchvision.models", "resnet18"): 13,
    ("torchvision.models", "resnet50"): 13,
    ("timm", "resnetv2_18"): 13,
    ("timm", "resnetv2_50"): 13,
}


@pytest.mark.slow
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("package, name", WINOGRAD, ids=lambda value: value)
def test_convolutions_by_winograd(package, name, layout):
    model = _make(package, name).eval().to(memory_format=layout)
    x = X.float().contiguous(memory_format=layout)
    with torch.no_grad():
        expected = model(x)
        assert len(explain(model, x, conv="winograd").winograd) == WINOGRAD[package, name]
        got = convert(model, conv="winograd")(x)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.slow
def test_feature_extraction(fusions: Fusions):
    extraction = _installed("torchvision.models.feature_extraction")
    model = _make("torchvision.models", "resnet18").double()
    model = extraction.create_feature_extractor(model, {"layer4": "out"})
    original = copy.deepcopy(model)
    convert(model)
    expected = original(X)["out"]
    torch.testing.assert_close(model(X)["out"], expected)
    assert fusions.count == 9


X = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
