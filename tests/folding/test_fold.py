"""A folded network predicts what its model predicts, from a state of its own."""

import copy
import io
import pickle
import threading

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import softgate_ext
from softgate_ext import InputError, fold, use_backend
from softgate_ext.nn import SoftGatedBlock
from softgate_ext.ops.backend import unavailable

NETWORKS = ["hybrid", "add", "hourglass"]


def images(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(1), dtype=dtype)


def input_of(model: nn.Module) -> Tensor:
    if isinstance(model, SoftGatedBlock):
        return images(2, model.in_channels, 6, 10) - 0.5
    return images(2, 3, 32, 48)


def results(model: nn.Module, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        out = model(x)
    return [out] if isinstance(out, Tensor) else out


def furthest(got: list[Tensor], wanted: list[Tensor]) -> float:
    """The largest difference, as a share of the largest value of its result."""
    pairs = zip(got, wanted, strict=True)
    return max(float((g.double() - w).abs().max() / w.double().abs().max()) for g, w in pairs)


@pytest.mark.parametrize("name", [*NETWORKS, "block", "same"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_it_predicts_what_the_model_predicts(build, fused, name, channels_last):
    model = build(name)
    x = input_of(model).to(fused)
    wanted = results(model.to(fused), x)
    assert furthest(results(fold(model, None, channels_last), x), wanted) < 1e-5


@pytest.mark.parametrize("name", [*NETWORKS, "block"])
def test_folding_is_exact_but_for_rounding(build, name):
    model = build(name)
    x = input_of(model).double()
    wanted = results(copy.deepcopy(model).double(), x)
    assert furthest(results(fold(model.double()), x), wanted) < 1e-13


@pytest.mark.parametrize(
    "backend", ["cpu", "reference", pytest.param("triton", marks=pytest.mark.slow)]
)
def test_every_backend_serves_it(build, backend):
    if unavailable(backend) is not None:
        pytest.skip(f"needs the backend: {unavailable(backend)}")
    model = SoftGatedBlock(4, 8, alpha_init=0.5).eval()
    folded, x = fold(model), images(1, 4, 4, 4) - 0.5
    with use_backend(backend):
        assert furthest(results(folded, x), results(model, x)) < 1e-5


def test_any_batch_and_size_from_several_threads(build):
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
def test_half_precision_and_layout_by_one_argument(build, name, dtype):
    model, x = build(name), images(2, 3, 32, 48)
    exact = results(model, x)
    got = results(fold(model, dtype, channels_last=True), x)
    assert all(g.dtype == dtype for g in got)
    assert all(g.is_contiguous(memory_format=torch.channels_last) for g in got)
    # A few dozen roundings in a row, and no more than the model's own cast would make.
    assert furthest(got, exact) < 16 * torch.finfo(dtype).eps
    assert furthest(got, exact) < 2 * furthest(results(copy.deepcopy(model).to(dtype), x), exact)


def test_vectors_stay_wide_beside_half_activations(build):
    folded = fold(build("hybrid"), torch.bfloat16)
    dtypes = {name.rpartition(".")[2]: v.dtype for name, v in folded.state_dict().items()}
    assert dtypes.pop("weight") == torch.bfloat16
    assert dtypes.pop("bias") == torch.bfloat16
    assert dtypes == dict.fromkeys(("alpha", "scale", "shift"), torch.float32)


def test_the_model_stays_as_it_is(build):
    model = build("hybrid").train()
    before = copy.deepcopy(model.state_dict())
    folded = fold(model, torch.bfloat16, channels_last=True)
    assert all(m.training for m in model.modules())
    assert all(p.requires_grad for p in model.parameters())
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    places = {t.data_ptr() for t in model.state_dict().values()}
    assert places.isdisjoint(t.data_ptr() for t in folded.state_dict().values())


def test_its_state_is_saved_loaded_and_pickled(build):
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
    other.load_state_dict(torch.load(file))
    pickled = pickle.loads(pickle.dumps(folded))
    assert pickled.state_dict().keys() == folded.state_dict().keys()
    for same in (other, pickled, copy.deepcopy(folded), copy.deepcopy(pickled)):
        assert all(torch.equal(a, b) for a, b in zip(results(same, x), wanted, strict=True))


def test_it_is_for_inference_alone(build):
    folded = fold(build("block"))
    assert not any(m.training for m in folded.modules())
    assert not any(p.requires_grad for p in folded.parameters())
    assert folded.eval() is folded and folded.train(False) is folded
    with pytest.raises(InputError, match=r"^mode must be False, since .*, got True$"):
        folded.train()
    assert not any(m.training for m in folded.modules())


SIZES = ["block", pytest.param("hybrid", marks=pytest.mark.slow)]


@pytest.mark.parametrize("name", SIZES)
def test_it_compiles_as_one_graph(build, name):
    model = build(name)
    dynamic = True if name == "hybrid" else None
    compiled = torch.compile(fold(model), fullgraph=True, backend="aot_eager", dynamic=dynamic)
    x = input_of(model)
    for batch in (x, x.repeat(2, 1, 1, 2))[: 2 if dynamic else 1]:
        assert furthest(results(compiled, batch), results(model, batch)) < 1e-5


@pytest.mark.parametrize("name", SIZES)
def test_it_exports_with_any_batch(build, name):
    model, batch = build(name), Dim("batch", min=1, max=64)
    folded, x = fold(model), input_of(model)
    program = torch.export.export(folded, (x,), dynamic_shapes=(({0: batch},),))
    assert any("softgate" in str(node.target) for node in program.graph.nodes)
    for some in (x[:1], x.repeat(3, 1, 1, 1)):
        assert furthest(results(program.module(), some), results(model, some)) < 1e-5


def test_autocast_serves_it(build):
    model, x = build("hybrid"), images(2, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        got, wanted = results(fold(model), x), results(model, x)
    assert all(g.dtype == torch.bfloat16 for g in got)
    assert furthest(got, [w.float() for w in wanted]) < 16 * torch.finfo(torch.bfloat16).eps


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("hybrid_2x48",), "model must be a torch.nn.Module, got str"),
        ((nn.Conv2d(1, 1, 1), "bfloat16"), "dtype must be one of float32, .*, got 'bfloat16'"),
        ((nn.Conv2d(1, 1, 1), torch.int8), "dtype must be one of float32, .*, got torch.int8"),
        ((nn.Conv2d(1, 1, 1), None, 1), "channels_last must be True or False, got 1"),
        ((fold(SoftGatedBlock(4, 4)),), "model must be the network to fold, got one that is"),
    ],
)
def test_wrong_arguments_are_said(arguments, message):
    with pytest.raises(InputError, match=f"^{message}"):
        softgate_ext.fold(*arguments)


def test_wrong_images_are_said(build):
    folded = fold(build("hybrid"), torch.bfloat16)
    with pytest.raises(InputError, match="images must be floating point in .*, got uint8"):
        folded(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(InputError, match="divisible by 16, .*, got 24 x 32"):
        folded(torch.zeros(1, 3, 24, 32))
