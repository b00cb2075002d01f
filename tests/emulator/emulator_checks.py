"""Runs a case forward and backward in the emulator and compares it with float64."""

from pathlib import Path

import torch
from emulator_calls import DTYPES, EmulatorError, Machine, Result
from emulator_ops import EPS, Case, Tensors
from torch import Tensor

# Half an ulp of the stored value is rounding; the rest is float32 arithmetic on the way to it.
TOLERANCE = {
    torch.float32: (1e-5, 2e-5),
    torch.float64: (1e-11, 1e-11),
    torch.float16: (1.5e-3, 1e-3),
    torch.bfloat16: (1.2e-2, 8e-3),
}
CANNOT = "cannot serve"


def close(
    actual: Tensor, expected: Tensor, dtype: torch.dtype, what: str, scale: float = 1
) -> None:
    rtol, atol = TOLERANCE[dtype]
    torch.testing.assert_close(
        actual.double(),
        expected.detach(),
        rtol=rtol,
        atol=atol * scale,
        equal_nan=True,
        msg=lambda text: f"{what}: {text}",
    )


def served(run, *args) -> Result | None:
    """What the call gives, or None where the variant refuses it."""
    try:
        return run(*args)
    except EmulatorError as error:
        if CANNOT in str(error):
            return None
        raise


def check(library: Path, case: Case, machine: Machine, seed: int = 0) -> bool:
    """Runs a case forward and backward; False where the forced variant refuses it."""
    assert case.dtype in DTYPES
    tensors = Tensors(case, library, seed)
    forward = served(tensors.forward, machine)
    if forward is None:
        return False
    y, mean, var = check_forward(tensors, forward)
    dy, dz = tensors.gradients()
    backward = served(tensors.backward, machine, y, mean, var, dy, dz)
    if backward is None:
        return False
    check_gradients(tensors, backward, y, dy, dz)
    return True


def check_forward(tensors: Tensors, result: Result) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """y as stored, and the statistics that normalised it, for the backward."""
    case = tensors.case
    statistics = torch.float64 if case.dtype == torch.float64 else torch.float32
    y = result.values.get("y", tensors.branches[0] if case.op == "plain" else None)
    close(y, tensors.expected_y(), case.dtype, "y")
    if case.norm == "none":
        return y, None, None
    z, mean, var = tensors.expected_z(y)
    # The mean is stored rounded, and z moves with it by |mean| / std times the rounding.
    spread = 1 + case.mean
    close(result.values["z"], z, case.dtype, "z", spread)
    if case.norm == "evaluation":
        return y, tensors.running_mean, tensors.running_var
    close(result.values["mean"], mean, statistics, "mean")
    close(result.values["var"], var, statistics, "var", spread)
    assert bool((result.values["var"] >= 0).all())
    return y, result.values["mean"], result.values["var"]


def check_gradients(
    tensors: Tensors, result: Result, y: Tensor, dy: Tensor | None, dz: Tensor | None
) -> None:
    case = tensors.case
    expected = tensors.expected_gradients(y, dy, dz)
    gain = 1.0  # of batch_norm: what it does to a rounding error
    if dz is not None:
        rstd = (tensors.expected_z(y)[2].detach() + EPS).rsqrt()
        weight = torch.ones(1) if tensors.weight is None else tensors.weight.abs().double()
        gain = float((rstd * weight).max().clamp(min=1) * rstd.max().clamp(min=1))
    for name, value in result.values.items():
        wanted = expected[name]
        if value.ndim == 1:  # a sum in float32 of values of both signs
            dtype = torch.float64 if case.dtype == torch.float64 else torch.float32
            count = case.size[0] * case.size[1] * case.size[2]
            if name == "dalpha" and wanted.shape != value.shape:
                raise AssertionError("dalpha has another number of channels")
            close(value, wanted, dtype, name, gain * (1 + case.mean) * count**0.5)
        else:
            close(value, wanted, case.dtype, name, gain * (4 if name == "dlow" else 1))
