"""Networks for other runtimes: torch.export programs, ONNX files, AOTInductor packages."""

import importlib.util
import tempfile
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from softgate_ext.commands.export_config import ExportConfig
from softgate_ext.errors import InputError
from softgate_ext.files.atomic import write_bytes
from softgate_ext.files.folders import check_folder, make_folder
from softgate_ext.files.printable import tell
from softgate_ext.inference.fold import fold
from softgate_ext.ops.backend import use_backend
from softgate_ext.pose.codec import DECODER, PoseCodec
from softgate_ext.runs.opening import load_run

Format = Literal["onnx", "torch", "aoti"]
MOST_IMAGES = 4096  # in a batch; compilers take a bound to choose index types by


class Exportable(nn.Module):
    """A pose network as one function of tensors: its outputs, or joints and scores.

    Args:
        model: maps images to a list of heatmaps, or of what else its codec decodes, of which the
            last counts.
        codec: decodes inside the graph; None leaves the outputs.
    """

    def __init__(self, model: nn.Module, codec: PoseCodec | None = None):
        super().__init__()
        self.model = model
        self.codec = codec

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """(N, 3, S, S) to heatmaps (N, J, S/4, S/4), or joints (N, J, 2) and scores (N, J)."""
        outputs: Tensor = self.model(images)[-1]
        return outputs if self.codec is None else self.codec.decode(outputs)


def export_program(
    model: nn.Module, image_size: int, codec: PoseCodec | None = None
) -> ExportedProgram:
    """The network as a torch.export program of PyTorch's own ops, for inference.

    Args:
        model: a pose network on any device; its mode is kept.
        image_size: S; images are (N, 3, S, S) float32 with any N from 1 to 4096.
        codec: decodes inside the graph; None gives the network's outputs, such as heatmaps.

    Raises:
        InputError: the codec is for images of another size.
    """
    if codec is not None and codec.image_size != image_size:
        raise InputError(
            f"codec must be for images of {image_size} pixels, got one for {codec.image_size}"
        )
    device = next(model.parameters()).device
    # A batch of 1 would be taken for a constant.
    images = torch.zeros(2, 3, image_size, image_size, device=device)
    shapes = ({0: Dim("batch", min=1, max=MOST_IMAGES)},)
    modes = [(module, module.training) for module in model.modules()]
    try:
        exportable = Exportable(model, codec).eval()
        # Other runtimes do not know our ops, but they know what those are made of.
        with torch.no_grad(), use_backend("reference"):
            return torch.export.export(exportable, (images,), dynamic_shapes=shapes)
    finally:
        for module, mode in modes:
            module.training = mode


def check_target(path: Path, format: Format) -> None:
    """Whether `save_program` can write there, before the program is made; creates nothing.

    Raises:
        InputError: an unknown format, a wrong suffix, a package that is missing for ONNX, or a
            folder that cannot be written to.
    """
    if format not in get_args(Format):
        raise InputError(f"format must be one of {', '.join(get_args(Format))}, got {format!r}")
    suffix = ".onnx" if format == "onnx" else ".pt2"
    if path.suffix != suffix:
        raise InputError(f"out must end in {suffix} for format {format!r}, got {path.name!r}")
    if format == "onnx":
        missing = [m for m in ("onnx", "onnxscript") if importlib.util.find_spec(m) is None]
        if missing:
            raise InputError(
                f"format 'onnx' needs the package {missing[0]}, which is missing; pip install "
                "'softgate_ext[onnx]', or use the format 'torch'"
            )
    if path.is_dir():
        raise InputError(f"out: got the folder {path}; takes a file ending in {suffix}")
    check_folder(path.parent)


def save_program(program: ExportedProgram, path: Path, format: Format = "onnx") -> None:
    """Writes a program of `export_program` for a runtime.

    Args:
        program: the network.
        path: file to write, whole or not at all; "torch" and "aoti" end in .pt2.
        format: "onnx" (for ONNX Runtime, OpenVINO), "torch" (`torch.export.load`) or "aoti"
            (`torch._inductor.aoti_load_package`; machine code of the device it was exported on).

    Raises:
        InputError: `check_target` refuses.
    """
    check_target(path, format)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / path.name
        if format == "torch":
            torch.export.save(program, file)
        elif format == "aoti":
            torch._inductor.aoti_compile_and_package(program, package_path=str(file))
        else:
            outputs = len(program.graph_signature.user_outputs)
            names = ["heatmaps"] if outputs == 1 else ["joints", "scores"]
            torch.onnx.export(
                program, (), str(file), input_names=["images"], output_names=names,
                dynamo=True, external_data=False, verbose=False,
            )  # fmt: skip
        make_folder(path.parent)
        write_bytes(path, file.read_bytes())


def export_run(config: ExportConfig) -> None:
    """Writes a trained run's network to `config.out`, and prints that name.

    Raises:
        InputError: the run cannot be used, or `config` asks for what is not there.
    """
    model, run, _ = load_run(config.run, config.weights)
    check_target(config.out, config.format)
    size = run.image_size
    decoder = DECODER if config.decode == "none" else config.decode
    codec = model.codec(size, run.sigma, decoder)
    decoded = config.decode != "none" or model.gives == "joints"  # whose form is the network's own
    save_program(
        export_program(fold(model), size, codec if decoded else None), config.out, config.format
    )
    tell(config.out)
