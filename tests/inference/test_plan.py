"""A pass of the recorded plan gives the results of the modules, and notices the same changes."""

import copy
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from fold_networks import NETWORKS, build, images, input_of, network, results
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from softgate_ext import fold, use_backend
from softgate_ext.inference import plan
from softgate_ext.inference.plan import plan_for
from softgate_ext.inference.winograd import WinogradConv
from softgate_ext.ops import backend

pytestmark = pytest.mark.skipif(
    backend.unavailable("cpu") is not None,
    reason=f"needs the compiled kernels: {backend.unavailable('cpu')}",
)


def folded(name: str = "hybrid") -> nn.Module:
    return fold(build(name), conv="winograd")


def twice(model: nn.Module, x: Tensor) -> None:
    """A plan is made when a shape comes again."""
    for _ in range(2):
        results(model, x)


def is_planned(model: nn.Module, x: Tensor) -> bool:
    twice(model, x)
    with torch.no_grad():
        return plan_for(model.network, x) is not None


def equal(got: list[Tensor], wanted: list[Tensor]) -> bool:
    return all(torch.equal(g, w) for g, w in zip(got, wanted, strict=True))


@pytest.mark.parametrize("name", [*NETWORKS, "block", "same"])
def test_its_bits_are_those_of_the_modules(name: str) -> None:
    model = folded(name)
    x = input_of(model.network)
    assert is_planned(model, x)
    for sample in (x, x * 0.5, x.to(memory_format=torch.channels_last)):
        given = sample.to(memory_format=torch.channels_last)
        got, wanted = results(model, sample), results(model.network, given)
        assert equal(got, wanted)
        assert [g.stride() for g in got] == [w.stride() for w in wanted]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_networks_of_other_dtypes_take_images_in_float32(dtype: torch.dtype) -> None:
    model, x = fold(build("hybrid"), dtype, conv="winograd"), images(2, 3, 32, 32)
    assert is_planned(model, x)
    got = results(model, x)
    assert got[0].dtype == dtype
    assert equal(got, results(model.network, x.to(memory_format=torch.channels_last)))


def test_a_block_in_bfloat16_takes_both_dtypes() -> None:
    model = fold(build("block"), torch.bfloat16, conv="winograd")
    x = input_of(model.network)
    assert is_planned(model, x.bfloat16())
    assert equal(
        results(model, x),
        results(model.network, x.bfloat16().to(memory_format=torch.channels_last)),
    )


def test_results_have_memory_of_their_own() -> None:
    model, x = folded(), images(1, 3, 32, 32)
    twice(model, x)
    first = results(model, x)
    kept = [t.clone() for t in first]
    results(model, 1 - x)
    assert equal(first, kept)
    for t in first:
        t.zero_()
    assert equal(results(model, x), kept)


def test_activations_share_the_arena() -> None:
    model, x = folded(), images(1, 3, 64, 64)
    twice(model, x)
    made = 0

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, op, types, args=(), kwargs=None):
            nonlocal made
            out = op(*args, **(kwargs or {}))
            made += sum(t.nbytes for t in tree_leaves(out) if isinstance(t, Tensor))
            return out

    with Counting():
        results(model, x)
    with torch.no_grad():
        found = plan_for(model.network, x)
    assert found is not None and 0 < found.arena.nbytes < made / 4


def test_what_changes_in_the_network_is_seen() -> None:
    model, x = folded(), images(1, 3, 32, 32)
    twice(model, x)
    block = next(m for m in model.network.modules() if hasattr(m, "alpha"))

    def changed(before: list[Tensor]) -> list[Tensor]:
        now = results(model, x)
        assert not equal(now, before) and equal(now, results(model.network, x))
        twice(model, x)
        return now

    now = results(model, x)
    block.alpha.data.add_(1.0)  # in place
    now = changed(now)
    block.alpha = nn.Parameter(block.alpha.detach() + 1.0, requires_grad=False)
    now = changed(now)
    block.alpha.data = block.alpha + 1.0
    now = changed(now)
    block.conv1 = copy.deepcopy(block.conv1)
    block.conv1.points.mul_(2.0)
    changed(now)
    seen = []
    block.register_forward_hook(lambda *args: seen.append(args))
    results(model, x)
    assert len(seen) == 1


def test_what_changes_in_a_replaced_module_is_seen() -> None:
    model, x = folded(), images(1, 3, 32, 32)
    twice(model, x)
    stem = model.network.stem
    stem.block1 = copy.deepcopy(stem.block1)
    assert is_planned(model, x)
    before = results(model, x)
    conv = stem.block1.conv2
    conv.points = conv.points * 2
    now = results(model, x)
    assert not equal(now, before) and equal(now, results(model.network, x))
    twice(model, x)
    stem.block1.forward = lambda y: (y[0] * 2, y[1])
    with torch.no_grad():
        assert plan_for(model.network, x) is None


def test_another_layout_in_the_same_memory_is_seen() -> None:
    model, x = folded(), images(1, 3, 32, 32)
    twice(model, x)
    weight = model.network.stacks[0].conv.conv.weight
    weight.data = weight.data.transpose(0, 1)
    assert equal(results(model, x), results(model.network, x))


def test_gradients_of_weights_are_those_of_the_modules() -> None:
    model, x = folded(), images(1, 3, 32, 32)
    model.requires_grad_(True)
    for _ in range(3):
        model(x)[-1].sum().backward()
    found = {name: p.grad / 3 for name, p in model.network.named_parameters() if p.grad is not None}
    model.zero_grad()
    with use_backend("reference"):
        model(x)[-1].sum().backward()
    wanted = {name: p.grad for name, p in model.network.named_parameters() if p.grad is not None}
    assert found.keys() == wanted.keys() and found
    for name, gradient in wanted.items():
        assert (found[name] - gradient).norm() <= 1e-4 * gradient.norm(), name


def test_forward_mode_derivatives_are_those_of_the_modules() -> None:
    model, x = folded(), images(1, 3, 32, 32)
    twice(model, x)
    direction = torch.ones_like(x)
    with use_backend("reference"):
        _, wanted = torch.func.jvp(lambda t: model(t)[-1], (x,), (direction,))
    with torch.no_grad(), forward_ad.dual_level():
        dual = model(forward_ad.make_dual(x, direction))[-1]
        got = forward_ad.unpack_dual(dual).tangent
    torch.testing.assert_close(got, wanted)


def test_what_the_pass_computes_of_weights_is_not_kept() -> None:
    model, x = folded().bfloat16(), images(1, 3, 32, 32)  # convolves by weights taken back
    twice(model, x)
    before = results(model, x)
    for part in model.network.modules():
        if isinstance(part, WinogradConv):
            part.points.mul_(2.0)
    now = results(model, x)
    assert not equal(now, before)
    assert equal(now, results(model.network, x.to(memory_format=torch.channels_last)))


def test_a_change_of_what_images_are_normalised_by_is_seen() -> None:
    model, x = folded(), images(1, 3, 32, 32)
    twice(model, x)
    model.network.stem.std.mul_(2.0)
    assert equal(results(model, x), results(model.network, x))


def test_whoever_looks_at_ops_sees_them() -> None:
    model, x = folded(), images(1, 3, 32, 32)
    assert is_planned(model, x)
    seen = []

    class Looking(TorchDispatchMode):
        def __torch_dispatch__(self, op, types, args=(), kwargs=None):
            seen.append(op.name())
            return op(*args, **(kwargs or {}))

    with Looking():
        results(model, x)
    assert "softgate::winograd_conv3x3" in seen
    with torch.profiler.profile() as profile:
        results(model, x)
    assert any("winograd_conv3x3" in event.key for event in profile.key_averages())
    with torch.no_grad(), use_backend("reference"):
        assert plan_for(model.network, x) is None
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert plan_for(model.network, x) is None
    assert plan_for(model.network, x.clone().requires_grad_()) is None
    with torch.no_grad():
        assert plan_for(model.network, x.double()) is None
        assert plan_for(model.network, x[:0]) is None


def test_plans_are_made_within_inference_mode_and_used_outside_it() -> None:
    model, x = folded(), images(1, 3, 32, 32)
    with torch.inference_mode():
        for _ in range(3):
            inside = model(x)
    assert equal(results(model, x), [t.clone() for t in inside])


def test_no_compiler_is_imported_for_it() -> None:
    script = """if True:
        import sys, torch
        from softgate_ext import fold
        from softgate_ext.models import create_model
        model = fold(create_model("hybrid_1x32", width=8, depth=1), conv="winograd")
        with torch.no_grad():
            for _ in range(3):
                model(torch.rand(1, 3, 16, 16))
        assert "torch._dynamo" not in sys.modules and "torch._inductor" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_few_shapes_are_kept() -> None:
    model = folded()
    shapes = [images(n, 3, 32, 32) for n in range(1, plan.KEPT + 2)]
    for x in shapes:
        assert is_planned(model, x)
    with torch.no_grad():
        assert plan_for(model.network, shapes[0]) is None  # it has left, and comes anew
        assert plan_for(model.network, shapes[-1]) is not None


def test_threads_have_plans_of_their_own() -> None:
    model = folded()
    given = [images(1, 3, 32, 32) * scale for scale in (0.2, 0.5, 0.8, 1.0)] * 4
    wanted = [results(model.network, x) for x in given]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda x: results(model, x), given))
    assert all(equal(g, w) for g, w in zip(got, wanted, strict=True))


def test_it_is_no_part_of_copies_and_files() -> None:
    model, x = folded(), images(1, 3, 32, 32)
    twice(model, x)
    wanted = results(model, x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert is_planned(other, x) and equal(results(other, x), wanted)


def test_networks_with_parts_of_others_are_called() -> None:
    class Own(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * (1.0 if x.mean() > 0 else 2.0)

    model = network()
    model.stem.block1.conv2 = Own(4, 2, 3, padding=1)
    x = images(1, 3, 32, 32)
    partly = fold(model, conv="winograd")
    assert not is_planned(partly, x)
    assert equal(results(partly, x), results(partly.network, x))


@pytest.mark.parametrize("planned_before", [False, True])
def test_parts_of_others_put_in_later_are_called(planned_before: bool) -> None:
    class Counting(nn.Module):
        def __init__(self, inner: nn.Module):
            super().__init__()
            self.inner, self.calls = inner, 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return self.inner(x) * (1.0 if x.mean() > 0 else 2.0)

    model, x = folded(), images(1, 3, 32, 32)
    if planned_before:
        twice(model, x)
    stack = model.network.stacks[0]
    stack.heatmaps = Counting(stack.heatmaps)
    for _ in range(5):
        results(model, x)
    assert stack.heatmaps.calls == 5


def test_an_op_that_cannot_be_told_where_to_write_is_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*args: object) -> None:
        raise plan.Unplannable("aten::relu")

    monkeypatch.setattr(plan, "_step", refused)
    model, x = folded(), images(1, 3, 32, 32)
    assert not is_planned(model, x)
    assert equal(results(model, x), results(model.network, x))
