"""A folded network predicts the same as its model, and has a state of its own."""

import copy
import io
import pickle
import sys
import threading

import pytest
import torch
from fold_networks import NETWORKS, build, furthest, images, input_of, network, results, varied
from torch import Tensor, nn
from torch.export import Dim

import softgate_ext
from softgate_ext import InputError, fold, use_backend
from softgate_ext.models.bottleneck import Bottleneck
from softgate_ext.models.hourglass import Down, Hourglass, Up
from softgate_ext.models.hybrid import Stack
from softgate_ext.nn import GatedResidualBNReLU, SkipMerge, SoftGatedBlock
from softgate_ext.ops.backend import unavailable

OPTIONS = {
    "one gate a block": {"gate": "block", "alpha_init": 0.5},
    "no gates": {"gate": "none"},
    "one group": {"groups": 1, "depth": 1, "stacks": 3},
    "a block inside": {"inner_block": True, "groups": 2, "stacks": 1},
    "added": {"fusion": "add", "gate": "block", "depth": 3, "stacks": 1},
    "bottlenecks": {"block": "bottleneck", "gate": "channel"},
    "hourglass": NETWORKS["hourglass"],
}


@pytest.mark.parametrize("name", [*NETWORKS, "block", "same"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_it_predicts_what_the_model_predicts(fused, name, channels_last):
    model = build(name)
    x = input_of(model).to(fused)
    wanted = results(model.to(fused), x)
    assert furthest(results(fold(model, None, channels_last), x), wanted) < 1e-5


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_folding_is_exact_but_for_rounding(options):
    model, x = network(**options).double(), images(2, 3, 32, 96).double()
    wanted = results(model, x)
    assert furthest(results(fold(model), x), wanted) < 1e-13
    assert furthest(results(fold(model, channels_last=True), x), wanted) < 1e-13


def _hourglass(fusion: str) -> nn.Module:
    return Hourglass(8, 2, 2, fusion, False, SoftGatedBlock)  # type: ignore[arg-type]


MODULES = {
    "bottleneck": (lambda: Bottleneck(6, 8, "channel"), [(6, 7, 5)]),
    "down": (lambda: Down(8, Bottleneck), [(8, 7, 5)]),
    "up": (lambda: Up(8, 4, "concat", SoftGatedBlock), [(8, 3, 2), (8, 6, 4)]),
    "hourglass": (lambda: _hourglass("add"), [(8, 8, 4)]),
    "stack": (
        lambda: Stack(8, 3, _hourglass("concat"), False, SoftGatedBlock(8, 8)),
        [(8, 4, 8)],
    ),
    "stem": (lambda: network().stem, [(3, 12, 20)]),
    "sum": (lambda: GatedResidualBNReLU(4, alpha_init=0.5, relu=False), [(4, 3, 5), (4, 3, 5)]),
    "merge": (lambda: SkipMerge(4, 2, bn_relu=True), [(4, 6, 2), (2, 3, 1)]),
    "plain merge": (lambda: SkipMerge(4, mode="add", gate="block"), [(4, 6, 2), (4, 3, 1)]),
}


@pytest.mark.parametrize("make, sizes", MODULES.values(), ids=MODULES)
def test_every_module_of_the_package_by_itself(make, sizes):
    model = varied(make())
    inputs = [images(2, *size) - 0.5 for size in sizes]
    wanted = results(model, *inputs)
    for dtype, channels_last, error in (
        (None, False, 1e-5),
        (torch.float64, True, 1e-5),
        (torch.bfloat16, True, 0.05),
    ):
        folded = fold(model, dtype, channels_last)
        assert furthest(results(folded, *inputs), wanted) < error
        assert not any(type(m) is nn.BatchNorm2d for m in folded.modules())


@pytest.mark.parametrize(
    "backend", ["cpu", "reference", pytest.param("triton", marks=pytest.mark.slow)]
)
def test_every_backend_serves_it(backend):
    if unavailable(backend) is not None:
        pytest.skip(f"needs the backend: {unavailable(backend)}")
    model = SoftGatedBlock(4, 8, alpha_init=0.5).eval()
    folded, x = fold(model), images(1, 4, 4, 4) - 0.5
    with use_backend(backend):
        assert furthest(results(folded, x), results(model, x)) < 1e-5


def test_any_batch_and_size_from_several_threads():
    model = build("hybrid")
    folded = fold(model)
    inputs = [images(n, 3, 16 * h, 16 * w) for n, h, w in ((1, 1, 1), (3, 2, 1), (2, 3, 4))]
    wanted = [results(model, x) for x in inputs]
    errors: list[float] = []

    def predict(x: Tensor, reference: list[Tensor]) -> None:
        errors.extend(furthest(results(folded, x), reference) for _ in range(3))

    pairs = zip(inputs, wanted, strict=True)
    threads = [threading.Thread(target=predict, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 9 and max(errors) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["hybrid", "hourglass"])
def test_half_precision_and_layout_by_one_argument(name, dtype):
    model, x = build(name), images(2, 3, 32, 48)
    exact = results(model, x)
    got = results(fold(model, dtype, channels_last=True), x)
    assert all(g.dtype == dtype for g in got)
    assert all(g.is_contiguous(memory_format=torch.channels_last) for g in got)
    # A few dozen roundings in a row, and no more than the model's own cast would make.
    assert furthest(got, exact) < 16 * torch.finfo(dtype).eps
    assert furthest(got, exact) < 2 * furthest(results(copy.deepcopy(model).to(dtype), x), exact)


def test_vectors_stay_wide_beside_half_activations():
    folded = fold(build("hybrid"), torch.bfloat16)
    halves = {id(p) for m in folded.modules() if isinstance(m, nn.Conv2d) for p in m.parameters()}
    assert halves
    for name, value in folded.state_dict(keep_vars=True).items():
        assert value.dtype == (torch.bfloat16 if id(value) in halves else torch.float32), name


def test_without_a_dtype_all_stay_what_they_are():
    model, x = build("hybrid").bfloat16(), images(1, 3, 32, 32)
    for channels_last in (False, True):
        folded = fold(model, None, channels_last)
        assert folded.network.stem.block1.alpha.dtype == torch.bfloat16
        assert folded.network.stem.conv.weight.dtype == torch.bfloat16
        assert furthest(results(folded, x), results(model, x)) < 0.05


def test_it_moves_between_dtypes_as_any_module():
    model, x = build("hybrid"), images(2, 3, 32, 32)
    wanted = results(model, x)
    assert furthest(results(fold(model).double(), x.double()), wanted) < 1e-5
    half = results(fold(model).to(torch.bfloat16), x)
    assert half[0].dtype == torch.bfloat16 and furthest(half, wanted) < 0.05


def test_the_model_stays_as_it_is():
    model = build("hybrid").train()
    before = copy.deepcopy(model.state_dict())
    folded = fold(model, torch.bfloat16, channels_last=True)
    assert all(m.training for m in model.modules())
    assert all(p.requires_grad for p in model.parameters())
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    places = {t.data_ptr() for t in model.state_dict().values()}
    assert places.isdisjoint(t.data_ptr() for t in folded.state_dict().values())


def test_it_keeps_what_it_was_folded_from():
    model, x = build("hybrid"), images(1, 3, 32, 32)
    folded, before = fold(model), results(model, x)
    for value in (*model.parameters(), *model.buffers()):
        if value.is_floating_point():
            value.data.mul_(1.1)
    assert furthest(results(folded, x), before) < 1e-5
    changed = results(model, x)
    assert furthest(changed, before) > 0.01
    assert furthest(results(fold(model), x), changed) < 1e-5


def test_its_state_is_saved_loaded_and_pickled():
    model, x = build("hybrid"), images(1, 3, 32, 32)
    folded = fold(model, torch.bfloat16, channels_last=True)
    wanted = results(folded, x)
    file = io.BytesIO()
    torch.save(folded.state_dict(), file)
    file.seek(0)
    other = build("hybrid")
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    other = fold(other, torch.bfloat16, channels_last=True)
    other.load_state_dict(dict(torch.load(file)))  # of tensors alone, as other formats hold it
    pickled = pickle.loads(pickle.dumps(folded))
    assert pickled.state_dict().keys() == folded.state_dict().keys()
    for same in (other, pickled, copy.deepcopy(folded), copy.deepcopy(pickled)):
        assert all(torch.equal(a, b) for a, b in zip(results(same, x), wanted, strict=True))


def test_it_is_for_inference_alone():
    folded = fold(build("block"))
    assert not any(m.training for m in folded.modules())
    assert not any(p.requires_grad for p in folded.parameters())
    assert folded.eval() is folded and folded.train(False) is folded
    with pytest.raises(InputError, match=r"^mode must be False, since .*, got True$"):
        folded.train()
    assert not any(m.training for m in folded.modules())


SIZES = ["block", pytest.param("hybrid", marks=pytest.mark.slow)]


@pytest.mark.parametrize("name", SIZES)
def test_it_compiles_as_one_graph(name):
    model = build(name)
    dynamic = True if name == "hybrid" else None
    compiled = torch.compile(fold(model), fullgraph=True, backend="aot_eager", dynamic=dynamic)
    x = input_of(model)
    for batch in (x, x.repeat(2, 1, 1, 2))[: 2 if dynamic else 1]:
        assert furthest(results(compiled, batch), results(model, batch)) < 1e-5


@pytest.mark.parametrize("name", SIZES)
def test_it_exports_with_any_batch(name):
    model, batch = build(name), Dim("batch", min=1, max=64)
    folded, x = fold(model), input_of(model)
    program = torch.export.export(folded, (x,), dynamic_shapes=(({0: batch},),))
    assert any("softgate" in str(node.target) for node in program.graph.nodes)
    for some in (x[:1], x.repeat(3, 1, 1, 1)):
        assert furthest(results(program.module(), some), results(model, some)) < 1e-5


def test_autocast_serves_it():
    model, x = build("hybrid"), images(2, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        got, wanted = results(fold(model), x), results(model, x)
    assert all(g.dtype == torch.bfloat16 for g in got)
    assert furthest(got, [w.float() for w in wanted]) < 16 * torch.finfo(torch.bfloat16).eps


def test_the_work_grows_with_the_network_and_no_faster():
    calls = {}
    for stacks in (2, 8):
        model, steps = network(stacks=stacks, depth=1), []
        sys.setprofile(lambda _, event, __, steps=steps: steps.append(event))
        try:
            fold(model)
        finally:
            sys.setprofile(None)
        calls[stacks] = len(steps)
    assert calls[2] < calls[8] < 4 * calls[2]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("hybrid_2x48",), "model must be a torch.nn.Module, got str"),
        ((SoftGatedBlock(4, 4), "half"), "dtype must be one of float32, .*, got 'half'"),
        ((SoftGatedBlock(4, 4), torch.int8), "dtype must be one of float32, .*, got torch.int8"),
        ((SoftGatedBlock(4, 4), None, 1), "channels_last must be True or False, got 1"),
        ((fold(SoftGatedBlock(4, 4)),), "model must be the network to fold, got one that is"),
    ],
)
def test_wrong_arguments_are_said(arguments, message):
    with pytest.raises(InputError, match=f"^{message}"):
        softgate_ext.fold(*arguments)


def test_wrong_images_are_said():
    folded = fold(build("hybrid"), torch.bfloat16)
    with pytest.raises(InputError, match="images must be floating point in .*, got uint8"):
        folded(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(InputError, match="divisible by 16, .*, got 24 x 32"):
        folded(torch.zeros(1, 3, 24, 32))
