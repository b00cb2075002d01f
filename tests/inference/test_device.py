"""The message for a precision that the device does not support."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console

from softgate_ext.cli.run import main
from softgate_ext.inference.device import slow_bf16
from softgate_ext.runs.options import Amp
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.trainer import train

SENTENCE = (
    "amp: bf16 is emulated on this cpu and slow, since it does not multiply bfloat16 natively; auto "
    "takes float32 here"
)


@pytest.fixture(params=[False, True], ids=["emulated", "native"])
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    found = {"avx512_bf16": request.param}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    return request.param


@pytest.mark.parametrize("amp", ["auto", "off", "bf16"])
def test_only_what_is_emulated_by_wish_is_slow(amp: Amp, native: bool) -> None:
    slow = slow_bf16(torch.device("cpu"), amp)
    assert slow == (SENTENCE if amp == "bf16" and not native else None)


def test_evaluation_and_prediction_say_so_first(
    run: Path, people: Path, tmp_path: Path, native: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = people / "images" / "im0001.jpg"
    for words in (
        ["evaluate", run, people, "--workers", "0", "--json"],
        ["predict", run, picture, "--out", tmp_path / "found"],
    ):
        assert main([*map(str, words), "--amp", "bf16", "--device", "cpu"]) == 0
        said = capsys.readouterr()
        assert (
            said.err.count(f"softgate: {SENTENCE}\n") == (not native) and SENTENCE not in said.out
        )


def test_a_training_says_so_first(
    tiny: Callable[..., TrainConfig], native: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny(epochs=1, amp="bf16"), Console(width=200))
    said = capsys.readouterr().out
    assert said.count(SENTENCE) == (not native)
    assert native or said.index(SENTENCE) < said.index("constant mean pose")
