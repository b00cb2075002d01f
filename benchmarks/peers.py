"""The competitors of a race: the fused op or module, eager and compiled PyTorch, and a copy."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.race import FUSED, Competitor
from softgate_ext.ops import backend


class Peer(NamedTuple):
    """How a competitor is called.

    Attributes:
        backend: backend of the ops during the call.
        mode: mode of torch.compile, which compiles the eager code. None does not compile.
        variant: variant of the CUDA kernels with batch statistics.
    """

    backend: str
    mode: str | None = None
    variant: str = "automatic"


VARIANTS = ("two_pass", "sliced", "resident")
PEERS = {
    FUSED: Peer("auto"),
    **{name: Peer("auto", variant=name) for name in VARIANTS},
    "triton": Peer("triton"),
    "eager": Peer("reference"),
    "compile": Peer("reference", "default"),
    "compile-max": Peer("reference", "max-autotune-no-cudagraphs"),
}


def available_peers(device: str) -> list[str]:
    """The names of the competitors that can run on this device and differ from each other."""
    if device == "cpu":
        return [FUSED, "eager", "compile"]
    distinct = backend.serving(device) != "triton" and backend.unavailable("triton") is None
    left_out = {
        *(() if distinct else ("triton",)),
        *(() if backend.serving(device) == "cuda" else VARIANTS),
    }
    return [name for name in PEERS if name not in left_out]


def peers(
    names: Sequence[str],
    function: Callable[..., Any],
    phase: str,
    sets: Sequence[Any],
) -> Iterator[Competitor]:
    """Yields competitors that call one function in one phase.

    Args:
        names: keys of PEERS.
        function: the measured function. It takes the arguments of an input set.
        phase: "inference", "forward", "backward" or "both".
        sets: input sets, each with `arguments`, `leaves` and `gradients`.
    """
    torch._dynamo.reset()  # otherwise earlier cases count towards the limit of recompilations
    for name in names:
        peer = PEERS[name]
        call: Callable[..., Any] = function
        facts: dict[str, Any] = {"backend": peer.backend}
        if peer.mode is not None:
            call = torch.compile(function, mode=peer.mode, fullgraph=True, dynamic=False)
            facts = {"compile": peer.mode, "fullgraph": True}
        competitor = _in_phase(name, call, phase, sets, peer, facts)
        if peer.variant == "automatic" or _serves(competitor):
            yield competitor


def _serves(competitor: Competitor) -> bool:
    """Whether a forced variant can compute the call. Each variant serves only some shapes."""
    try:
        with competitor.in_force():
            competitor.run(competitor.prepare(0))
    except (ValueError, RuntimeError) as error:
        if "cannot serve" in str(error):
            return False
        raise
    return True


def _in_phase(
    name: str,
    call: Callable[..., Any],
    phase: str,
    sets: Sequence[Any],
    peer: Peer,
    facts: dict[str, Any],
) -> Competitor:
    def inputs(index: int) -> Any:
        return sets[index]

    def forward(inputs: Any) -> Any:
        return call(*inputs.arguments)

    def forward_unmeasured(index: int) -> Any:
        return sets[index], forward(sets[index])

    def backward(state: Any) -> Any:
        inputs, outputs = state
        return torch.autograd.grad(outputs, inputs.leaves, inputs.gradients)

    def both(inputs: Any) -> Any:
        return torch.autograd.grad(forward(inputs), inputs.leaves, inputs.gradients)

    prepare, run = inputs, both if phase == "both" else forward
    if phase == "backward":
        prepare, run = forward_unmeasured, backward
    return Competitor(name, run, prepare, phase != "inference", facts, peer.backend, peer.variant)


def copy_of(total_bytes: int, device: str, sets: int) -> Competitor:
    """A competitor that copies with PyTorch. It reads half of the bytes and writes the other half."""
    buffers = [
        [torch.full((total_bytes // 8,), float(i), device=device) for i in range(2)]
        for _ in range(sets)
    ]

    def prepare(index: int) -> list[Tensor]:
        return buffers[index]

    def run(pair: list[Tensor]) -> None:
        pair[0].copy_(pair[1])

    return Competitor("copy", run, prepare, grad=False, facts={"bytes": total_bytes // 8 * 8})


def check_agreement(name: str, got: Any, want: Any, tolerance: float) -> None:
    """Checks that two results, or two sequences of results, are close.

    Args:
        name: the competitor, for the message.
        got: a tensor or a sequence of tensors.
        want: likewise.
        tolerance: largest allowed norm of the difference, as a share of the norm of `want`.

    Raises:
        AssertionError: a difference is larger.
    """
    got, want = ([t] if isinstance(t, Tensor) else t for t in (got, want))
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        a, b = a.detach().double(), b.detach().double()
        error = float((a - b).norm() / b.norm().clamp(min=1e-30))
        if not error <= tolerance:
            raise AssertionError(f"{name}: result {i} is off by {error:.2g} of its norm")
