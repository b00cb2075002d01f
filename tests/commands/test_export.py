"""Exported networks give the network's own results in every runtime, for any batch size."""

import numpy as np
import pytest
import torch

from softgate_ext import InputError, fold
from softgate_ext.commands.export import Exportable, export_program, save_program
from softgate_ext.models import create_model
from softgate_ext.pose.codec import HeatmapCodec
from softgate_ext.prediction.detection_networks import openvino_core

SIZE = 64
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    net = create_model("hybrid_1x32", depth=2, joints=4).eval()
    for name, tensor in net.state_dict().items():
        if name.endswith("running_var") or name.endswith("bn1.weight"):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith("alpha") or name.endswith("heatmaps.weight"):
            tensor.normal_(0.0, 0.5)
    return net


def _codec(decode: str | None):
    return HeatmapCodec(SIZE, SIZE // 4, 1.0, decode) if decode else None  # type: ignore[arg-type]


def _expected(model, codec, images):
    with torch.no_grad():
        out = Exportable(model, codec)(images)
    return [out] if isinstance(out, torch.Tensor) else list(out)


def _agree(results, expected):
    assert len(results) == len(expected)
    for got, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(np.asarray(got), wanted.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("decode", [None, "dark"])
def test_a_program_holds_plain_ops_and_any_batch(model, decode, tmp_path):
    codec = _codec(decode)
    save_program(export_program(model.train(), SIZE, codec), tmp_path / "net.pt2", "torch")
    assert model.training
    model.eval()
    program = torch.export.load(tmp_path / "net.pt2")
    assert not any("softgate" in str(node.target) for node in program.graph.nodes)
    for batch in (1, 3):
        images = torch.rand(batch, 3, SIZE, SIZE)
        out = program.module()(images)
        results = [out] if decode is None else out
        _agree([r.detach() for r in results], _expected(model, codec, images))


@pytest.mark.slow
def test_a_folded_network_is_a_simpler_program():
    torch.manual_seed(0)
    model = create_model("hybrid_1x32", depth=1, joints=4).eval()
    plain, folded = (export_program(m, SIZE) for m in (model, fold(model)))
    assert len(folded.graph.nodes) < 0.95 * len(plain.graph.nodes)
    images = torch.rand(3, 3, SIZE, SIZE)
    _agree([folded.module()(images).detach()], _expected(model, None, images))


@pytest.mark.slow
def test_onnx_runtime_agrees_on_joints_that_are_regressed(tmp_path):
    """The sub-crops of a cascade are in the file."""
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    model = create_model("deeppose_3x48", width=8, depth=2, joints=4).eval()
    for stage in model.stages:
        torch.nn.init.normal_(stage.output.weight, std=0.02)
    codec, path = model.codec(SIZE), tmp_path / "net.onnx"
    save_program(export_program(fold(model), SIZE, codec), path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = torch.nn.functional.interpolate(torch.rand(3, 3, 4, 4), size=SIZE, mode="bilinear")
    _agree(session.run(None, {"images": images.numpy()}), _expected(model, codec, images))


@pytest.mark.slow
@pytest.mark.parametrize("decode", [None, "argmax", "quarter", "dark"])
def test_onnx_runtime_and_openvino_agree(model, decode, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(package)
    import onnxruntime

    codec, path = _codec(decode), tmp_path / "net.onnx"
    save_program(export_program(fold(model), SIZE, codec), path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    core = openvino_core()
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(path), "CPU", exact)
    for batch in (1, 3):
        images = torch.rand(batch, 3, SIZE, SIZE)
        expected = _expected(model, codec, images)
        _agree(session.run(None, {"images": images.numpy()}), expected)
        _agree(list(compiled(images.numpy()).values()), expected)


@pytest.mark.slow
def test_an_aoti_package_agrees(model, tmp_path):
    codec, path = _codec("dark"), tmp_path / "net.pt2"
    save_program(export_program(fold(model), SIZE, codec), path, "aoti")
    runner = torch._inductor.aoti_load_package(str(path))
    for batch in (1, 3):
        images = torch.rand(batch, 3, SIZE, SIZE)
        _agree(runner(images), _expected(model, codec, images))


@pytest.mark.parametrize(
    "path, format, message",
    [
        ("net.onnx", "torch", "out must end in .pt2 for format 'torch', got 'net.onnx'"),
        ("net.pt2", "onnx", "out must end in .onnx"),
        ("net.pt2", "tflite", "format must be one of onnx, torch, aoti, got 'tflite'"),
    ],
)
def test_wrong_input_is_said(model, tmp_path, path, format, message):
    with pytest.raises(InputError, match=message):
        save_program(None, tmp_path / path, format)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="codec must be for images of 128 pixels, got one for 64"):
        export_program(model, 128, _codec("dark"))
