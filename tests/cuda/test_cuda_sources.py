"""Rules for the CUDA sources, so that they compile quickly and run in the emulator."""

import re
from pathlib import Path

import pytest

CUDA = Path(__file__).resolve().parents[2] / "csrc" / "cuda"
KERNELS = sorted(CUDA.glob("*.cuh"))
LAUNCHERS = sorted(CUDA.glob("*.cu"))


def headers(path: Path) -> list[str]:
    return re.findall(r'#include [<"]([^>"]+)', path.read_text())


@pytest.mark.parametrize("path", KERNELS + LAUNCHERS, ids=lambda p: p.name)
def test_no_torch_header_where_nvcc_would_read_it(path):
    """torch/extension.h alone would take nvcc about as long as the kernels themselves."""
    allowed = ("ATen/core/", "c10/cuda/") if path.suffix == ".cu" else ("nothing",)
    torch_headers = [h for h in headers(path) if h.startswith(("torch/", "ATen/", "c10/"))]
    assert [h for h in torch_headers if not h.startswith(allowed)] == []


def test_there_is_something_to_look_at():
    assert len(KERNELS) >= 5 and len(LAUNCHERS) >= 2


PACKS = ("pack.cuh", "device.cuh")


@pytest.mark.parametrize(
    "path", [path for path in KERNELS if path.name not in PACKS], ids=lambda p: p.name
)
def test_global_memory_is_reached_through_packs_alone(path):
    """What does not pass through pack.cuh is neither counted nor checked by the emulator."""
    assert not re.search(
        r"__ld(cs|g|cg)|__st(cs|cg|wt)|reinterpret_cast<u?int[24]", path.read_text()
    )


@pytest.mark.parametrize("path", KERNELS + LAUNCHERS, ids=lambda p: p.name)
def test_no_atomics_on_floats(path):
    """The same input gives the same bits; counters belong to the grid's barrier alone."""
    assert "atomicAdd" not in path.read_text()
