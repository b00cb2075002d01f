"""The ways to run a network for inference that `benchmarks.inference` compares."""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from softgate_ext import fold
from softgate_ext.commands.export import export_program, save_program
from softgate_ext.models import create_model
from softgate_ext.ops.backend import use_backend
from softgate_ext.prediction.detection_networks import openvino_core

Run = Callable[[], Any]  # runs one pass and returns the last heatmaps, as a tensor or an array


@dataclass(frozen=True)
class Case:
    """The work of all rivals: heatmaps of `batch` float32 images of `size` x `size` pixels."""

    model: str
    size: int
    batch: int
    threads: int

    def __str__(self) -> str:
        return f"{self.model} at {self.size}, {self.batch} images, {self.threads} threads"

    def network(self) -> torch.nn.Module:
        """The model in eval mode, with the same weights in every process."""
        torch.manual_seed(0)
        return create_model(self.model).eval()

    def images(self) -> Tensor:
        """Random images (batch, 3, size, size), the same in every process."""
        generator = torch.Generator().manual_seed(1)
        return torch.rand(self.batch, 3, self.size, self.size, generator=generator)


@dataclass(frozen=True)
class Rival:
    """One way to compute a case.

    Attributes:
        build: makes the pass from the case and the ONNX file of the network.
        needs: packages that it needs besides those of the project.
        tolerance: largest difference from the heatmaps of the first rival, as a share of their norm.
    """

    build: Callable[[Case, Path], Run]
    needs: tuple[str, ...] = ()
    tolerance: float = 1e-3


def _torch(make: Callable[[Case], torch.nn.Module]) -> Callable[[Case, Path], Run]:
    def build(case: Case, _: Path) -> Run:
        network = make(case)
        images = case.images().to(memory_format=torch.channels_last)

        def run() -> Tensor:
            with torch.no_grad():
                heatmaps: Tensor = network(images)[-1]
            return heatmaps

        return run

    return build


def _compiled(case: Case, _: Path) -> Run:
    inductor: Any = importlib.import_module("torch._inductor.config")
    inductor.freezing = True
    network = case.network().to(memory_format=torch.channels_last)
    compiled = torch.compile(network, fullgraph=True, dynamic=False)
    images = case.images().to(memory_format=torch.channels_last)

    def run() -> Tensor:
        with torch.no_grad(), use_backend("reference"):  # Inductor sees PyTorch's own ops
            heatmaps: Tensor = compiled(images)[-1]
        return heatmaps

    return run


def _onnxruntime(case: Case, file: Path) -> Run:
    library: Any = importlib.import_module("onnxruntime")
    options = library.SessionOptions()
    options.intra_op_num_threads = case.threads
    # Otherwise its threads keep spinning while other rivals are measured.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = library.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    images = {session.get_inputs()[0].name: case.images().numpy()}
    return lambda: session.run(None, images)[0]


def _openvino(precision: str) -> Callable[[Case, Path], Run]:
    def build(case: Case, file: Path) -> Run:
        core = openvino_core()
        images = case.images().numpy()
        model = core.read_model(file)
        model.reshape(list(images.shape))  # a fixed batch size, as for the other rivals
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": case.threads,
            "NUM_STREAMS": 1,
            # No other rival is pinned to a core, on which another program may be running.
            "ENABLE_CPU_PINNING": False,
        }
        compiled = core.compile_model(model, "CPU", settings)
        return lambda: compiled(images)[0]

    return build


def _folded(**options: Any) -> Callable[[Case, Path], Run]:
    return _torch(lambda case: fold(case.network(), channels_last=True, **options))


EXPORT = ("onnx", "onnxscript")
HALF = 0.1  # tolerance for bfloat16: eight bits of mantissa through a whole network
RIVALS: dict[str, Rival] = {
    "eager": Rival(_torch(lambda case: case.network().to(memory_format=torch.channels_last))),  # type: ignore[call-overload]
    "direct": Rival(_folded()),
    "winograd": Rival(_folded(conv="winograd")),
    "compile": Rival(_compiled),
    "onnxruntime": Rival(_onnxruntime, (*EXPORT, "onnxruntime")),
    "openvino": Rival(_openvino("f32"), (*EXPORT, "openvino")),
    "bfloat16": Rival(_folded(dtype=torch.bfloat16), tolerance=HALF),
    "winograd-bfloat16": Rival(_folded(dtype=torch.bfloat16, conv="winograd"), tolerance=HALF),
    "openvino-bfloat16": Rival(_openvino("bf16"), (*EXPORT, "openvino"), HALF),
}


def missing(name: str) -> list[str]:
    """The packages that a rival needs and that are not installed here."""
    return [m for m in RIVALS[name].needs if importlib.util.find_spec(m) is None]


def write_onnx(case: Case, file: Path) -> None:
    """Writes the folded network of a case as ONNX, for any batch size, with PyTorch's own ops."""
    save_program(export_program(fold(case.network()), case.size), file)
