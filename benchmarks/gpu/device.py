"""What every step begins with: the device, or one sentence that there is none."""

import importlib.util
import json
import sys
from typing import Any

from benchmarks.gpu.runner import NO_DEVICE


def obstacle() -> str | None:
    """Why nothing can be measured here, or None."""
    if importlib.util.find_spec("torch") is None:
        return f"{sys.executable} has no torch"
    import torch

    if torch.version.cuda is None:
        return f"torch {torch.__version__} is a build without CUDA"
    return None if torch.cuda.is_available() else "torch sees no CUDA device"


def require() -> None:
    """Ends the step where there is no device."""
    reason = obstacle()
    if reason is not None:
        print(f"no CUDA device: {reason}")
        raise SystemExit(NO_DEVICE)


def emit(**result: Any) -> None:
    """A result, at once: the step may be stopped before its end."""
    print(json.dumps(result), flush=True)
