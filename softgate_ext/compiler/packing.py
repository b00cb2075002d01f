"""The operands of Winograd convolutions in a graph: transformed weights with batch norms folded in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils.weak import WeakTensorKeyDictionary

from softgate_ext.ops.conv3x3 import transformed

Packed = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]

# The operands made of each weight, shared by all graphs: a model has a graph per mode and shape.
_made: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


@dataclass(frozen=True)
class Packing:
    """The inputs of a graph from which the operands of one convolution are made.

    Attributes:
        weight, bias: positions of the convolution's parameters among the inputs; None without bias.
        before: the norm that, with a ReLU, is applied to the convolution's input; None without one.
        after: the norm that is applied to its result; None without one.
        groups: groups of the convolution.
    """

    weight: int
    bias: int | None
    before: "NormAt | None"
    after: "NormAt | None"
    groups: int

    def operands(self, inputs: Sequence[Any]) -> list[Tensor] | None:
        """The result of `made` without its Nones, cached while the inputs do not change.

        A change shows in the version counter of a tensor or in its address.

        Returns:
            The operands, or None if a tensor has no version counter, because it was made in inference
            mode.
        """
        own = [None if place is None else inputs[place] for place in self._places()]
        tensors = [t for t in own if t is not None]
        if any(t.is_inference() for t in tensors):
            return None
        known = _made.setdefault(inputs[self.weight], {})
        # The key must not depend on the positions, which differ between graphs.
        key = (
            self.groups,
            *(norm and norm.eps for norm in (self.before, self.after)),
            *map(id, own),
        )
        stamps = [(t.data_ptr(), t._version) for t in tensors]
        if key not in known or known[key][0] != stamps:
            with torch.inference_mode(False), torch.no_grad():
                found = [t for t in self.made(inputs) if t is not None]
            known[key] = stamps, found, tensors[1:]  # kept alive, so that their ids are not reused
        operands: list[Tensor] = known[key][1]
        return operands

    def made(self, inputs: Sequence[Any]) -> Packed:
        """Transformed weight, scale and shift of the input, and bias, all float32."""

        def at(*places: int | None) -> list[Any]:
            return [None if place is None else inputs[place].detach().double() for place in places]

        weight, bias = at(self.weight, self.bias)
        scale = shift = None
        if self.after is not None:
            weight, bias = _normalised(weight, bias, at(*self.after.places), self.after.eps)
        if self.before is not None:
            norm = at(*self.before.places)
            ones = torch.ones_like(norm[0]).view(-1, 1, 1, 1)
            scale, shift = _normalised(ones, None, norm, self.before.eps)
            scale, shift = scale.flatten().float(), shift.float()
        return (
            transformed(weight, self.groups),
            scale,
            shift,
            None if bias is None else bias.float(),
        )

    def _places(self) -> list[int | None]:
        norms = [(None,) * 4 if norm is None else norm.places for norm in (self.before, self.after)]
        return [self.weight, self.bias, *norms[0], *norms[1]]


@dataclass(frozen=True)
class NormAt:
    """The constants of a norm: positions of its tensors among the inputs of a graph, and its eps.

    Attributes:
        places: positions of running mean, running variance, weight and bias; None for a missing one.
        eps: the number that is added to the variance.
    """

    places: tuple[int | None, ...]
    eps: float


def _normalised(
    weight: Tensor, bias: Tensor | None, norm: list[Any], eps: float
) -> tuple[Tensor, Tensor]:
    mean, var, scale, shift = norm
    fused = fuse_conv_bn_weights(weight, bias, mean, var, eps, scale, shift)
    return fused[0].detach(), fused[1].detach()
