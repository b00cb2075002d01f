"""The calls of the launchers to CUDA's runtime, without a GPU."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "csrc" / "cuda"))
import toolkit  # noqa: E402


@pytest.fixture(scope="module")
def pretended(tmp_path_factory):
    """``pretended(cluster, blocks)``: the lines of a process on a device that holds so many."""
    nvcc = toolkit.find_tool("nvcc")
    if nvcc is None:
        pytest.skip("needs nvcc")
    program = str(tmp_path_factory.mktemp("launch") / "launch")
    subprocess.run(
        [nvcc, toolkit.STANDARD, "-arch=sm_90", HERE / "launch.cu", "-o", program], check=True
    )

    def run(*limits: int) -> list[str]:
        done = subprocess.run(
            [program, *map(str, limits)], capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    return run


@pytest.mark.slow
def test_a_device_is_asked_what_it_holds_at_once(pretended):
    for limits in ((8, 2), (4, 3), (1, 1)):
        assert " ".join(map(str, limits)) in pretended(*limits)
    assert "8 2" in pretended(16, 2)


@pytest.mark.slow
def test_the_limit_is_set_once(pretended):
    """All that a kernel may have: by their needs, calls of two threads would undo each other."""
    assert pretended(8, 2)[-6:-2] == [
        "allowed 232448",
        "launched with 102400",
        "launched with 61440",
        "launched with 20480",
    ]


@pytest.mark.slow
def test_a_grid_that_finds_no_room_is_told_from_a_failure(pretended):
    assert pretended(8, 2)[-2:] == [
        "refused 20480",
        "softgate: launching forward_finish failed: no room",
    ]
