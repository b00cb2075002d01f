"""Wrong input ends with one sentence that names the argument, the given value and the allowed ones."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from official import coco, write_coco
from rich.console import Console

from softgate_ext import PosePredictor
from softgate_ext.cli.run import main
from softgate_ext.commands.data_cache import cache
from softgate_ext.commands.data_config import DataCacheConfig
from softgate_ext.commands.gates import show_gates
from softgate_ext.commands.gates_config import GatesConfig
from softgate_ext.data.formats import open_dataset
from softgate_ext.data.lsp import read_lsp
from softgate_ext.errors import InputError
from softgate_ext.evaluation.evaluate import evaluate
from softgate_ext.evaluation.evaluate_config import EvalConfig
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.trainer import train

Make = Callable[..., TrainConfig]


def sentence(call: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def extended(people: Path, tmp_path: Path) -> Path:
    """The drawn people in the layout of LSP-extended, which has no test part."""
    folder = tmp_path / "extended"
    folder.mkdir()
    (folder / "images").symlink_to(people / "images")
    joints = scipy.io.loadmat(people / "joints.mat")["joints"].transpose(1, 0, 2).copy()
    joints[:, 2] = 1
    scipy.io.savemat(folder / "joints.mat", {"joints": joints})
    return folder


def test_a_dataset_that_is_not_there(
    tiny: Make, run: Path, quiet: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    takes = "got absent, which does not exist; takes the folder that a dataset unpacked into"
    absent = Path("absent")
    assert sentence(train, tiny(data=absent), quiet).startswith(f"data: {takes}")
    assert sentence(train, tiny(extra=(absent,)), quiet).startswith(f"extra: {takes}")
    assert sentence(evaluate, EvalConfig(run, absent)).startswith(f"data: {takes}")
    assert sentence(open_dataset, absent).startswith(f"path: {takes}")
    assert main(["data", "check", "absent"]) == 2
    assert capsys.readouterr().err.startswith(f"softgate: path: {takes}")
    words = sentence(read_lsp, absent)
    assert words.startswith("root: ") and "absent does not exist; takes" in words


def test_a_split_that_is_empty(run: Path, people: Path, extended: Path, tmp_path: Path) -> None:
    words = sentence(evaluate, EvalConfig(run, extended))
    assert words.startswith("split 'test' of ") and words.endswith("; takes 'train' or 'all'")
    dolls = write_coco(
        tmp_path / "coco" / "annotations" / "dolls.json",
        coco([{"keypoints": [5, 6, 2, 7, 8, 1, 0, 0, 0]}]),
    )
    words = sentence(open_dataset, dolls, "test")
    assert words.startswith("split 'test' of ") and words.endswith("; takes 'train' or 'all'")
    joints = scipy.io.loadmat(people / "joints.mat")["joints"][..., :1]
    single = tmp_path / "single"
    single.mkdir()
    scipy.io.savemat(single / "joints.mat", {"joints": joints})
    words = sentence(open_dataset, single, "train", False)
    assert (
        "is empty: the dataset has only 1 sample" in words
        and "; takes a part with samples" in words
    )


def test_images_of_another_size(
    tiny: Make,
    run: Path,
    people: Path,
    tmp_path: Path,
    quiet: Console,
    capsys: pytest.CaptureFixture[str],
) -> None:
    takes = "divisible by 16, such as 16, 32 or 64, got image_size"
    for data in (people, Path("absent")):  # before anything is read
        assert sentence(train, tiny(data=data, image_size=60), quiet).endswith(f"{takes} 60")
    changed = Path(shutil.copytree(run, tmp_path / "changed"))
    config = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps({**config, "image_size": 72}))
    assert sentence(PosePredictor.from_pretrained, changed).endswith(f"{takes} 72")
    assert sentence(evaluate, EvalConfig(changed, people)).endswith(f"{takes} 72")
    assert main(["profile", "hybrid_2x48", "--image-size", "100"]) == 2
    assert "divisible by 64, such as 64, 128 or 256, got image_size 100" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "contents", "why"),
    [
        ("text.npz", b"no archive", "it is not an .npz file"),
        ("empty.npz", b"", "it is not an .npz file"),
        ("cut.npz", b"PK\3\4cut", "not a zip file"),
        ("absent.npz", None, "No such file or directory"),
        ("folder.npz", ..., "Is a directory"),
    ],
)
def test_a_reference_that_is_no_archive(tmp_path: Path, name: str, contents: Any, why: str) -> None:
    path = tmp_path / name
    if contents is ...:
        path.mkdir()
    elif contents is not None:
        path.write_bytes(contents)
    words = sentence(evaluate, EvalConfig(reference=path))
    assert words.startswith(f"reference: cannot read {path} (") and why in words
    assert "; takes an .npz file of plain arrays" in words


def test_a_reference_of_a_single_array(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(3))
    words = sentence(evaluate, EvalConfig(reference=tmp_path / "a.npy"))
    assert "(it is not an .npz file); takes an .npz file" in words


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"path_or_name": None}, "path_or_name: got None; takes the folder of a run"),
        ({"path_or_name": 3}, "path_or_name: got 3; takes"),
        ({"path_or_name": b"run"}, "path_or_name: got b'run'; takes"),
        ({"weights": "first"}, "weights: got 'first'; takes last or best"),
        ({"device": None}, "device: got None; takes auto, cpu, cuda or cuda:N"),
        ({"amp": "fp16"}, "amp: got 'fp16'; takes auto, off, bf16"),
    ],
    ids=str,
)
def test_a_predictor_of_something_else(run: Path, change: dict[str, Any], expected: str) -> None:
    arguments = {"path_or_name": run, "device": "cpu", **change}
    assert sentence(PosePredictor.from_pretrained, **arguments).startswith(expected)


def test_boxes_that_are_no_list(run: Path, people: Path) -> None:
    predictor = PosePredictor.from_pretrained(run, device="cpu")
    picture = people / "images" / "im0001.jpg"
    assert sentence(predictor, picture, 5).startswith("boxes: got 5; takes a list")
    assert sentence(predictor, picture, "box").startswith("boxes: got 'box'; takes a list")
    words = sentence(predictor, [picture, picture], 5)
    assert words == "boxes: got 5 for 2 pictures; takes one list of boxes for each"


def test_paths_that_are_none() -> None:
    assert sentence(open_dataset, None).startswith("path: got None; takes the folder")
    assert sentence(read_lsp, None).startswith("root: got None; takes the folder")


def test_weights_that_a_run_does_not_have(run: Path, people: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    (out / "best.safetensors").unlink()
    words = sentence(evaluate, EvalConfig(out, people, weights="best"))
    assert words.startswith("weights: got best, but there are no weights ")
    assert words.endswith("best.safetensors; takes last")


def test_a_cache_is_measured_for_a_time(people: Path, tmp_path: Path, quiet: Console) -> None:
    """Not for ever, as by comparing with a number that is none."""
    config = DataCacheConfig(people, tmp_path / "kept", seconds=float("nan"))
    assert sentence(cache, config, quiet) == "seconds: got nan; takes a number from 0 to 10000000"


def test_the_same_people_twice(tiny: Make, people: Path, tmp_path: Path, quiet: Console) -> None:
    link = tmp_path / "link"
    link.symlink_to(people)
    for extra in ((people,), (link,), (people / "joints.mat",)):
        words = sentence(train, tiny(extra=extra), quiet)
        assert words.startswith(
            f"extra: got {extra[0]}, which data, train_folder, test_folder or extra names already; takes"
        )
    other = Path(shutil.copytree(people, tmp_path / "other"))
    words = sentence(train, tiny(extra=(other, other)), quiet)
    assert words.startswith(
        f"extra: got {other}, which data, train_folder, test_folder or extra names already; takes"
    )
    assert not (tmp_path / "run").exists()


def test_a_run_inside_a_dataset(
    tiny: Make, run: Path, people: Path, tmp_path: Path, quiet: Console
) -> None:
    data, other = (Path(shutil.copytree(people, tmp_path / name)) for name in ("people", "other"))
    before = sorted(tmp_path.rglob("*"))
    for out in (data, data / "run", data / "images" / "a" / "b", data / "x" / ".." / "run"):
        words = sentence(train, tiny(data=data, out=out), quiet)
        assert words.startswith(f"out: got {out}, which lies inside the dataset {data}; takes")
    words = sentence(train, tiny(data=data, extra=(other,), out=other / "run"), quiet)
    assert f"lies inside the dataset {other}" in words
    config = GatesConfig(run, prune=0.1, out=data / "run", data=data, device="cpu")
    assert "which lies inside the dataset" in sentence(show_gates, config, quiet)
    assert sorted(tmp_path.rglob("*")) == before
    train(tiny(data=data, out=tmp_path / "people-run"), quiet)  # beside it, by a similar name


def test_a_run_beside_an_annotation_file(
    tiny: Make, tmp_path: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose folder may be anybody's, such as the one that a project lies in."""
    names = ["left_shoulder", "right_shoulder", "left_hip", "right_hip", "tail"]
    dolls = coco([{"keypoints": [20, 20, 2, 50, 20, 2, 22, 60, 2, 51, 61, 2, 40, 80, 1]}] * 6)
    dolls["categories"][0].update(keypoints=names, skeleton=[[1, 2]])
    path = write_coco(tmp_path / "project" / "dolls.json", dolls)
    shutil.move(tmp_path / "images", tmp_path / "project" / "images")
    monkeypatch.chdir(path.parent)
    train(tiny(data=Path("dolls.json"), out=Path("runs/dolls"), holdout=2), quiet)
    assert os.path.isfile("runs/dolls/model.safetensors")


LONG = "a" * 300  # more than file systems take


@pytest.mark.parametrize(
    "words",
    [
        "train {people} --out {long}",
        "train {people} --out {out} --cache {long} --device cpu",
        "train --out {long} --resume",
        "evaluate {long} {people}",
        "predict {long} {people}/images/im0001.jpg --out {out}",
        "gates {long}",
        "export {long} --out {out}.onnx",
        "demo --out {long}",
        "data check {long}",
        "evaluate {people} --predictions {deep}",
        "predict {run} {people}/images/im0001.jpg --boxes {deep} --out {out}",
        "evaluate {run} {people} --submission {out}.mat",
        "data cache {people} --cache {out} --image-size 99999",
        "gates {run} --png {out} --json {out}",
    ],
)
def test_what_no_file_system_or_memory_takes(
    words: str, run: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 100_000)
    places = {"run": run, "people": people, "long": LONG, "deep": deep, "out": tmp_path / "out"}
    assert main([word.format(**places) for word in words.split()]) == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith("softgate: ") and said.out == ""
    assert os.listdir(tmp_path) == ["deep.json"]


def test_a_name_with_the_end_of_a_line_in_it(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(run), "one\ntwo", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("softgate: images: one two matches no picture")
