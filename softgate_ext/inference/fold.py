"""`fold`: turns a trained network into a faster one for inference, without batch norms."""

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

    It takes the same inputs as the original network, of any batch and image size, and returns its
    results in the dtype that was given to `fold`. It has no state, so that threads may share it.

    Attributes:
        network: the folded modules; `print(folded)` shows them.
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
        """Calls the network with its usual arguments."""
        # A pose network casts its images itself. A copy made here would stay in memory for the whole
        # call.
        if not isinstance(self.network, PoseModel):
            inputs, options = tree_map(self._as_input, (inputs, options))
        if self.planned and len(inputs) == 1 and not options:
            plan = plan_for(self.network, inputs[0])
            if plan is not None:
                return plan(inputs[0])
        return self.network(*inputs, **options)

    def train(self, mode: bool = True) -> "Folded":
        """Accepts only `mode=False`, because a folded network cannot be trained.

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
        """A floating-point tensor in the network's dtype and layout; other values unchanged."""
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
    """Makes a network for inference, with folded batch norms.

    A batch norm with running statistics becomes a scale and a shift per channel, computed once in
    float64. If only the batch norm reads the output of a convolution, it is folded into that
    convolution's weights. This is impossible within a soft-gated block, because its convolutions are
    also branches of the residual sum. The norm there stays in the fused op. The two 1x1 convolutions
    that feed features and heatmaps into the next stack become one.

    Args:
        model: a network or another module of this package. It is not changed, and the result shares no
            tensors with it. These are not folded: modules of other packages, modules with a replaced
            forward, norms and convolutions with hooks or parametrizations, and norms that use batch
            statistics.
        dtype: the dtype of activations and convolutions, inputs included: float32, float64, float16 or
            bfloat16. Per-channel vectors are float32, or float64 with float64. None keeps all dtypes.
        channels_last: whether inputs and weights are converted to channels_last; False keeps their
            layout.
        conv: "direct" for PyTorch's convolutions, or "winograd" for Winograd's algorithm in the 3x3
            convolutions of the blocks and of the fusion, on the CPU and in channels_last. Winograd
            needs a quarter of the multiplications and four times the memory for the weights, which
            are stored transformed. It computes norm and ReLU of its input as it loads the input. It
            is used for float32, and for bfloat16 if that is faster on this processor. Inputs of other
            dtypes or on other devices are convolved directly, with weights that each call transforms
            back.

    Returns:
        The folded network, always in evaluation mode and without gradients. Its state_dict differs from
        the model's. In float32, outputs agree with the model's in evaluation to 1e-5 of the largest
        value.

    Raises:
        InputError: an argument has another type or value, the model is not of this package, or it
            cannot be copied.
    """
    _check(model, dtype, channels_last, conv)
    channels_last = channels_last or conv == "winograd"
    network = _copy(model)
    use_conv(network, "direct")
    known = list(known_parts(network))
    for part in known:
        to_inference(part)
    if conv == "winograd":  # before `_convert_weights` rounds the weights
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
    except Exception as error:  # a module may hold any object, whose copy may raise anything
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"model must be one that copy.deepcopy can copy, got {type(model).__name__} ({reason})"
        ) from error


def _convert_weights(
    network: nn.Module, known: set[nn.Module], dtype: torch.dtype | None, channels_last: bool
) -> None:
    """Converts all weights to dtype and layout.

    Parameters that belong directly to known modules are per-channel vectors and stay in float32 or
    float64. So do the transformed weights, which the Winograd kernels read in float32.
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
