"""The choice of the backend that runs the ops: ``cuda``, ``triton``, ``cpu`` or ``reference``.

``auto`` picks a backend by the device of the tensors and by what was built. The context manager
``use_backend`` and the environment variable ``SOFTGATE_BACKEND`` force one backend. A forced
backend that cannot run raises an error that says why. The choice is stored in a module variable:
it holds for the whole process, and ``torch.compile`` guards on it.
"""

import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.autograd import forward_ad

from softgate_ext._version import __version__
from softgate_ext.errors import InputError
from softgate_ext.ops import triton_driver

NAMES = ("auto", "cuda", "triton", "cpu", "reference")

_PACKAGE = Path(__file__).parents[1]
_BUILD_FILE = _PACKAGE / "_build.json"


def _load_extension() -> tuple[Any, str]:
    """The compiled module and an empty text, or None and the reason why there is no such module."""
    if os.environ.get("SOFTGATE_EXTENSION") == "0":
        return None, "SOFTGATE_EXTENSION=0 is set"
    try:
        module = importlib.import_module("softgate_ext._C")
        return (None, wrong) if (wrong := _from_elsewhere(module)) else (module, "")
    except ModuleNotFoundError:
        missing = f"the C++ extension was not built in {_PACKAGE}"
        return None, _build_record().get("reason", missing)
    except ImportError as error:
        built_for = _build_record().get("torch", "another version")
        return None, (
            f"the C++ extension was built for torch {built_for}, this is {torch.__version__}: "
            f"reinstall softgate_ext ({str(error).splitlines()[0]})"
        )


def _from_elsewhere(extension: Any) -> str:
    """A reason to refuse an extension that another copy of the package was built with; else empty.

    An editable installation finds the extension of its own folder for any copy that Python imports.
    """
    file = getattr(extension, "__file__", None)
    if file is None or os.path.realpath(os.path.dirname(file)) == os.path.realpath(_PACKAGE):
        return ""
    return (
        f"softgate_ext was imported from {_PACKAGE}, but its C++ extension from {os.path.dirname(file)}: install or build "
        "the package that is imported, or start Python in another folder"
    )


def _build_record() -> dict[str, Any]:
    try:
        return json.loads(_BUILD_FILE.read_text())
    except (OSError, ValueError):
        return {}


_extension, _reason = _load_extension()
_has_cuda_kernels = bool(_extension is not None and _extension.build_info()["cuda"])
_has_triton = importlib.util.find_spec("triton") is not None
_interpreting = _has_triton and os.environ.get("TRITON_INTERPRET") == "1"
# Why Triton cannot launch a kernel although it is installed. The interpreter needs no driver.
_no_driver = None if _interpreting or not _has_triton else triton_driver.obstacle()
_triton_runs = _has_triton and _no_driver is None

# The device types that each backend runs on.
_DEVICES = {
    "cpu": ("cpu",),
    "cuda": ("cuda",),
    "triton": ("cuda", "xpu", "cpu") if _interpreting else ("cuda", "xpu"),
}
# What "auto" picks for a device type; types that are missing here get the reference.
_AUTO = {
    "cpu": "cpu" if _extension is not None else "reference",
    "cuda": "cuda" if _has_cuda_kernels else "triton" if _triton_runs else "reference",
    "xpu": "triton" if _triton_runs else "reference",
}


def serve(ops: Iterable[str]) -> None:
    """Registers the compiled kernels of the named ops, if the extension was built."""
    if _extension is not None:
        for op in ops:
            _extension.serve(op)


def extension() -> Any:
    """The compiled module, or None if it was not built or cannot be loaded."""
    return _extension


def unavailable(name: str) -> str | None:
    """The reason why a backend cannot run in this process, or None if it can.

    Raises:
        InputError: the name is unknown.
    """
    if name in ("auto", "reference"):
        return None
    if name == "cpu":
        return None if _extension is not None else _reason
    if name == "cuda":
        if _extension is None:
            return _reason
        if not _has_cuda_kernels:
            return "the extension was built without CUDA sources"
        return None if torch.cuda.is_available() else "torch sees no CUDA device"
    if name == "triton":
        if not _has_triton:
            return "Triton is not installed"
        if _interpreting or torch.cuda.is_available() or torch.xpu.is_available():
            return _no_driver
        return "torch sees no GPU (TRITON_INTERPRET=1 runs the Triton kernels on the CPU, slowly)"
    raise InputError(f"backend must be one of {', '.join(NAMES)}, got '{name}'")


def _checked(name: str, source: str) -> str:
    reason = unavailable(name)
    if reason is not None:
        raise InputError(f"{source} asks for backend '{name}', which cannot serve here: {reason}")
    return name


_forced = "auto"
_refused, _refusal = "", ""


def current() -> str:
    """The name of the forced backend, or ``auto``."""
    return _forced


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Forces one backend inside a ``with`` block, for the whole process.

    Args:
        name: "auto", "cuda", "triton", "cpu" or "reference".

    Raises:
        InputError: the name is unknown, or that backend cannot run in this process.
    """
    global _forced
    before = _forced
    _forced = _checked(name, "use_backend")
    try:
        yield
    finally:
        _forced = before


def serving(device_type: str) -> str:
    """The backend that runs the ops on tensors of this device type.

    Raises:
        InputError: a backend is forced that does not support this device type.
    """
    if _forced == "auto":
        return _AUTO.get(device_type, "reference")
    if _forced == _refused:
        raise InputError(_refusal)
    if _forced != "reference" and device_type not in _DEVICES[_forced]:
        raise InputError(
            f"backend '{_forced}' is forced and serves {' or '.join(_DEVICES[_forced])} tensors, "
            f"got one on {device_type}"
        )
    return _forced


def is_transformed() -> bool:
    """Whether forward-mode AD or a transform of ``torch.func`` runs; the kernels support neither."""
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


def interpreting() -> bool:
    """Whether Triton's interpreter runs the Triton kernels on the CPU."""
    return _interpreting


def falls_to_triton() -> bool:
    """Whether the Triton kernels replace the CUDA kernels, because those were not built."""
    return _triton_runs and not _has_cuda_kernels


def info() -> dict[str, Any]:
    """What was built, against which versions, and which backend ``auto`` picks.

    Returns:
        The versions of this package, Python, torch, CUDA and Triton; the record of the build; for each backend
        "available" or the reason why it is not; what ``auto`` picks for each device type that is
        present; the forced backend, and why it is refused if it is; the number of threads of torch.
    """
    build: dict[str, Any] = dict(_extension.build_info()) if _extension is not None else {}
    backends = {n: unavailable(n) or "available" for n in NAMES if n != "auto"}
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "xpu": torch.xpu.is_available()}
    auto = {device: _AUTO[device] for device, found in there.items() if found}
    return {
        "softgate_ext": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_cuda": torch.version.cuda,
        "triton": importlib.metadata.version("triton") if _has_triton else None,
        "build": {**_build_record(), **build},
        "backends": backends,
        "auto": auto,
        "forced": _forced,
        "refused": _refusal if _forced == _refused else None,
        "threads": torch.get_num_threads(),
    }


def is_available(name: str) -> bool:
    """Whether the backend can run in this process."""
    return unavailable(name) is None


_forced = os.environ.get("SOFTGATE_BACKEND") or "auto"
try:
    _checked(_forced, "SOFTGATE_BACKEND")
except InputError as error:  # raised by the first op, so that `softgate info` can still report
    _refused, _refusal = _forced, str(error)
