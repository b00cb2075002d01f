"""The command line, run as a process as a user runs it."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from softgate_command import SMALL, refused, softgate

from softgate_ext.cli.run import COMMANDS, main, parse
from softgate_ext.data.synthetic import draw_people
from softgate_ext.ops import backend
from softgate_ext.prediction.predict_config import PredictConfig
from softgate_ext.runs.train_config import TrainConfig


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_people(tmp_path_factory.mktemp("drawn") / "people", 12, seed=5, image_size=80)


@pytest.fixture(scope="module")
def run(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained from the command line."""
    out = tmp_path_factory.mktemp("trained") / "run"
    done = softgate("train", people, "--out", out, "--epochs", 1, *SMALL)
    assert done.returncode == 0, done.stderr
    assert "epoch   1" in done.stdout and "PCK@0.2" in done.stdout
    assert "constant mean pose" in done.stdout
    return out


def test_evaluate(
    run: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "figures.json"
    assert main(["evaluate", str(run), str(people), "--workers", "0", "--json", str(figures)]) == 0
    table = capsys.readouterr().out
    for words in ("left ankle", "Head", "weighted mean", "mean pose", "AUC", "PCK@0.2"):
        assert words in table
    written = json.loads(figures.read_text())
    assert 0 <= written["rows"][0]["weighted_mean"] <= 100
    assert main(["evaluate", str(run), str(people), "--workers", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == written


def test_evaluate_predictions_of_others(
    run: Path, people: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    joints = tmp_path / "joints.json"
    words = ["evaluate", str(run), str(people), "--workers", "0"]
    assert main([*words, "--save-predictions", str(joints)]) == 0
    capfd.readouterr()
    assert main(["evaluate", str(people), "--predictions", str(joints), "--json"]) == 0
    said = capfd.readouterr()
    assert said.err == ""
    figures = json.loads(said.out)
    assert figures["origin"] == 0
    assert [row["name"] for row in figures["rows"]] == ["predictions", "mean pose"]


def test_predict(
    run: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, out = people / "images" / "im0001.jpg", tmp_path / "out"
    words = ["predict", run, image, "--box", 2, 3, 40, 50, "--out", out]
    assert main([str(word) for word in words]) == 0
    said = capsys.readouterr()
    assert sorted(os.listdir(out)) == ["im0001.png", "predictions.json"]
    assert all(Path(line).is_file() for line in said.out.splitlines())
    assert "1 picture, 1 person in" in said.err and "pictures/s" in said.err


def test_predict_goes_on_after_a_failure(
    run: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3 says that some of the inputs were used, and some were not."""
    cut = tmp_path / "cut.jpg"
    cut.write_bytes((people / "images" / "im0001.jpg").read_bytes()[:800])
    sources = [people / "images", cut, tmp_path / "misspelt.jpg"]
    words = ["predict", run, *sources, "--out", tmp_path / "out", "--outputs", "csv"]
    assert main([str(word) for word in words]) == 3
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path / 'out' / 'predictions.csv'}\n"
    misspelt, failure, throughput = captured.err.splitlines()
    assert misspelt.startswith("softgate: images: ") and "misspelt.jpg matches no" in misspelt
    assert failure.startswith("softgate: ") and "cut.jpg" in failure
    assert throughput.startswith("12 pictures, 12 people in")


def test_gates(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures, picture, out = (tmp_path / name for name in ("gates.json", "gates.png", "pruned"))
    words = ["gates", run, "--json", figures, "--png", picture, "--prune", 9, "--out", out]
    assert main([str(word) for word in words]) == 0
    text = capsys.readouterr().out
    assert "nearly closed" in text and "all blocks" in text and "ms for 8 images" in text
    assert picture.is_file() and sorted(os.listdir(out)) == ["config.json", "model.safetensors"]
    stored = json.loads(figures.read_text())
    assert stored["pruned"]["closed"] == stored["gates"]
    assert "holds a run already" in refused(capsys, "gates", run, "--prune", 1, "--out", out)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "shapes"),
    [
        ("net.pt2 --format torch --decode dark", [(2, 14, 2), (2, 14)]),
        ("deep/net.onnx", [(2, 14, 16, 16)]),
    ],
)
def test_export(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: str,
    shapes: list[tuple[int, ...]],
) -> None:
    name, *options = words.split()
    out = tmp_path / name
    assert main(["export", str(run), "--out", str(out), *options]) == 0
    assert capsys.readouterr().out.split()[-1] == str(out)
    assert os.listdir(out.parent) == [out.name]
    if out.suffix == ".onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(out)
        results = session.run(None, {"images": np.zeros((2, 3, 64, 64), np.float32)})
    else:
        results = torch.export.load(out).module()(torch.zeros(2, 3, 64, 64))
    assert [tuple(r.shape) for r in results] == shapes


def test_export_refuses_before_the_work(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the network was traced")

    monkeypatch.setattr("softgate_ext.commands.export.export_program", never)
    image, out = tmp_path / "file", tmp_path / "net.onnx"
    image.write_text("")
    wrong = ["export", run, "--out", out, "--format", "torch"]
    assert "out must end in .pt2 for format 'torch', got 'net.onnx'" in refused(capsys, *wrong)
    assert "cannot write to the folder" in refused(
        capsys, "export", run, "--out", image / "net.onnx"
    )
    assert "there is no folder" in refused(capsys, "export", tmp_path / "run", "--out", out)
    assert os.listdir(tmp_path) == ["file"]


def test_an_export_that_fails_leaves_no_folder(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("softgate_ext.commands.export.export_program", too_large)
    out = tmp_path / "a" / "b" / "net.pt2"
    words = ["export", run, "--out", out, "--format", "torch"]
    assert "out of memory" in refused(capsys, *words)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("named", ["--out {}", "--out={}"])
def test_resume_takes_the_stored_options(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], named: str
) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    assert main(["train", *named.format(out).split(), "--resume", "--epochs", "2"]) == 0
    text = capsys.readouterr().out
    assert "epoch   2" in text and "epoch   1 " not in text
    assert json.loads((out / "config.json").read_text())["training"]["batch_size"] == 4


def test_the_same_command_resumes(run: Path, people: Path, tmp_path: Path) -> None:
    out = str(shutil.copytree(run, tmp_path / "run"))
    words = ["train", str(people), "--out", out, "--epochs", "1", *SMALL]
    assert parse([*words, "--resume"]) == replace(parse(words), resume=True)
    twice = [*words[:2], "--out", str(tmp_path / "absent"), *words[2:], "--resume"]
    assert parse(twice) == parse([*words, "--resume"])  # the last word for an option counts
    narrower = [*words, "--resume", "--model-options", "width", "16"]
    assert parse(narrower).model_options == {"width": 16}


def test_synth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synth", str(tmp_path / "people"), "--count", "4", "--seed", "2"]) == 0
    assert len(os.listdir(tmp_path / "people" / "images")) == 4
    assert "4 people" in capsys.readouterr().out


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert "torch" in text and "hybrid_4x144" in text and "reference" in text
    assert main(["info", "--json"]) == 0
    assert "hybrid_2x48" in json.loads(capsys.readouterr().out)["models"]


def test_a_reader_that_leaves_early_sees_no_traceback() -> None:
    command = [sys.executable, "-m", "softgate_ext.cli", "info"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=240)
    os.close(writer)
    assert done.returncode == 1 and done.stderr == ""


@pytest.mark.parametrize("words", [["info"], ["train", "--help"], ["--help"]])
def test_output_that_finds_no_room(words: list[str]) -> None:
    command = [sys.executable, "-m", "softgate_ext.cli", *words]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=240)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("softgate: cannot go on (No space left on device): make room where")


@pytest.mark.parametrize("streams", [">&- 2>&-", ">/dev/null 2>/dev/full"])
@pytest.mark.parametrize(("words", "code"), [("info", 0), ("--help", 0), ("nothing", 2)])
def test_a_process_without_its_streams(streams: str, words: str, code: int) -> None:
    script = f'"$0" -m softgate_ext.cli {words} {streams}'
    assert subprocess.run(["sh", "-c", script, sys.executable], timeout=240).returncode == code


def test_synth_names_its_argument(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert "folder" in refused(capsys, "synth", tmp_path / "file" / "people", "--count", 2)


def test_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "hybrid_1x32", "--image-size", "128"]) == 0
    text = capsys.readouterr().out
    assert "hybrid_1x32" in text and "GMAC" in text
    assert "resnet" in refused(capsys, "profile", "resnet")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    assert "usage: softgate" in capsys.readouterr().out


def test_the_command_line_and_the_dataclasses_agree() -> None:
    words = "train data --out run --model-options gate block alpha_init 1.0 width 16 --clip 2"
    expected = TrainConfig(
        Path("data"),
        Path("run"),
        model_options={"gate": "block", "alpha_init": 1.0, "width": 16},
        clip=2.0,
    )
    assert parse(words.split()) == expected
    words = "predict run a.jpg b.jpg --out out --box 1 2.5 3 4"
    expected_too = PredictConfig(
        Path("run"), ("a.jpg", "b.jpg"), Path("out"), box=(1.0, 2.5, 3.0, 4.0)
    )
    assert parse(words.split()) == expected_too


def test_bad_input_is_one_line_and_exit_code_2(run: Path, people: Path, tmp_path: Path) -> None:
    """By subprocess, where warnings and tracebacks would show."""
    image = tmp_path / "cut.jpg"
    image.write_bytes((people / "images" / "im0001.jpg").read_bytes()[:800])
    done = softgate("predict", run, image, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "cut.jpg" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["cut.jpg"]


def test_bad_input(
    run: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, out = people / "images" / "im0001.jpg", tmp_path / "out"
    absent = tmp_path / "absent"
    assert "hybrid_4x144" in refused(capsys, "train", people, "--out", out, "--model", "resnet")
    assert "holds a run already" in refused(capsys, "train", people, "--out", run, *SMALL)
    assert "holds no run" in refused(capsys, "train", people, "--out", out, "--resume")
    assert "there is no folder" in refused(capsys, "evaluate", absent, people)
    assert "absent" in refused(capsys, "evaluate", run, absent)
    assert "matches no picture" in refused(capsys, "predict", run, absent, "--out", out)
    box = ["--box", 900, 0, 5, 5]
    assert "outside the picture" in refused(capsys, "predict", run, image, "--out", out, *box)
    assert "boxes" in refused(
        capsys, "predict", run, image, "--out", out, "--boxes", run / "config.json"
    )
    assert "cuda" in refused(capsys, "evaluate", run, people, "--device", "cuda:77")
    options = ["--model-options", "width", "1000000000", "--out", out]
    assert "takes a whole number from 1 to" in refused(
        capsys, "train", people, "--model", "hybrid_1x32", *options
    )
    assert "takes a whole number from 12 to 8192" in refused(
        capsys, "train", people, "--out", out, "--image-size", 6400000
    )
    assert "cannot write" in refused(
        capsys, "predict", run, image, "--out", image / "out", "--device", "cpu"
    )
    assert not out.exists()


def test_a_checkpoint_of_another_architecture(
    run: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(run, tmp_path / "run"))
    config = json.loads((other / "config.json").read_text())
    config["model"]["kwargs"]["width"] = 16
    (other / "config.json").write_text(json.dumps(config))
    assert "another architecture" in refused(capsys, "evaluate", other, people)


def test_a_forced_backend_that_cannot_serve(
    people: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`info` tells why; what needs the backend refuses in one sentence."""
    monkeypatch.setattr(backend, "_forced", "gpu")
    assert main(["info"]) == 0 and "forced: gpu" in capsys.readouterr().out
    told = softgate("info", SOFTGATE_BACKEND="gpu")
    assert told.returncode == 0 and "forced: gpu\nrefused: " in told.stdout
    done = softgate("train", people, "--out", tmp_path / "run", *SMALL, SOFTGATE_BACKEND="gpu")
    assert done.returncode == 2 and not (tmp_path / "run").exists()
    (line,) = done.stderr.splitlines()
    assert "backend must be one of" in line and "got 'gpu'" in line
