"""Measures models of other libraries before and after `convert`: `python -m benchmarks.conversion`.

It prints one JSON line for each model and memory layout (contiguous and channels_last), in float32.
A line has the median times of a training step (forward and backward) and of inference, measured
in turns, and the time of the first call. docs/compiler.md says what to install.
"""

import contextlib
import copy
import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks import options
from benchmarks.machine import describe_machine
from benchmarks.race import Competitor, Race
from softgate_ext import convert, explain
from softgate_ext.compiler.dynamo import further_backend
from softgate_ext.nn.convolution import Conv


def _build(name: str) -> nn.Module:
    package = "segmentation_models_pytorch" if name == "unet_resnet18" else "timm"
    try:
        library: Any = importlib.import_module(package)
    except Exception as error:  # a torchvision made for another torch raises RuntimeError
        raise SystemExit(f"{name} needs {package}, see docs/compiler.md: {error}") from None
    if name == "unet_resnet18":
        return library.Unet("resnet18", encoder_weights=None, classes=2)
    return library.create_model(name)


def _step(model: nn.Module) -> Callable[[Any], None]:
    def run(x: torch.Tensor) -> None:
        model(x).square().mean().backward()
        model.zero_grad(set_to_none=True)

    return run


def main(
    models: tuple[str, ...] = ("resnetv2_18", "densenet121", "unet_resnet18"),
    batch: int = 4,
    size: int = 128,
    rounds: int = 7,
    then: str = "",
    conv: Conv = "direct",
    busy: bool = False,
) -> None:
    """Measures the models and prints the results.

    Args:
        models: names of timm models, or unet_resnet18.
        batch: images in a batch.
        size: side of an image in pixels.
        rounds: how often each competitor is measured.
        then: the torch.compile backend that gets the rewritten graph, such as inductor. Eager
            PyTorch is compared with it. Empty for none.
        conv: as in `convert`.
        busy: count CPU time instead of wall time, for a machine that also does other work.

    Raises:
        InputError: `then` names no other backend, or `conv` is unknown.
    """
    if then:
        further_backend(then)  # raises InputError where there is no such backend
    print(json.dumps(describe_machine()))
    for name in models:
        for layout in (torch.contiguous_format, torch.channels_last):
            original = _build(name).to(memory_format=layout)  # type: ignore[call-overload]
            converted = convert(copy.deepcopy(original), then=then or None, conv=conv)
            x = torch.randn(batch, 3, size, size).contiguous(memory_format=layout)
            with contextlib.redirect_stdout(sys.stderr):
                fused = len(explain(original, x).fused)
                with torch.no_grad():
                    winograd = len(explain(original.eval(), x, conv=conv).winograd)
            line: dict[str, Any] = {"model": name, "layout": str(layout)[6:], "then": then}
            line |= {"shape": list(x.shape), "fused": fused, "winograd": winograd}
            clock = time.process_time if busy else time.perf_counter
            for training in (True, False):
                pair = {"before": original.train(training), "after": converted.train(training)}
                racers = [
                    Competitor(k, _step(m) if training else m, lambda _, x=x: x, grad=training)
                    for k, m in pair.items()
                ]
                started = clock()
                with torch.set_grad_enabled(training):
                    racers[1].run(x)
                first = round(clock() - started, 1)
                race = Race(racers, "cpu", clock=clock)
                race.warm_up(2)
                for _ in range(rounds):
                    race.round()
                ms = {k: round(v["median"] * 1e3, 1) for k, v in race.summary().items()}
                line["training" if training else "inference"] = {
                    **ms,
                    "faster": round(ms["before"] / ms["after"], 2),
                    "first_call_s": first,
                }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    options.run(main)
