"""What all steps share: the check that there is a CUDA device, and the output of a result."""

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
    """Ends the process with status `NO_DEVICE` and one sentence where there is no device."""
    reason = obstacle()
    if reason is not None:
        print(f"no CUDA device: {reason}")
        raise SystemExit(NO_DEVICE)


def emit(**result: Any) -> None:
    """Prints a result at once, since the step may be stopped before its end."""
    print(json.dumps(result), flush=True)
