"""Every entry to an op checks every tensor argument, also those that the call does not need.

An empty tensor of the right shape is accepted by all entries, or refused by all.
"""

import pytest
import torch
from cases import off_its_alignment
from torch._subclasses import FakeTensorMode

from softgate_ext import InputError
from softgate_ext.ops import fallback
from softgate_ext.ops.backend import interpreting, is_available
from softgate_ext.ops.schema import SCHEMAS

SIZE = (2, 4, 4, 6)
SPLIT = [3, 1]
LOW = 3
DOORS = ["torch.ops", "_C", "fallback", "meta", "triton"]
NEEDS = {"nothing": False, "everything": True}


def arguments(name: str, size=SIZE, needs: bool = True) -> dict:
    """What the op takes, all of it given."""
    n, c, h, w = size
    total = c + LOW if name.startswith("skip_merge") else c
    split = SPLIT if c == SIZE[1] else [c]
    every = {
        **dict.fromkeys(("x", "skip"), torch.zeros(size)),
        "branches": [torch.zeros(n, width, h, w) for width in split],
        "low": torch.zeros(n, LOW, h // 2, w // 2),
        "alpha": torch.ones(c),
        **dict.fromkeys(("running_mean", "mean", "bias"), torch.zeros(total)),
        **dict.fromkeys(("running_var", "var", "weight"), torch.ones(total)),
        **dict.fromkeys(("dy", "dz", "y", "dmerged", "merged"), torch.zeros(n, total, h, w)),
        **dict(training=True, eps=1e-5, relu=True, mode="concat", split=split, channels=c),
    }
    op = getattr(torch.ops.softgate, name).default
    names = [a.name for a in op._schema.arguments]
    if name == "bn_relu_backward":
        flags = 3
    else:
        flags = ("alpha" in names) * 3 + ("channels" in names) + 2 * ("weight" in names)
    every["needs"] = [needs] * flags
    return {key: every[key] for key in names}


@pytest.fixture(params=DOORS)
def door(request):
    """The ops of one door, and where its tensors live."""
    if request.param == "_C":
        if not is_available("cpu"):
            pytest.skip("needs the compiled extension")
        from softgate_ext import _C

        return _C, "cpu"
    if request.param == "triton":
        if not interpreting():
            pytest.skip("needs TRITON_INTERPRET=1")
        return torch.ops.softgate_triton, "cpu"
    if request.param == "fallback":
        return fallback.kernels, "cpu"
    return torch.ops.softgate, "meta" if request.param == "meta" else "cpu"


def moved(value, device):
    if isinstance(value, list):
        return [moved(v, device) for v in value]
    return value.to(device) if isinstance(value, torch.Tensor) else value


def wrong_tensors(t: torch.Tensor) -> dict[str, torch.Tensor]:
    """The tensor with one thing wrong about it."""
    found = {
        "device": torch.zeros_like(t, device="cpu" if t.is_meta else "meta"),
        "dtype": t.long(),
        "dimensions": t[None],
        "size": t.new_zeros(*t.shape[:-1], t.shape[-1] + 1),
    }
    if not t.is_meta:
        found["layout"] = t.to_sparse()
    return found


def places(args: dict):
    """(argument, index in its list or None, tensor)"""
    for key, value in args.items():
        if isinstance(value, torch.Tensor):
            yield key, None, value
        elif key == "branches":
            yield from ((key, i, t) for i, t in enumerate(value))


@pytest.mark.parametrize("needs", NEEDS)
@pytest.mark.parametrize("name", SCHEMAS)
def test_one_wrong_tensor_is_refused(name, needs, door):
    ops, device = door
    args = {k: moved(v, device) for k, v in arguments(name, needs=NEEDS[needs]).items()}
    for key, index, right in places(args):
        for what, wrong in wrong_tensors(right).items():
            if what == "size" and name == "bn_relu" and key == "x":
                continue  # another size of its own
            given = wrong if index is None else [*args[key][:index], wrong, *args[key][index + 1 :]]
            with pytest.raises(InputError, match="must") as error:
                getattr(ops, name)(*(args | {key: given}).values())
                pytest.fail(f"{key} of another {what} was taken")
            assert "\n" not in str(error.value).split("\nException raised from")[0].strip()


@pytest.mark.parametrize("size", [(0, 4, 4, 6), (2, 4, 0, 6), (2, 4, 4, 0)], ids=str)
@pytest.mark.parametrize("name", SCHEMAS)
def test_no_values_are_served(name, size, door):
    ops, device = door
    args = arguments(name, size)
    expected = getattr(torch.ops.softgate, name)(*(moved(v, "meta") for v in args.values()))
    found = getattr(ops, name)(*(moved(v, device) for v in args.values()))
    if isinstance(found, torch.Tensor):
        expected, found = [expected], [found]
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
        if name.endswith("_backward") and device != "meta":
            assert not mine.any(), "no value has a share in a sum"


@pytest.mark.parametrize("name", SCHEMAS)
def test_no_channels_are_refused(name, door):
    ops, device = door
    args = arguments(name, (2, 0, 4, 6))
    with pytest.raises(InputError, match="must have at least one channel|must be the channels of"):
        getattr(ops, name)(*(moved(v, device) for v in args.values()))
    args = arguments(name)
    empty = torch.zeros(2, 0, 4, 6)
    if "low" in args:
        with pytest.raises(InputError, match="^low must have at least one channel"):
            low = moved(empty[:, :, :2, :3], device)
            getattr(ops, name)(*(moved(v, device) for v in (args | {"low": low}).values()))
    if "branches" in args:
        with pytest.raises(InputError, match=r"^branches\[0\] must have at least one channel"):
            parts = {"branches": [empty, *args["branches"]]}
            getattr(ops, name)(*(moved(v, device) for v in (args | parts).values()))
    if "split" in args:
        with pytest.raises(InputError, match="^split must be counts from 1 to 4 channels, got 0"):
            parts = {"split": [0, *SPLIT]}
            getattr(ops, name)(*(moved(v, device) for v in (args | parts).values()))
    if "channels" in args:  # none would be left for low
        with pytest.raises(InputError, match="^channels must be the channels of skip"):
            sides = {"channels": 4 + LOW, "split": [4 + LOW], "skip": None, "alpha": None}
            sides["needs"] = [False] * len(args["needs"])
            getattr(ops, name)(*(moved(v, device) for v in (args | sides).values()))


def without_memory(kind: str, t: torch.Tensor) -> torch.Tensor:
    if kind == "fake":
        return FakeTensorMode().from_tensor(t)
    if kind == "freed":  # as FSDP frees the storage of a gathered parameter
        t = t.clone()
        t.untyped_storage().resize_(0)
        return t
    if kind == "batched":
        return torch._C._functorch._add_batch_dim(t[None], 0, 1)
    return torch._efficientzerotensor(t.shape)


@pytest.mark.skipif(not is_available("cpu"), reason="needs the compiled extension")
@pytest.mark.parametrize("kind", ["fake", "freed", "batched", "zero"])
@pytest.mark.parametrize("name", SCHEMAS)
def test_the_compiled_kernels_read_no_memory_that_is_not_there(name, kind):
    from softgate_ext import _C

    args = arguments(name)
    for key, index, right in places(args):
        wrong = without_memory(kind, right)
        given = wrong if index is None else [*args[key][:index], wrong, *args[key][index + 1 :]]
        with pytest.raises(InputError, match=f"{key}.* must hold values, got a tensor on"):
            getattr(_C, name)(*(args | {key: given}).values())


@pytest.mark.skipif(not is_available("cpu"), reason="needs the compiled extension")
def test_the_compiled_kernels_read_no_values_of_others():
    """A negated view says with one bit that its memory holds the negative."""
    from softgate_ext import _C

    x = torch.randn(SIZE)
    negated = torch.complex(x, x).conj().imag
    assert negated.is_neg()
    with pytest.raises(InputError, match="x must hold its own values, got a negated view"):
        _C.gated_residual(negated, [x], None)
    torch.testing.assert_close(torch.ops.softgate.gated_residual(negated, [x], None), 0 * x)


@pytest.mark.parametrize("door", ["torch.ops", "_C"], indirect=True)
@pytest.mark.parametrize("name", SCHEMAS)
def test_tensors_off_their_alignment(name, door):
    """Here only a sanitizer sees a scalar load of one; other processors stop at it."""
    ops, _ = door
    args = {}
    for key, value in arguments(name).items():
        if isinstance(value, list) and key == "branches":
            value = [torch.randn_like(t) for t in value]
        elif isinstance(value, torch.Tensor):
            value = torch.rand_like(value) + 0.5
        args[key] = value
    away = dict(args)
    for key, index, right in places(args):
        wrong = off_its_alignment(right)
        away[key] = wrong if index is None else [*away[key][:index], wrong, *away[key][index + 1 :]]
    wanted, found = (getattr(ops, name)(*given.values()) for given in (args, away))
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("door", ["_C", "fallback"], indirect=True)
def test_nested_tensors_are_refused(door):
    """The dispatcher has no kernel for them and says so itself."""
    ops, _ = door
    x = torch.zeros(SIZE)
    nested = torch.nested.nested_tensor(list(x))
    with pytest.raises(InputError, match="x must be a dense tensor, got a nested one"):
        ops.gated_residual(nested, [x], None)
    with pytest.raises(InputError, match="x must be a dense tensor, got a nested one"):
        ops.gated_residual_backward(x, nested, None, [4], [True, False, False])
