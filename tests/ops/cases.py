"""Test cases of the ops, which all backends and devices share: inputs, oracle and comparison.

The oracle is :mod:`softgate_ext.ops.reference` in float64. It rounds y to the tested dtype before the
norm, as the ops must.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from softgate_ext import ops
from softgate_ext.ops import reference
from softgate_ext.ops.backend import current

EPS = {torch.float64: 2e-16, torch.float32: 1.2e-7, torch.float16: 1e-3, torch.bfloat16: 8e-3}


@dataclass(frozen=True)
class Case:
    """One call; ``merge`` is None, "concat" or "add", ``split`` the branches' channels."""

    size: tuple[int, int, int, int] = (2, 8, 6, 10)
    split: tuple[int, ...] = (4, 2, 2)
    plain: bool = False
    merge: str | None = None
    low_channels: int = 8
    alpha: str | None = "channel"
    norm: bool = True
    training: bool = True
    affine: bool = True
    running: bool = True
    relu: bool = True
    dtype: torch.dtype = torch.float32
    channels_last: bool = False
    mean: float = 0.5
    device: str = "cpu"
    seed: int = 0

    @property
    def channels(self) -> int:
        if self.merge == "concat":
            return self.size[1] + self.low_channels
        return self.size[1]

    def __str__(self) -> str:
        default = Case()
        changed = [
            f"{k}={v}".replace(" ", "") for k, v in vars(self).items() if v != getattr(default, k)
        ]
        return ",".join(changed).replace("torch.", "") or "default"


@dataclass
class Inputs:
    x: Tensor
    branches: list[Tensor]
    low: Tensor | None
    alpha: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    dy: Tensor = field(default_factory=lambda: torch.empty(0))
    dz: Tensor = field(default_factory=lambda: torch.empty(0))

    def differentiable(self) -> dict[str, Tensor]:
        named = dict(x=self.x, low=self.low, alpha=self.alpha, weight=self.weight, bias=self.bias)
        named.update({f"branches[{i}]": b for i, b in enumerate(self.branches)})
        return {k: t for k, t in named.items() if t is not None}

    def cast(self, dtype: torch.dtype | None = None) -> "Inputs":
        """Detached copies, as leaves that require gradients where they take one."""

        def copy(t: Tensor | None) -> Tensor | None:
            return None if t is None else t.detach().clone().to(dtype or t.dtype)

        made = Inputs(
            copy(self.x), [copy(b) for b in self.branches], copy(self.low), copy(self.alpha),
            copy(self.running_mean), copy(self.running_var), copy(self.weight), copy(self.bias),
            copy(self.dy), copy(self.dz),
        )  # fmt: skip
        for t in made.differentiable().values():
            t.requires_grad_()
        return made


def make_inputs(case: Case) -> Inputs:
    """Random inputs; dz is 0 where the pre-activation is too close to 0 to compare."""
    gen = torch.Generator().manual_seed(case.seed)
    n, c, h, w = case.size

    def activation(channels: int, height: int = h, width: int = w, shift: float = 0.0) -> Tensor:
        t = torch.randn(n, channels, height, width, generator=gen, dtype=torch.float64) + shift
        layout = torch.channels_last if case.channels_last else torch.contiguous_format
        return t.to(case.device, case.dtype).contiguous(memory_format=layout)

    wide = torch.float64 if case.dtype == torch.float64 else torch.float32

    def vector(size: int, low: float = -1.5, high: float = 1.5) -> Tensor:
        t = torch.rand(size, generator=gen, dtype=torch.float64) * (high - low) + low
        return t.to(case.device, wide)

    sizes = {"channel": c, "block": 1}
    total = case.channels
    inputs = Inputs(
        x=activation(c, shift=case.mean),
        branches=[] if case.plain else [activation(k) for k in case.split],
        low=activation(case.low_channels, h // 2, w // 2) if case.merge else None,
        alpha=vector(sizes[case.alpha]) if case.alpha and not case.plain else None,
        running_mean=vector(total) if case.running else None,
        running_var=vector(total, 0.5, 2.0) if case.running else None,
        weight=vector(total) if case.affine else None,
        bias=vector(total) if case.affine else None,
    )
    inputs.dy = activation(total)
    inputs.dz = activation(total)
    if case.norm and case.relu and inputs.x.numel():
        pre = oracle_forward(case, inputs.cast(torch.float64), relu=False)[1]
        inputs.dz = torch.where(pre.abs() < 20 * EPS[case.dtype], 0, inputs.dz).to(case.dtype)
    return inputs


def oracle_forward(case: Case, i: Inputs, relu: bool) -> tuple[Tensor, Tensor | None]:
    """(y, z) in float64; y is rounded as stored, its gradient passes straight through."""
    if case.plain:
        y = i.x
    elif case.merge:
        y = reference.skip_merge(i.x, i.low, i.alpha, mode=case.merge, branches=i.branches)
    else:
        y = reference.gated_residual(i.x, i.branches, i.alpha)
    if not case.norm:
        return y, None
    stored = y + (y.detach().to(case.dtype).to(torch.float64) - y.detach())
    vectors = (i.running_mean, i.running_var, i.weight, i.bias)
    z = reference.bn_relu(stored, *vectors, training=case.training, relu=relu)
    return y, z


def call(case: Case, i: Inputs) -> tuple[Tensor, Tensor | None]:
    """(y, z) by the public ops."""
    vectors = (i.running_mean, i.running_var, i.weight, i.bias)
    norm = dict(training=case.training, relu=case.relu)
    merge = dict(mode=case.merge, branches=i.branches)
    if case.plain:
        return i.x, ops.bn_relu(i.x, *vectors, **norm)
    if case.merge and case.norm:
        return ops.skip_merge_bn_relu(i.x, i.low, i.alpha, *vectors, **norm, **merge)
    if case.merge:
        return ops.skip_merge(i.x, i.low, i.alpha, **merge), None
    if case.norm:
        return ops.gated_residual_bn_relu(i.x, i.branches, i.alpha, *vectors, **norm)
    return ops.gated_residual(i.x, i.branches, i.alpha), None


def outputs_and_gradients(
    case: Case, y: Tensor, z: Tensor | None, i: Inputs, use_y: bool = True
) -> dict[str, Tensor]:
    named = {"y": y.detach()}
    outs: list[Tensor] = [] if case.plain or not use_y else [y]
    grads = [i.dy] if outs else []
    if z is not None:
        named["z"] = z.detach()
        outs.append(z)
        grads.append(i.dz)
    leaves = i.differentiable()
    gradients = torch.autograd.grad(outs, list(leaves.values()), grads, allow_unused=True)
    for name, g in zip(leaves, gradients, strict=True):
        if g is not None:
            named[f"d{name}"] = g
    if case.running and case.norm:
        named["running_mean"], named["running_var"] = i.running_mean, i.running_var
    return named


def check(case: Case, inputs: Inputs | None = None, use_y: bool = True) -> dict[str, Tensor]:
    """Runs the case and holds values, gradients, dtypes and layouts to the oracle."""
    inputs = inputs or make_inputs(case)
    mine, oracle = inputs.cast(), inputs.cast(torch.float64)
    got = outputs_and_gradients(case, *call(case, mine), mine, use_y)
    want = outputs_and_gradients(case, *oracle_forward(case, oracle, case.relu), oracle, use_y)
    assert got.keys() == want.keys()
    for name, expected in want.items():
        close(name, got[name], expected, case)
    return got


def close(name: str, got: Tensor, want: Tensor, case: Case) -> None:
    """Element by element, in units of the dtype's rounding at the tensor's scale."""
    assert got.shape == want.shape, name
    wide = torch.float64 if case.dtype == torch.float64 else torch.float32
    assert got.dtype == (wide if want.dim() == 1 else case.dtype), name
    if want.dim() == 4 and current() != "reference":  # eager code lets each operation decide
        wanted = torch.channels_last if case.channels_last else torch.contiguous_format
        layouts = {wanted, torch.contiguous_format} if case.size[1] == 1 else {wanted}
        assert any(got.is_contiguous(memory_format=m) for m in layouts), name  # (C = 1 is both)
    assert torch.isfinite(got).all() == torch.isfinite(want).all(), name
    if not want.numel():
        return
    narrow = EPS[got.dtype]
    # Sums over n values in the accumulator's precision, of which single terms may cancel.
    accumulator = EPS[torch.float64 if case.dtype == torch.float64 else torch.float32]
    got, want = got.detach(), want.detach()
    scale = float(want.abs().max().clamp(min=1.0)) * (1 + abs(case.mean))
    count = case.size[0] * case.size[2] * case.size[3]
    vector = want.dim() == 1
    bound = scale * (narrow * 1.01 + accumulator * 40 * (count**0.5 if vector else 1))
    if case.dtype in (torch.float16, torch.bfloat16):
        # y is rounded at ties differently now and then; eager code rounds after every operation.
        ties, each = EPS[case.dtype] * 1e-2, EPS[case.dtype] * (count**0.5 if vector else 4)
        bound += scale * (each if current() == "reference" else ties if vector else 0.0)
    worst = float((got.double() - want).abs().max())
    assert worst <= bound, f"{name}: off by {worst:.3g}, allowed {bound:.3g} ({case})"


def strided_variants(t: Tensor) -> Sequence[Tensor]:
    """The same values behind other strides: sliced, transposed, at an odd offset."""
    n, c, h, w = t.shape
    wide = torch.zeros(n, c + 2, h, w + 3, dtype=t.dtype, device=t.device)
    wide[:, 1 : c + 1, :, 2 : w + 2] = t
    turned = t.transpose(2, 3).contiguous().transpose(2, 3)
    flat = torch.zeros(t.numel() + 1, dtype=t.dtype, device=t.device)
    flat[1:] = t.contiguous().flatten()
    return [wide[:, 1 : c + 1, :, 2 : w + 2], turned, flat[1:].view(t.shape)]


def off_its_alignment(t: Tensor) -> Tensor:
    """The same values one byte behind where they belong, as a field of a NumPy record may lie."""
    memory = np.zeros(t.nbytes + 1, np.uint8)[1:].view(t.numpy().dtype)
    away = torch.from_numpy(memory).view(t.shape)
    assert away.data_ptr() % t.element_size()
    return away.copy_(t)
