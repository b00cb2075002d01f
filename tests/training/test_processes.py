"""A group of one process, and what is refused before several processes form a group."""

import pytest
import torch

from softgate_ext.errors import Elsewhere, InputError
from softgate_ext.training import processes as distributed
from softgate_ext.training.processes import Group, joined

ALONE = Group(torch.device("cpu"))


def test_alone_everything_is_its_own() -> None:
    assert ALONE.leads
    assert torch.equal(ALONE.total(torch.tensor([1.0, 2.0])), torch.tensor([1.0, 2.0]))
    assert ALONE.gather("own") == ["own"] and ALONE.from_first(lambda: 3) == 3
    with pytest.raises(InputError, match="faulty"), ALONE.together():
        raise InputError("faulty")


@pytest.mark.parametrize(("rank", "kind"), [(0, InputError), (1, Elsewhere)])
def test_a_fault_that_all_see_is_said_by_the_first(rank: int, kind: type[InputError]) -> None:
    error = Group(torch.device("cpu"), rank, 2).refuse("faulty")
    assert type(error) is kind and str(error) == ("faulty" if rank == 0 else "")


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("cuda:0", "device: got 'cuda:0' for several processes"),
        ("cuda", "device: PyTorch sees 1 CUDA device, too few for 2 processes"),
        ("tpu", "device: got 'tpu'"),
    ],
)
def test_devices_that_several_processes_cannot_have(
    monkeypatch: pytest.MonkeyPatch, device: str, words: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in (("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    for rank, kind in (("0", InputError), ("1", Elsewhere)):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(kind, match=words if rank == "0" else "^$") as caught, joined(device):
            raise AssertionError("joined")
        assert type(caught.value) is kind


def test_only_a_lost_connection_is_another_process_s_fault() -> None:
    lost = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed")
    assert distributed._is_lost_connection(lost)
    assert not distributed._is_lost_connection(RuntimeError("out of memory"))
