"""What Winograd's convolutions of a graph read in the place of weights and batch norms."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils.weak import WeakTensorKeyDictionary

from softgate_ext.ops.conv3x3 import transformed

Packed = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]

# Of each weight what was made of it, for all graphs: a model has one for each mode and shape.
_made: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


@dataclass(frozen=True)
class Packing:
    """Of which inputs of a graph the operands of one convolution are made.

    Attributes:
        weight, bias: places of the convolution's own; None where it has no bias.
        before: places of running mean, running variance, weight and bias of the norm that the
            convolution computes of its input, with a ReLU, and its epsilon; None where it does not.
        after: the same of the norm of its result.
        groups: of the convolution.
    """

    weight: int
    bias: int | None
    before: "NormAt | None"
    after: "NormAt | None"
    groups: int

    def operands(self, inputs: Sequence[Any]) -> list[Tensor] | None:
        """What `made` of these inputs returns, without None: as it was, while they are the same.

        A change is seen by the version that PyTorch counts, or the address. None where nothing is
        counted, as of tensors that were made in inference mode.
        """
        own = [None if place is None else inputs[place] for place in self._places()]
        tensors = [t for t in own if t is not None]
        if any(t.is_inference() for t in tensors):
            return None
        known = _made.setdefault(inputs[self.weight], {})
        # The same for each graph, though the places are not.
        key = (
            self.groups,
            *(norm and norm.eps for norm in (self.before, self.after)),
            *map(id, own),
        )
        stamps = [(t.data_ptr(), t._version) for t in tensors]
        if key not in known or known[key][0] != stamps:
            with torch.inference_mode(False), torch.no_grad():
                found = [t for t in self.made(inputs) if t is not None]
            known[key] = stamps, found, tensors[1:]  # held, so that their ids are nobody else's
        operands: list[Tensor] = known[key][1]
        return operands

    def made(self, inputs: Sequence[Any]) -> Packed:
        """Transformed weight, scale and shift of the input, bias; float32."""

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
    """Places of running mean, running variance, weight and bias among the inputs, and epsilon."""

    places: tuple[int | None, ...]
    eps: float


def _normalised(
    weight: Tensor, bias: Tensor | None, norm: list[Any], eps: float
) -> tuple[Tensor, Tensor]:
    mean, var, scale, shift = norm
    fused = fuse_conv_bn_weights(weight, bias, mean, var, eps, scale, shift)
    return fused[0].detach(), fused[1].detach()
