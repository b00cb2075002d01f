"""Computes one op in the emulator and in torch's float64."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from emulator_calls import DTYPES, Call, Machine, Result, shifted
from emulator_structs import Backward, Forward, Norm, Running
from torch import Tensor

from softgate_ext.ops import reference

EPS = 1e-5
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class Case:
    """A call: an op of design.md, its options and its sizes.

    Attributes:
        op: "residual" (skip and branches), "plain" (one tensor), "add" or "concat" (low joins).
        widths: Channels of the branches; of "plain", of the one tensor.
        size: N, H, W.
        alpha: "channel", "shared" or "none".
        norm: "training", "evaluation" or "none".
        shift: Values by which every activation is off its alignment.
        mean: Added to the inputs, to part the mean from the deviation.
        overflowed: A few values of every input are NaN or infinite.
    """

    op: str
    widths: tuple[int, ...]
    size: tuple[int, int, int]
    low: int = 0
    dtype: torch.dtype = torch.float32
    layout: str = "contiguous"
    alpha: str = "channel"
    norm: str = "training"
    affine: bool = True
    relu: bool = True
    shift: int = 0
    mean: float = 0.0
    overflowed: bool = False
    skip_channels: int | None = None

    @property
    def skipped(self) -> int:
        """Channels of skip."""
        if self.op == "plain":
            return 0
        return sum(self.widths) if self.skip_channels is None else self.skip_channels

    @property
    def channels(self) -> int:
        """Channels of y."""
        if self.op == "plain":
            return self.widths[0]
        return self.skipped + (self.low if self.op == "concat" else 0)


class Tensors:
    """Random inputs of a case, its emulated forward and backward, and the same in float64."""

    def __init__(self, case: Case, library: Path, seed: int = 0):
        self.case, self.library = case, library
        g = torch.Generator().manual_seed(seed)
        n, h, w = case.size
        self._random = lambda *size: torch.randn(*size, generator=g, dtype=torch.float64)
        make = self._activation
        self.skip = make(n, case.skipped, h, w) if case.skipped else None
        self.branches = [make(n, width, h, w) for width in case.widths]
        merges = case.op in ("add", "concat")
        self.low_channels = (case.low if case.op == "concat" else case.skipped) if merges else 0
        self.low = make(n, self.low_channels, h // 2, w // 2) if merges else None
        inputs = [t for t in (self.skip, *self.branches, self.low) if t is not None]
        for t in inputs if case.overflowed else ():
            t[0, :, 0, 0], t[0, :, -1, 0], t[0, :, -1, -1] = (
                float("nan"),
                float("inf"),
                -float("inf"),
            )
        vector = lambda count: self._random(count).float()  # noqa: E731
        counts = {"channel": case.skipped, "shared": 1}
        self.alpha = vector(counts[case.alpha]) if case.alpha in counts and case.skipped else None
        self.weight = vector(case.channels) if case.affine else None
        self.bias = vector(case.channels) if case.affine else None
        self.running_mean = vector(case.channels)
        self.running_var = vector(case.channels).square() + 0.1

    def _activation(self, *size: int, mean: float | None = None) -> Tensor:
        t = (self._random(*size) + (self.case.mean if mean is None else mean)).to(self.case.dtype)
        return shifted(t.contiguous(memory_format=LAYOUTS[self.case.layout]), self.case.shift)

    def _norm(self, call: Call) -> Norm:
        weight, bias = call.vector("weight", self.weight), call.vector("bias", self.bias)
        return Norm(weight, bias, EPS, self.case.relu, self.case.norm == "training")

    def _call(self) -> Call:
        like = self.skip if self.skip is not None else self.branches[0]
        return Call(self.library, like, self.case.channels, LAYOUTS[self.case.layout])

    def forward(self, machine: Machine) -> Result:
        case, call = self.case, self._call()
        source = call.source(
            skip=self.skip,
            skip_channels=case.skipped,
            alpha=self.alpha,
            branches=self.branches,
            widths=case.widths,
            low=self.low,
            low_channels=self.low_channels,
            concat=case.op == "concat",
        )
        args = Forward(DTYPES[case.dtype], call.dims, source)
        if case.op != "plain":
            args.y = call.activation("y", case.channels, shift=case.shift)
        if case.norm != "none":
            args.norm = self._norm(call)
            args.z = call.activation("z", case.channels, shift=case.shift)
            if case.norm == "training":
                args.mean = call.sums("mean", case.channels)
                args.var = call.sums("var", case.channels)
            else:
                args.mean = call.vector("mean", self.running_mean)
                args.var = call.vector("var", self.running_var)
        return call.run("forward", args, machine)

    def gradients(self) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of y (of "plain", none) and of z (of norm "none", none)."""
        n, h, w = self.case.size
        make = lambda: self._activation(n, self.case.channels, h, w, mean=0)  # noqa: E731
        dy = make() if self.case.op != "plain" else None
        return dy, make() if self.case.norm != "none" else None

    def backward(
        self,
        machine: Machine,
        y: Tensor,
        mean: Tensor | None,
        var: Tensor | None,
        dy: Tensor | None,
        dz: Tensor | None,
        wanted: Callable[[str], bool] = lambda name: True,
    ) -> Result:
        case, call = self.case, self._call()
        alpha_wanted = self.alpha is not None and wanted("dalpha")
        source = call.source(
            skip=self.skip if alpha_wanted else None,
            skip_channels=case.skipped,
            alpha=self.alpha,
            widths=case.widths,
            low_channels=self.low_channels,
            concat=case.op == "concat",
        )
        args = Backward(DTYPES[case.dtype], call.dims, source)
        args.dy, args.dz = call.input("dy", dy), call.input("dz", dz)
        if dz is not None:
            args.norm, args.y = self._norm(call), call.input("y", y)
            args.mean, args.var = call.vector("mean", mean), call.vector("var", var)
            if self.weight is not None and wanted("dweight"):
                args.dweight = call.sums("dweight", case.channels)
                args.dbias = call.sums("dbias", case.channels)
        if case.skipped and wanted("dskip"):
            args.dskip = call.activation("dskip", case.skipped, shift=case.shift)
        for i, width in enumerate(case.widths):
            if wanted(f"dbranch{i}"):
                args.dbranch[i] = call.activation(f"dbranch{i}", width, shift=case.shift)
        if self.low is not None and wanted("dlow"):
            args.dlow = call.activation("dlow", self.low_channels, shrink=2, shift=case.shift)
        if alpha_wanted:
            args.dalpha = call.sums("dalpha", case.skipped)
        return call.run("backward", args, machine)

    # float64

    def expected_y(self) -> Tensor:
        wide = [b.double() for b in self.branches]
        if self.case.op == "plain":
            return wide[0]
        skip, alpha = self.skip.double(), None if self.alpha is None else self.alpha.double()
        if self.low is None:
            return reference.gated_residual(skip, wide, alpha)
        return reference.skip_merge(
            skip, self.low.double(), alpha, mode=self.case.op, branches=wide
        )

    def expected_z(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z, mean and var from y as it was stored."""
        y = y.double()
        if self.case.norm == "training":
            var, mean = torch.var_mean(y, (0, 2, 3), correction=0)
        else:
            mean, var = self.running_mean.double(), self.running_var.double()
        return self._expected_norm(y, mean, var), mean, var

    def _expected_norm(self, y: Tensor, mean: Tensor | None, var: Tensor | None) -> Tensor:
        training = self.case.norm == "training"
        weight = None if self.weight is None else self.weight.double()
        bias = None if self.bias is None else self.bias.double()
        stats = (None, None) if training else (mean, var)
        z = F.batch_norm(y, *stats, weight, bias, training, 0.1, EPS)
        return F.relu(z) if self.case.relu else z

    def expected_gradients(
        self, y: Tensor, dy: Tensor | None, dz: Tensor | None
    ) -> dict[str, Tensor]:
        """By autograd in float64, from y as it was stored."""
        leaf = y.double().requires_grad_()
        d = torch.zeros_like(leaf) if dy is None else dy.double()
        found: dict[str, Tensor] = {}
        if dz is not None:
            affine = [
                p.double().requires_grad_() for p in (self.weight, self.bias) if p is not None
            ]
            wide = replace_affine(self, affine)
            z = wide._expected_norm(leaf, self.running_mean.double(), self.running_var.double())
            grads = torch.autograd.grad(z, [leaf, *affine], dz.double())
            d = d + grads[0]
            found.update(zip(("dweight", "dbias"), grads[1:], strict=False))
        c = self.case.skipped
        left = d[:, :c] if c else d
        if c:
            alpha = torch.ones(1) if self.alpha is None else self.alpha
            found["dskip"] = left * alpha.double().view(1, -1, 1, 1)
            if self.alpha is not None:
                found["dalpha"] = (left * self.skip.double()).sum((0, 2, 3))
        start = 0
        for i, width in enumerate(self.case.widths):
            found[f"dbranch{i}"] = left[:, start : start + width]
            start += width
        if self.low is not None:
            whole = d[:, c:] if self.case.op == "concat" else d
            n, channels, h, w = whole.shape
            found["dlow"] = whole.reshape(n, channels, h // 2, 2, w // 2, 2).sum((3, 5))
        return found


def replace_affine(tensors: Tensors, affine: list[Tensor]) -> Tensors:
    """The same tensors with weight and bias that autograd follows."""
    twin = object.__new__(Tensors)
    twin.__dict__.update(tensors.__dict__)
    if affine:
        twin.weight, twin.bias = _Wide(affine[0]), _Wide(affine[1])
    return twin


@dataclass
class _Wide:
    """Already float64."""

    value: Tensor

    def double(self) -> Tensor:
        return self.value


def update_running(
    library: Path,
    running: list[Tensor],
    batch: list[Tensor],
    calls: Tensor | None,
    momentum: float | None,
    count: int,
    machine: Machine,
) -> Result:
    """Runs the kernel of the running statistics on a pair of buffers, in place.

    Args:
        running: mean and variance, (channels,) in the buffers' dtype.
        batch: mean and biased variance of the batch, in the accumulator's dtype.
        calls: int64, counted up; nobody counts where None.
        momentum: None for the average over all calls.
        count: values a channel.
    """
    mean, var = (t.contiguous() for t in batch)
    call = Call(library, torch.empty(1, 1, 1, 1), mean.numel(), torch.contiguous_format)
    for name, t, written in (
        ("mean", mean, 1),
        ("var", var, 1),
        ("running_mean", running[0], 2),
        ("running_var", running[1], 2),
        *([("calls", calls, 2)] if calls is not None else []),
    ):
        call._tensors.append((name, t, written))
    args = Running(DTYPES[running[0].dtype], mean.dtype == torch.float64, mean.numel())
    args.mean, args.var = mean.data_ptr(), var.data_ptr()
    args.running_mean, args.running_var = (t.data_ptr() for t in running)
    args.calls = None if calls is None else calls.data_ptr()
    args.momentum, args.cumulative = momentum or 0.0, momentum is None
    args.unbiased = count / (count - 1)
    return call.run("running", args, machine)
