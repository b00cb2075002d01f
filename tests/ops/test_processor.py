"""How the speed of bfloat16 on a processor is found, from what PyTorch reports of it."""

import pytest
import torch

from softgate_ext.inference.device import multiplies_bf16
from softgate_ext.ops.processor import bf16_on_cpu


@pytest.mark.parametrize(
    ("capabilities", "said"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, "tiles"),
        ({"amx_bf16": False, "avx512_bf16": True}, "vectors"),
        ({"amx_bf16": False, "avx512_bf16": False}, "emulated"),
        ({"architecture": "aarch64", "sve": True}, "unknown"),
    ],
    ids=str,
)
def test_what_pytorch_says_of_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, object], said: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert bf16_on_cpu() == said
    assert multiplies_bf16(torch.device("cpu")) == (said in ("tiles", "vectors"))


def test_a_pytorch_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert bf16_on_cpu() == "unknown"
