"""Models by name: their arguments, what they refuse, and how they are rebuilt."""

import json

import pytest
import torch

from softgate_ext.errors import InputError
from softgate_ext.models import (
    HybridNet,
    ModelDefaults,
    create_model,
    list_models,
    model_defaults,
    register_model,
    registry,
)


def test_names():
    names = list_models()
    assert names == sorted(names)
    assert {"hybrid_4x144", "hybrid_2x144", "hybrid_1x48", "hourglass_8x256"} <= set(names)
    assert {"hybrid_1x32", "hybrid_2x48"} <= set(names)


@pytest.mark.parametrize("name", list_models())
def test_each_is_what_its_name_says(name):
    with torch.device("meta"):
        model = create_model(name)
    kind, size = name.split("_")
    stacks, width = map(int, size.split("x"))
    kwargs = model.config["kwargs"]
    assert kwargs["width"] == width
    if kind == "deeppose":
        assert kwargs["stages"] == len(model.stages) == stacks
    else:
        assert kwargs["stacks"] == stacks
        assert kwargs["fusion"] == ("concat" if kind == "hybrid" else "add")
    assert (model.gates() != {}) == (kind != "hourglass")
    defaults = model_defaults(name)
    assert defaults.input_size % 64 == 0 and defaults.stride == 4 and kwargs["joints"] == 16


def test_config_rebuilds_the_model():
    model = create_model("hybrid_1x48", joints=14, depth=2, gate="block", mean=(0.5, 0.5, 0.5))
    config = json.loads(json.dumps(model.config))
    again = create_model(config["name"], **config["kwargs"])
    assert again.config == model.config == config
    again.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(again.stem.mean, model.stem.mean)
    direct = HybridNet(width=16, joints=3).config
    assert create_model(direct["name"], **direct["kwargs"]).config == direct


def test_a_model_of_ones_own(monkeypatch):
    monkeypatch.setattr(registry, "_models", dict(registry._models))
    register_model("tiny", HybridNet, ModelDefaults(64, kwargs={"width": 8, "depth": 1}))
    assert "tiny" in list_models() and model_defaults("tiny").input_size == 64
    assert create_model("tiny", stacks=1).config["name"] == "tiny"
    with pytest.raises(InputError, match="^name must be new, got 'tiny', which is registered"):
        register_model("tiny", HybridNet)


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        ("hybrid", {}, "model must be one of deeppose_1x48, .* got 'hybrid'"),
        ("hybrid_1x32", {"depht": 3}, "hybrid_1x32 has no option 'depht'; it takes width, stacks,"),
        ("hybrid_1x32", {"width": 30}, "width must be a multiple of 8, got 30"),
        ("hybrid_1x32", {"width": 0}, "width must be a whole number from 1 to 8192, got 0"),
        (
            "hybrid_1x32",
            {"width": 8192},
            r"width \* width \* stacks \* depth must be at most 33554432",
        ),
        ("hybrid_1x32", {"stacks": 1.5}, "stacks must be a whole number from 1 to 100, got 1.5"),
        ("hybrid_1x32", {"depth": "4"}, "depth must be a whole number from 1 to 11, got '4'"),
        (
            "hybrid_1x32",
            {"stacks": 10**9},
            "stacks must be a whole number from 1 to 100, got 1000000000",
        ),
        (
            "hybrid_1x32",
            {"depth": 10**9},
            "depth must be a whole number from 1 to 11, got 1000000000",
        ),
        ("hybrid_1x32", {"joints": True}, "joints must be a whole number from 1 to 1000, got True"),
        ("hybrid_1x32", {"groups": 3}, r"groups must divide width \(32\), got 3"),
        ("hybrid_1x32", {"fusion": "sum"}, "fusion must be 'concat' or 'add', got 'sum'"),
        ("hybrid_1x32", {"block": "x"}, "block must be 'gated' or 'bottleneck', got 'x'"),
        ("hybrid_1x32", {"gate": "soft"}, "gate must be 'channel', 'block' or 'none', got 'soft'"),
        ("hybrid_1x32", {"alpha_init": "0"}, "alpha_init must be a finite number, got '0'"),
        ("hybrid_1x32", {"mean": [0.5]}, r"mean must be three numbers, got \[0.5\]"),
        ("deeppose_1x48", {"width": 12}, "width must be a multiple of 8, got 12"),
        ("deeppose_1x48", {"stages": 101}, "stages must be a whole number from 1 to 100, got 101"),
        ("deeppose_1x48", {"view": 0.0}, "view must be a number above 0 to 1, got 0.0"),
        ("deeppose_1x48", {"view": True}, "view must be a number above 0 to 1, got True"),
        (
            "deeppose_1x48",
            {"width": 8192},
            r"width \* width \* stages \* .depth . 3. must be at most",
        ),
        ("deeppose_1x48", {"gate": "x"}, "gate must be 'channel', 'block' or 'none', got 'x'"),
        ("hybrid_1x32", {"std": [1, 0, 1]}, r"std must be three positive numbers, got \[1, 0, 1\]"),
    ],
)
def test_bad_input(name, kwargs, words):
    with pytest.raises(InputError, match=f"^{words}"):
        create_model(name, **kwargs)
