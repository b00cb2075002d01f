"""The search for faster tiles than those of the table, which SOFTGATE_AUTOTUNE=1 switches on.

The first call of an op with arguments of a new kind is timed with each candidate, one pass at a time.
The best tiles are stored in a file for later processes, by device, version of Triton and the sources
of the kernels. The tile determines the order of summation. Results are therefore the same from run to
run as long as the file stays, and may differ in the last bit from those with the table's tiles.
"""

import hashlib
import json
import os
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor

from .launch import TILES, Tile, is_tracing, use_tiles
from .replay import NotNoted, kind_of

CANDIDATES = (Tile(1, 4), Tile(2, 4), Tile(4, 4), Tile(1, 8), Tile(2, 8), Tile(1, 2), Tile(2, 2))
_PASSES = ("reduce", "stream")

Tiles = dict[str, Tile]
_lock = threading.Lock()
_known: dict[str, dict[str, Tiles]] = {}  # the contents of each file, by its name


def folder() -> Path:
    """The folder of the files: SOFTGATE_CACHE, else `softgate` in the user's cache folder.

    Raises:
        OSError: there is no such folder, for example because a container's user has no home.
    """
    if given := os.environ.get("SOFTGATE_CACHE"):
        return Path(given)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base, "softgate")
    try:
        return Path.home() / ".cache" / "softgate"
    except RuntimeError as error:
        raise FileNotFoundError("the user has no home folder; SOFTGATE_CACHE names one") from error


def tuned(name: str, launcher: Callable) -> Callable:
    """The launcher, run with the best tiles for each kind of arguments."""

    chosen: dict[tuple, Tiles] = {}

    def call(*args: Any) -> Any:
        if is_tracing():
            return launcher(*args)
        try:
            kind = kind_of(args, [])
        except NotNoted:
            return launcher(*args)
        tiles = chosen.get(kind) or best(name, launcher, args)
        if tiles is None:
            return launcher(*args)
        chosen[kind] = tiles
        with use_tiles(tiles):
            return launcher(*args)

    return call


def best(
    name: str,
    launcher: Callable,
    args: Sequence[Any],
    measure: Callable[[Callable[[], Any], torch.device], float] | None = None,
) -> Tiles | None:
    """The best tiles for each pass, from the file or from a search.

    Args:
        name: the name of the op.
        launcher: the op.
        args: its arguments.
        measure: gives the seconds of a call on a device; None for the usual timing.

    Returns:
        The tiles, or None if the op cannot be timed now, because a CUDA graph is captured.
    """
    device = next(a for a in args if isinstance(a, Tensor)).device
    file = _file(device)
    key = f"{name}({', '.join(map(describe, args))})"
    with _lock:
        if file not in _known:
            _known[file] = _read(file)
        found = _known[file].get(key)
        if found is not None:
            return found
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            return None
        found = _search(launcher, args, device, measure or _measure)
        _known[file][key] = found
        _known[file] = {**_read(file), **_known[file]}
        try:
            _write(folder() / file, _known[file])
        except OSError as error:
            warnings.warn(f"tiles are not remembered for later runs: {error}", stacklevel=2)
        return found


def describe(arg: Any) -> str:
    """The properties of an argument that affect the speed: everything except the values of tensors."""
    if isinstance(arg, Tensor):
        last = arg.dim() == 4 and not arg.is_contiguous()
        dtype = str(arg.dtype).removeprefix("torch.")
        return f"{dtype}[{','.join(map(str, arg.shape))}]{'L' if last else ''}"
    if isinstance(arg, (list, tuple)):
        return f"[{', '.join(map(describe, arg))}]"
    return repr(arg)


def _search(launcher: Callable, args: Sequence[Any], device: torch.device, measure: Any) -> Tiles:
    tiles = {kind: TILES[kind, "large"] for kind in _PASSES}
    for kind in _PASSES:
        times = {}
        for candidate in CANDIDATES:
            with use_tiles({**tiles, kind: candidate}):
                times[candidate] = measure(lambda: launcher(*args), device)
        tiles[kind] = min(times, key=lambda tile: times[tile])
    return tiles


def _measure(call: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cpu":
        call()
        start = time.perf_counter()
        call()
        return time.perf_counter() - start
    module = getattr(torch, device.type)
    with module.device(device):
        return triton.testing.do_bench(call, warmup=5, rep=20, return_mode="median")


@cache
def _file(device: torch.device) -> str:
    kind = "cpu"
    if device.type != "cpu":
        kind = getattr(torch, device.type).get_device_name(device).replace(" ", "-")
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in sources)).hexdigest()[:12]
    return f"triton-{kind}-{triton.__version__}-{digest}.json"


def _read(file: str) -> dict[str, Tiles]:
    try:
        stored = json.loads((folder() / file).read_text())
        known = {k: {kind: Tile(*v) for kind, v in tiles.items()} for k, tiles in stored.items()}
        return {k: tiles for k, tiles in known.items() if _is_whole(tiles)}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # missing or damaged: the tiles are searched again


def _is_whole(tiles: Tiles) -> bool:
    """Whether an entry can be the result of a search. Any other entry is searched again."""
    return set(tiles) == set(_PASSES) and all(tile in CANDIDATES for tile in tiles.values())


def _write(path: Path, known: dict[str, Tiles]) -> None:
    plain = {k: {kind: [t.vectors, t.warps] for kind, t in v.items()} for k, v in known.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        try:
            json.dump(plain, file, indent=1)
            file.flush()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
