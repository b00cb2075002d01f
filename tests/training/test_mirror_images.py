"""Mirrored images of joints whose names are spelled in another way, or whose sides are unknown."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from official import coco, write_coco
from rich.console import Console

from softgate_ext.cli.run import main
from softgate_ext.data.augment import Augmentation
from softgate_ext.data.coco import read_coco
from softgate_ext.data.dataset import PoseDataset
from softgate_ext.data.lsp import read_lsp
from softgate_ext.errors import InputError
from softgate_ext.evaluation.evaluate import evaluate
from softgate_ext.evaluation.evaluate_config import EvalConfig
from softgate_ext.files.reading import read_json
from softgate_ext.pose.skeleton import LSP, Skeleton, get_skeleton, name_skeleton
from softgate_ext.prediction.predictor import PosePredictor
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.trainer import train

Make = Callable[..., TrainConfig]
SPELLED = ("Left Shoulder", "Right Shoulder", "hip_L", "hip.R")
REFUSED = r"^flip: got .*l paw.* of .* without a counterpart on the other side; turn .*--flip 0.*--flip-test.*--swap"


def dolls(folder: Path, *more: str, joints: Sequence[str] = SPELLED) -> Path:
    names = [*joints, *more]
    places = [20, 20, 2, 50, 20, 2, 22, 60, 2, 51, 61, 2, *[40, 80, 1] * len(more)]
    contents = coco([{"keypoints": places}] * 6)
    contents["categories"][0].update(keypoints=names, skeleton=[])
    return write_coco(folder / "annotations" / "dolls.json", contents)


def test_spelling_does_not_change_a_training(tiny: Make, tmp_path: Path, quiet: Console) -> None:
    usual = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
    losses = [
        train(tiny(data=dolls(tmp_path / name, joints=joints), out=tmp_path / f"run{name}",
                   holdout=2, flip=0.5), quiet)[-1]["loss"]
        for name, joints in (("usual", usual), ("other", SPELLED))
    ]  # fmt: skip
    unpaired = train(tiny(data=dolls(tmp_path / "other"), holdout=2, flip=0.0), quiet)[-1]["loss"]
    assert losses[0] == losses[1] != unpaired


def test_what_is_on_one_side_only_is_not_mirrored(
    tiny: Make, tmp_path: Path, quiet: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    path = dolls(tmp_path, "L Paw", "paw2")
    config = tiny(data=path, holdout=2)
    with pytest.raises(InputError, match=REFUSED):
        train(config, quiet)
    assert not config.out.exists()
    assert main(["train", str(path), "--out", str(config.out), "--holdout", "2"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises(InputError, match=REFUSED):
        PoseDataset(read_coco(path), 64, Augmentation())
    assert len(PoseDataset(read_coco(path), 64, Augmentation(flip=0))) == 6

    train(tiny(data=path, holdout=2, flip=0.0), quiet)
    test = EvalConfig(run=config.out, data=path, split="all", device="cpu", workers=0)
    assert evaluate(test).people == 6
    with pytest.raises(InputError, match=REFUSED):
        evaluate(EvalConfig(**{**vars(test), "flip_test": True}))
    with pytest.raises(InputError, match=REFUSED):
        PosePredictor.from_pretrained(config.out, flip_test=True)
    words = ["predict", str(config.out), str(tmp_path / "images"), "--out", str(tmp_path / "p")]
    assert main([*words, "--flip-test", "--device", "cpu"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "l paw" in said[0] and not (tmp_path / "p").exists()


def test_pairs_that_are_told_are_said_and_kept_with_the_run(
    tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny(data=dolls(tmp_path, "L Paw", "paw2"), holdout=2, swap=("l paw", "PAW2"))
    train(config, Console(width=200))
    line = "exchanges right shoulder with left shoulder, hip.r with hip_l, paw2 with l paw"
    assert line in capsys.readouterr().out
    stored = read_json(config.out / "config.json")
    assert get_skeleton(stored["skeleton"]).flip_permutation == (1, 0, 3, 2, 5, 4)
    assert stored["training"]["swap"] == ["l paw", "PAW2"]
    assert evaluate(
        EvalConfig(config.out, config.data, split="all", flip_test=True, device="cpu", workers=0)
    ).people == 6  # fmt: skip
    train(tiny(**{**vars(config), "resume": True, "epochs": 3}), Console(quiet=True))
    with pytest.raises(InputError, match=r"^swap: got paw; takes pairs of names"):
        train(tiny(data=config.data, out=tmp_path / "no", holdout=2, swap=("paw",)))
    assert not (tmp_path / "no").exists()


def test_joints_without_sides_are_mirrored_and_this_is_said(
    tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = dolls(tmp_path, joints=("1", "2", "ear", "leg"))
    train(tiny(data=path, holdout=2, epochs=1), Console(width=200))
    said = capsys.readouterr().out
    assert "no left and right among the joints: a mirror image keeps every name" in said
    told = tiny(data=path, holdout=2, epochs=1, out=tmp_path / "told", swap=("1", "2"))
    train(told, Console(width=200))
    assert "a mirror image exchanges 1 with 2" in capsys.readouterr().out


def renamed(run: Path, to: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a run with its joints called by other names."""
    shutil.copytree(run, to)
    config = json.loads((to / "config.json").read_text())
    change(config)
    (to / "config.json").write_text(json.dumps(config))
    return to


@pytest.mark.parametrize("old", [False, True], ids=["new run", "run of before"])
def test_the_flip_test_finds_the_same_whatever_the_joints_are_called(
    run: Path, people: Path, tmp_path: Path, old: bool
) -> None:
    names = [joint.replace("right_", "R-").replace("left_", "L ") for joint in LSP.joints]
    stored: Any = name_skeleton("own", names).stored
    if old:  # it had no pairs for such names, and did not know that it had not
        del stored["unpaired"]
        stored["flip_pairs"] = []
    other = renamed(run, tmp_path / "run", lambda config: config.update(skeleton=stored))
    picture = read_lsp(people, "test").image_paths[0]
    (one,), (two,) = (
        PosePredictor.from_pretrained(path, device="cpu", flip_test=True)(picture)
        for path in (run, other)
    )
    assert (one.joints == two.joints).all() and (one.scores == two.scores).all()
    figures = [
        evaluate(EvalConfig(path, people, flip_test=True, device="cpu", workers=0))
        .scores["network"].pck.pooled
        for path in (run, other)
    ]  # fmt: skip
    assert figures[0] == figures[1]
    without: Skeleton = Skeleton("own", get_skeleton(stored).joints, (), ())
    wrong = renamed(run, tmp_path / "no", lambda config: config.update(skeleton=without.stored))
    (three,) = PosePredictor.from_pretrained(wrong, device="cpu", flip_test=True)(picture)
    assert (one.scores != three.scores).any()
