"""Hooks are called on every module with tensors. A kernel that would skip a hook is not used."""

import pytest
import torch
from networks import block, features, images, network, total
from torch import Tensor, nn

from softgate_ext.nn import SoftGatedBlock

KINDS = ["forward", "forward_pre", "full_backward", "full_backward_pre"]


def watch(module: nn.Module, kind: str, seen: list) -> torch.utils.hooks.RemovableHandle:
    """Notes the tensors' shapes that a hook of the kind is given."""

    def hook(_, *values):
        seen.append([tuple(t.shape) for t in flat(values)])

    return getattr(module, f"register_{kind}_hook")(hook)


def flat(values) -> list[Tensor]:
    found = []
    for value in values:
        found += flat(value) if isinstance(value, tuple | list) else [value]
    return [value for value in found if value is not None]


class Plain(SoftGatedBlock):
    """The block with every child called as a module."""

    def forward(self, x: Tensor, complete: bool = True) -> Tensor:
        f1 = self.conv1(self.bn1(x).relu())
        f2 = self.conv2(self.bn2(f1).relu())
        f3 = self.conv3(self.bn3(f2).relu())
        return self.alpha.view(1, -1, 1, 1) * x + torch.cat([f1, f2, f3], 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("child", ["", "bn1", "bn2", "bn3", "conv1", "conv2", "conv3"])
def test_a_hook_on_a_child_sees_what_it_sees_in_plain_pytorch(kind, child):
    results = []
    for cls in (SoftGatedBlock, Plain):
        module, seen = block(), []
        module.__class__ = cls
        watch(module.get_submodule(child), kind, seen)
        x = features().requires_grad_()
        total(module(x)).backward()
        results.append((seen, x.grad))
    (ours, our_grad), (theirs, their_grad) = results
    assert len(ours) == 1 and ours == theirs
    torch.testing.assert_close(our_grad, their_grad)


@pytest.mark.parametrize("child", ["bn1", "bn3"])
def test_a_hook_may_replace_the_result_of_a_norm(child):
    module = block()
    module.get_submodule(child).register_forward_hook(lambda m, inputs, output: output * 0)
    conv = {"bn1": module.conv1, "bn3": module.conv3}[child]
    seen = []
    conv.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))
    module(features())
    assert not seen[0].any()


NETWORKS = {
    "hybrid": lambda: network(stacks=2),
    "hourglass": lambda: network(name="hourglass_1x48", stacks=2),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", KINDS)
def test_hooks_on_every_module_of_a_network_see_tensors(name, kind):
    """Blocks hand on unfinished sums; one with hooks takes and returns tensors."""
    model, expected = NETWORKS[name](), NETWORKS[name]()
    seen: dict[str, list] = {name: [] for name, _ in model.named_modules()}
    for path, module in model.named_modules():
        watch(module, kind, seen[path])
    x = images().requires_grad_()
    total(model(x)).backward()
    total(expected(images())).backward()
    never = {path for path, calls in seen.items() if not calls}
    # Lists are not called; PyTorch knows no full backward hook where the result is a list.
    uncalled = {path for path, m in model.named_modules() if isinstance(m, nn.ModuleList)}
    assert never == uncalled | ({""} if "full" in kind else set())
    for (path, p), q in zip(model.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, msg=path)


def test_hooks_of_all_modules_fire_for_norms_too():
    module, called = block(), []
    handle = nn.modules.module.register_module_forward_hook(lambda m, *_: called.append(m))
    try:
        module(features())
    finally:
        handle.remove()
    assert set(called) == set(module.modules())


def test_without_hooks_the_norms_are_part_of_the_ops(monkeypatch):
    """The other tests would hold of a network that never fuses, too."""
    module = block()
    for norm in (module.bn1, module.bn2, module.bn3):
        monkeypatch.setattr(norm, "_call_impl", lambda *_: pytest.fail("the norm was called"))
    module(features())
