"""What a forward does that no graph records: contexts, random numbers, attributes that it sets."""

import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

ASKS = "asks for the class of a value or has an autograd.Function of its own"
AUTOCAST = "changes autocast on its way"
GRADIENTS = "changes gradient mode or checkpoints on its way"
RANDOM = "draws random numbers of its own"
STORES = "sets attributes of modules"

_CONTAINERS = (list, dict, set, deque)


class Effects:
    """Watches a trace, between the calls of modules, and says whose forward did what.

    Args:
        root: the module that is traced.

    Attributes:
        found: paths of modules, "" for the root, and what their forward does: one of the words
            below, which end a sentence that begins with "it".
    """

    def __init__(self, root: nn.Module):
        self.root = root
        self.found: dict[str, str] = {}
        self._frames = [("", _context())]
        self._drawn = _random_state()

    @property
    def path(self) -> str:
        """Of the module whose forward runs."""
        return self._frames[-1][0]

    def enter(self, path: str) -> None:
        """A module's forward begins."""
        self.look()
        self._look_for_draws()
        self._frames.append((path, _context()))

    def leave(self) -> None:
        """The forward that began last ends."""
        self._look_for_draws()
        self._frames.pop()

    def look(self) -> None:
        """A step is recorded: does it run in the context in which its forward began?"""
        path, before = self._frames[-1]
        now = _context()
        if now != before:
            self.found.setdefault(path, GRADIENTS if now[0] == before[0] else AUTOCAST)

    def asked(self) -> None:
        """The forward that runs asks for the class of a value."""
        self.found.setdefault(self.path, ASKS)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While the root is traced; what a forward stored or drew is taken back."""
        state = self._drawn
        modules = dict(self.root.named_modules())
        before = {path: _Contents(module) for path, module in modules.items()}
        try:
            yield
        finally:
            self._look_for_draws()
            if self._drawn != state:
                _set_random_state(state)
            for path, contents in before.items():
                if contents.restore():
                    self.found.setdefault(path, STORES)

    def _look_for_draws(self) -> None:
        drawn = _random_state()
        if drawn != self._drawn:
            self._drawn = drawn
            self.found.setdefault(self.path, RANDOM)


def _context() -> tuple[Any, ...]:
    """What decides how PyTorch runs an operation, beside its arguments."""
    nesting = torch.autocast_increment_nesting() - 1  # type: ignore[no-untyped-call]
    torch.autocast_decrement_nesting()  # type: ignore[no-untyped-call]
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
    return nesting, torch.is_grad_enabled(), torch.is_inference_mode_enabled(), hooks


def _random_state() -> tuple[Any, ...]:
    """The states of all global generators, to compare and to set."""
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    states = [state.numpy().tobytes() for state in (torch.get_rng_state(), *on_gpus)]
    numbers: Any = np.random.get_state()
    kind, keys, *rest = numbers
    return random.getstate(), (kind, keys.tobytes(), *rest), states


def _set_random_state(state: tuple[Any, ...]) -> None:
    numbers, (kind, keys, *rest), states = state
    random.setstate(numbers)
    np.random.set_state((kind, np.frombuffer(keys, np.uint32), *rest))
    on_cpu, *on_gpus = (torch.frombuffer(bytearray(s), dtype=torch.uint8) for s in states)
    torch.set_rng_state(on_cpu)
    if on_gpus:
        torch.cuda.set_rng_state_all(on_gpus)


class _Contents:
    """A module's attributes, and what its lists and dictionaries hold."""

    def __init__(self, module: nn.Module):
        self.module = module
        self.attributes = dict(vars(module))
        self.held = [(v, v.copy()) for v in self.attributes.values() if type(v) in _CONTAINERS]

    def restore(self) -> bool:
        """Brings all back to what it was; whether anything was not."""
        now = vars(self.module)
        changed = not _same(_without_constants(now), _without_constants(self.attributes))
        if changed:
            constants = {k: v for k, v in now.items() if k not in _without_constants(now)}
            now.clear()
            now.update(self.attributes | constants)
        for container, before in self.held:
            if not _same(container, before):
                changed = True
                _refill(container, before)
        return changed


def _without_constants(attributes: dict[str, Any]) -> dict[str, Any]:
    """Without the tensors that torch.fx makes attributes of the root."""
    return {k: v for k, v in attributes.items() if not k.startswith("_tensor_constant")}


def _same(a: Any, b: Any) -> bool:
    """Whether two containers hold the same objects; stand-ins for tensors are never compared."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(a[key] is b[key] for key in a)
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


def _refill(container: Any, before: Any) -> None:
    container.clear()
    if isinstance(container, dict | set):
        container.update(before)
    else:
        container.extend(before)
