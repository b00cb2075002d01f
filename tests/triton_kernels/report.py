"""Compiles the kernels for GPUs that are not here, and prints one JSON line per kernel and target.

    python tests/triton_kernels/report.py --targets sm_90,gfx942 --dtypes bfloat16 --channels 256
    python tests/triton_kernels/report.py --network      # how many specialisations a network needs

It runs in a process of its own without TRITON_INTERPRET, which Triton reads when it is imported.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import torch
from compiler import TARGETS, Launch, compile_for, launches_of
from softgate_ext.triton_kernels import launch as launching
from torch import Tensor

import softgate_ext
from softgate_ext import triton_kernels
from softgate_ext.ops import backend

SIZE = (8, 64, 64)
EPS = 1e-5


def calls(
    dtype: torch.dtype, layout: torch.memory_format, c: int
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Each op with all that it can take: three branches, alpha per channel, affine norm, ReLU."""
    n, h, w = SIZE
    ops = SimpleNamespace(**triton_kernels.LAUNCHERS)
    split = [c // 2, c // 4, c - c // 2 - c // 4]

    def activation(channels: int, halves: int = 0) -> Tensor:
        t = torch.empty(n, channels, h >> halves, w >> halves, dtype=dtype)
        return t.contiguous(memory_format=layout)

    x, parts, low = activation(c), [activation(k) for k in split], activation(c, 1)
    both, alpha = activation(2 * c), torch.empty(c)

    def norm(channels: int) -> list[Tensor]:
        return [torch.empty(channels) for _ in range(4)]

    every = [True] * 6
    for training in (True, False):
        mode = "train" if training else "eval"
        rest = (training, EPS, True)
        one, two = (*norm(c), *rest), (*norm(2 * c), *rest)
        yield f"bn_relu {mode}", lambda a=one: ops.bn_relu(x, *a)
        yield f"bn_relu_backward {mode}", lambda a=one: ops.bn_relu_backward(x, x, *a, every[:3])
        yield (
            f"gated_residual_bn_relu {mode}",
            lambda a=one: ops.gated_residual_bn_relu(x, parts, alpha, *a),
        )
        yield (
            f"gated_residual_bn_relu_backward {mode}",
            lambda a=one: ops.gated_residual_bn_relu_backward(
                x, x, x, x, alpha, *a, split, every[:5]
            ),
        )
        yield (
            f"skip_merge_bn_relu concat {mode}",
            lambda a=two: ops.skip_merge_bn_relu(x, parts, low, alpha, *a, "concat"),
        )
        yield (
            f"skip_merge_bn_relu add {mode}",
            lambda a=one: ops.skip_merge_bn_relu(x, [], low, alpha, *a, "add"),
        )
        yield (
            f"skip_merge_bn_relu_backward concat {mode}",
            lambda a=two: ops.skip_merge_bn_relu_backward(
                both, both, both, x, alpha, *a, c, "concat", split, every
            ),
        )
        yield (
            f"skip_merge_bn_relu_backward add {mode}",
            lambda a=one: ops.skip_merge_bn_relu_backward(
                x, x, x, x, alpha, *a, c, "add", [], [True, False, True, True, True, True]
            ),
        )
    yield "gated_residual", lambda: ops.gated_residual(x, parts, alpha)
    yield (
        "gated_residual_backward",
        lambda: ops.gated_residual_backward(x, x, alpha, split, every[:3]),
    )
    yield "skip_merge concat", lambda: ops.skip_merge(x, [], low, alpha, "concat")
    yield (
        "skip_merge_backward concat",
        lambda: ops.skip_merge_backward(both, x, alpha, c, "concat", [], [True, False, True, True]),
    )


def vectors_of(launched: Launch) -> int:
    """128-bit accesses in the code for the launch's activations, at least, if all are that wide."""
    names = launched.kernel.arg_names
    named = dict(zip(names, launched.args, strict=True))
    activations = [
        t for name, t in named.items() if isinstance(t, Tensor) and t.dim() == 4 and name != "low"
    ]
    if not activations:
        return 0
    values = named["BLOCK_C"] * named["BLOCK_Q"] * activations[0].dtype.itemsize
    per_tensor = values // (16 * launching.WAVE * launched.options["num_warps"])
    # A loop over children is unrolled by two at least.
    return per_tensor * len(activations) * min(named.get("CHILDREN", 1), 2)


def name_of(launched: Launch) -> str:
    return f"{launched.kernel.module.split('.')[-1]}.{launched.kernel.__name__}"


def promised(launched: Launch) -> int:
    """Programs that a multiprocessor is taken to hold of a kernel that reduces, else 0."""
    named = dict(zip(launched.kernel.arg_names, launched.args, strict=True))
    if named.get("steps") is None:
        return 0
    wide = max(t.dtype.itemsize for t in launched.args if isinstance(t, Tensor) and t.dim() == 4)
    return launching.HELD[wide == 4, named["LAST"], named.get("CHILDREN", 1) > 1]


def report(targets: list[str], dtypes: list[str], channels: list[int]) -> None:
    seen = set()
    for target in targets:
        launching.WAVE = TARGETS[target].warp_size
        launching._cached_plan.cache_clear()
        for dtype in dtypes:
            for layout in (torch.contiguous_format, torch.channels_last):
                for c in channels:
                    for op, call in calls(getattr(torch, dtype), layout, c):
                        for launched in launches_of(call):
                            key = (target, launched.bind(TARGETS[target])[2])
                            if key in seen:
                                continue
                            seen.add(key)
                            line = {
                                "target": target,
                                "dtype": dtype,
                                "channels_last": layout == torch.channels_last,
                                "channels": c,
                                "op": op,
                                "kernel": name_of(launched),
                                "promised": promised(launched),
                                "vectors": vectors_of(launched),
                                **asdict(compile_for(launched, TARGETS[target])),
                            }
                            print(json.dumps(line), flush=True)


def network() -> None:
    """Training and evaluation of the network at 256x256; shapes of 5 resolutions, all widths."""
    backend._DEVICES["triton"] = ("cpu",)
    backend._forced = "triton"
    from softgate_ext.models import create_model

    keys: set[str] = set()
    launches = 0
    for layout in (torch.contiguous_format, torch.channels_last):
        model = create_model("hybrid_1x144").to(memory_format=layout)
        images = torch.zeros(1, 3, 256, 256).contiguous(memory_format=layout)

        def train(model=model, images=images) -> None:
            out = model.train()(images)
            sum(o.sum() for o in (out if isinstance(out, (list, tuple)) else [out])).backward()

        def evaluate(model=model, images=images) -> None:
            with torch.no_grad():
                model.eval()(images)

        for call in (train, evaluate):
            recorded = launches_of(call)
            launches += len(recorded)
            keys |= {r.bind(TARGETS["sm_90"])[2] for r in recorded}
    print(json.dumps({"launches": launches, "specialisations": len(keys)}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=softgate_ext.__doc__)
    parser.add_argument("--targets", default="sm_90")
    parser.add_argument("--dtypes", default="bfloat16")
    parser.add_argument("--channels", default="256")
    parser.add_argument("--network", action="store_true")
    args = parser.parse_args()
    if args.network:
        network()
    else:
        report(
            args.targets.split(","),
            args.dtypes.split(","),
            [int(c) for c in args.channels.split(",")],
        )
