"""Parameters and MACs against the counts of the design and another way to count."""

import io

import pytest
import torch
from rich.console import Console

from softgate_ext.errors import InputError
from softgate_ext.models import create_model
from softgate_ext.models.profile import Cost, print_profile, profile


@pytest.mark.parametrize(
    ("name", "parameters", "giga_macs"),
    [
        ("hybrid_4x144", 8_515_612, 9.953),
        ("hybrid_2x144", 4_323_020, 5.415),
        ("hybrid_1x144", 2_226_724, 3.146),
        ("hybrid_8x144", 16_900_796, 19.028),
        ("hourglass_8x256", 25_432_000, 27.440),
    ],
)
def test_counts(name, parameters, giga_macs):
    with torch.device("meta"):
        model = create_model(name)
    total = profile(model).total
    assert total.parameters == parameters
    assert total.macs / 1e9 == pytest.approx(giga_macs, abs=5e-4)


@pytest.mark.parametrize(("name", "size"), [("hybrid_2x48", 64), ("hourglass_1x48", 128)])
def test_agrees_with_a_count_by_hand(name, size):
    """Of each convolution that runs: values of its output, times weights for one of them."""
    model, macs = create_model(name).eval(), []
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(
                lambda conv, _, out: macs.append(out.numel() * conv.weight[0].numel())
            )
    with torch.no_grad():
        model(torch.rand(1, 3, size, size))
    assert profile(create_model(name), size).total.macs == sum(macs)


def test_other_networks_are_counted_too():
    """By class names that hold each other, without children, and with products of matrices."""

    class Net(torch.nn.Sequential):
        pass

    assert profile(torch.nn.Conv2d(3, 4, 3), 8).total == Cost(4 * 27 + 4, 4 * 27 * 36)
    net = Net(Net(torch.nn.Conv2d(3, 4, 1)), torch.nn.Flatten(2), torch.nn.Linear(64, 5))
    result = profile(net, 8)
    assert {name: cost.macs for name, cost in result.parts.items()} == {
        "0": 4 * 3 * 64, "1": 0, "2": 4 * 64 * 5,
    }  # fmt: skip
    assert result.total.macs == 4 * 3 * 64 + 4 * 64 * 5


def test_parts_add_up_and_the_model_is_untouched():
    model = create_model("hybrid_2x48")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = profile(model, 64)
    assert list(result.parts) == ["stem", "stacks.0", "stacks.1"]
    assert result.total == Cost(
        sum(part.parameters for part in result.parts.values()),
        sum(part.macs for part in result.parts.values()),
    )
    assert model.training and not any(m._forward_hooks for m in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_tables():
    text = io.StringIO()
    print_profile(["hybrid_4x144"], console=Console(file=text, width=120))
    assert "8,515,612" in text.getvalue() and "9.953" in text.getvalue()
    assert "25,432,000" in text.getvalue() and "2.99" in text.getvalue()
    assert "stacks.3" in text.getvalue()


@pytest.mark.parametrize(
    ("names", "size", "words"),
    [
        (["nothing"], 256, "model must be one of"),
        ([], 100, "images must have a height and width divisible by 32"),
        ([], 0, "image_size must be at least 1, got 0"),
    ],
)
def test_bad_input_prints_nothing(names, size, words):
    text = io.StringIO()
    with pytest.raises(InputError, match=f"^{words}"):
        print_profile(names, size, Console(file=text))
    assert text.getvalue() == ""
