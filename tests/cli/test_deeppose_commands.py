"""The commands with a network that regresses joints, run as a user runs them."""

import json
from pathlib import Path

import pytest
from softgate_command import refused, softgate

from softgate_ext.cli.run import main
from softgate_ext.data.synthetic import draw_people

SMALL = [
    "--model",
    "deeppose_3x48",
    "--model-options",
    "width",
    "8",
    "stages",
    "2",
    "depth",
    "2",
    "--image-size",
    "32",
    "--batch-size",
    "4",
    "--workers",
    "0",
    "--threads",
    "1",
    "--device",
    "cpu",
    "--epochs",
    "1",
    "--no-plots",
]


@pytest.mark.slow
def test_train_evaluate_predict_and_gates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = draw_people(tmp_path / "people", 8, seed=5, image_size=64)
    run = tmp_path / "run"

    def done(*words: object) -> str:
        result = softgate(*words)
        assert result.returncode == 0, result.stderr
        return result.stdout

    assert "epoch   1" in done("train", people, "--out", run, *SMALL)
    figures = json.loads(done("evaluate", run, people, "--workers", 0, "--json"))
    assert figures["model"] == "deeppose_3x48"
    assert [row["name"] for row in figures["rows"]] == ["network", "mean pose"]
    assert 0 <= figures["rows"][0]["PCP"]["weighted_mean"] <= 100
    picture, poses = next((people / "images").iterdir()), tmp_path / "poses"
    words = ["predict", run, picture, "--out", poses, "--device", "cpu"]
    assert main([str(word) for word in words]) == 0
    assert (poses / "predictions.json").is_file()
    assert main(["gates", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "stages.0.stem.block1" in printed and "stages.1.stem.block1" in printed
    line = refused(capsys, "evaluate", run, people, "--decoder", "quarter")
    assert "decoder: got quarter for a network that gives joints" in line
