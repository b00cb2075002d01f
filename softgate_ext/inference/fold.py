"""`fold`: a trained network as the network that only predicts."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from softgate_ext.errors import InputError
from softgate_ext.inference.forms import is_known, known_parts, to_inference
from softgate_ext.inference.plan import plan_for
from softgate_ext.inference.weights import ScaleShift
from softgate_ext.inference.winograd import WinogradConv, use_winograd
from softgate_ext.models import PoseModel
from softgate_ext.nn import use_conv
from softgate_ext.nn.convolution import Conv, check_conv

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class Folded(nn.Module):
    """A network for inference, made by `fold`.

    Takes the inputs of the network that it was made from, of any batch and image size, and returns
    its results, in the dtype that was asked for. Stateless: threads may share one.

    Attributes:
        network: what is left of the model; `print(folded)` shows it.
    """

    def __init__(
        self,
        network: nn.Module,
        dtype: torch.dtype | None,
        channels_last: bool,
        planned: bool = False,
    ):
        super().__init__()
        self.network = network
        self.planned = planned
        self.dtype = dtype
        self.channels_last = channels_last
        self.eval()

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Calls the network."""
        # A network normalises its images into the dtype of its weights; a copy made here would
        # live as long as the call.
        if not isinstance(self.network, PoseModel):
            inputs, options = tree_map(self._as_input, (inputs, options))
        if self.planned and len(inputs) == 1 and not options:
            plan = plan_for(self.network, inputs[0])
            if plan is not None:
                return plan(inputs[0])
        return self.network(*inputs, **options)

    def train(self, mode: bool = True) -> "Folded":
        """Takes False alone.

        Raises:
            InputError: `mode` is True.
        """
        if mode:
            raise InputError(
                "mode must be False, since a folded network has no statistics to train with, "
                "got True"
            )
        super().train(False)
        return self

    def extra_repr(self) -> str:
        return f"dtype={self.dtype}, channels_last={self.channels_last}"

    def _as_input(self, value: Any) -> Any:
        """Floating-point tensors in the network's dtype and layout; anything else as it is."""
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        return value.to(
            dtype=value.dtype if self.dtype is None else self.dtype,
            memory_format=_layout(value, self.channels_last),
        )


def fold(
    model: nn.Module,
    dtype: torch.dtype | None = None,
    channels_last: bool = False,
    conv: Conv = "direct",
) -> Folded:
    """The network for inference, with batch norms folded.

    A batch norm with running statistics becomes a scale and a shift per channel, computed once, in
    float64. Where it alone reads a convolution it moves into that convolution's weights. It cannot
    in the chain of a soft-gated block, whose convolutions are branches of the sum as they come, so
    it stays in the fused op there. The two 1x1 convolutions that lead features and heatmaps back
    into the next stack are one.

    Args:
        model: a network or another module of this package. It stays as it is, and shares nothing
            with the result. Modules in it that are not of this package, that have a forward of
            their own, and norms and convolutions with hooks or parametrizations stay what they
            are, as do norms with batch statistics.
        dtype: of activations and convolutions, inputs included: float32, float64, float16 or
            bfloat16, with vectors per channel in float32 (float64). None leaves all dtypes.
        channels_last: whether inputs and weights are brought to that layout; False leaves them.
        conv: "direct", PyTorch's convolutions, or "winograd", which computes the 3x3 ones of the
            blocks and of the fusion on the CPU with a quarter of the multiplications, in float32,
            and in bfloat16 where that is faster on this processor, takes their norms along, and
            holds their weights transformed, in four times the memory; it works in channels_last.
            Whatever else the network is given, other dtypes and devices, is convolved directly, by
            weights that each call takes back.

    Returns:
        The folded network, in evaluation mode for good, without gradients; its state_dict is its
        own. Outputs agree with the model's in evaluation to 1e-5 of the largest in float32.

    Raises:
        InputError: an argument of another kind, a model that is not of this package, or one that
            cannot be copied.
    """
    _check(model, dtype, channels_last, conv)
    channels_last = channels_last or conv == "winograd"
    network = _copy(model)
    use_conv(network, "direct")
    known = list(known_parts(network))
    for part in known:
        to_inference(part)
    if conv == "winograd":  # of the weights as they are, before they are rounded
        for part in known:
            use_winograd(part, dtype)
    if dtype is not None or channels_last:
        _convert_weights(network, {*known}, dtype, channels_last)
    return Folded(network, dtype, channels_last, planned=conv == "winograd")


def _check(model: Any, dtype: Any, channels_last: Any, conv: Any) -> None:
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if isinstance(model, Folded):
        raise InputError("model must be the network to fold, got one that is folded already")
    if not is_known(model) or isinstance(model, nn.ModuleList):
        raise InputError(
            f"model must be a network or block of softgate_ext, got {type(model).__name__}; for any "
            "other, softgate_ext.convert (conv='winograd' on the CPU) and torch.compile "
            "with torch._inductor.config.freezing = True do what fold does"
        )
    if dtype is not None and dtype not in _DTYPES:
        names = ", ".join(str(d).removeprefix("torch.") for d in _DTYPES)
        raise InputError(f"dtype must be one of {names} or None, got {dtype!r}")
    if not isinstance(channels_last, bool):
        raise InputError(f"channels_last must be True or False, got {channels_last!r}")
    check_conv(conv)


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model).eval().requires_grad_(False)
    except Exception as error:  # of anything that a module may hold
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"model must be one that copy.deepcopy can copy, got {type(model).__name__} ({reason})"
        ) from error


def _convert_weights(
    network: nn.Module, known: set[nn.Module], dtype: torch.dtype | None, channels_last: bool
) -> None:
    """To dtype and layout; what known modules hold themselves are vectors, which stay wide.

    So does what the kernels read, float32 in float32 and bfloat16.
    """
    for module in network.modules():
        wide = module in known or isinstance(module, ScaleShift | WinogradConv)
        for value in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            if not value.is_floating_point():
                continue
            to = value.dtype
            if dtype is not None:
                to = torch.promote_types(dtype, torch.float32) if wide else dtype
            value.data = value.data.to(dtype=to, memory_format=_layout(value, channels_last))


def _layout(value: Tensor, channels_last: bool) -> torch.memory_format:
    is_image = channels_last and value.dim() == 4
    return torch.channels_last if is_image else torch.preserve_format
