"""The metric that a training evaluates, on datasets with any joints and without a reference length among them."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from official import coco, write_coco
from rich.console import Console

from softgate_ext.errors import InputError
from softgate_ext.evaluation.evaluate import evaluate
from softgate_ext.evaluation.evaluate_config import EvalConfig
from softgate_ext.evaluation.measure import figures_to_json
from softgate_ext.files.reading import read_json
from softgate_ext.runs.config_json import from_json
from softgate_ext.runs.opening import load_run
from softgate_ext.runs.run_config import RunConfig
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.trainer import Trainer, train

Make = Callable[..., TrainConfig]
HAND = ["wrist", "thumb", "middle_finger", "little_finger"]


@pytest.fixture
def hands(tmp_path: Path) -> Path:
    """Six training hands and four to watch, two in a picture; nobody of the former has a little
    finger labelled."""
    random = np.random.default_rng(0)
    for part, count, flag in (("train", 6, 0), ("val", 4, 2)):
        people = []
        for i in range(count):
            xy = random.integers(20, 70, (4, 2))
            flags = np.array([2, 2, 1, flag])[:, None]
            keypoints = np.hstack([xy, flags]).ravel().tolist()
            people.append({"keypoints": keypoints, "image_id": 10 + i % 2, "area": 1500})
        contents = coco(people)
        contents["categories"][0].update(keypoints=HAND, skeleton=[[1, 2], [1, 3], [1, 4]])
        write_coco(tmp_path / "hands" / "annotations" / f"{part}.json", contents)
    return tmp_path / "hands"


def told() -> Console:
    return Console(file=io.StringIO(), width=200)


def words_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_hands_are_watched_by_their_boxes(tiny: Make, hands: Path, tmp_path: Path) -> None:
    console = told()
    history = train(tiny(data=hands, plots=True), console)
    found = history[-1]["watched"]
    assert found["metric"] == "PCK@0.2 (box)" and found["main"] == found["pooled"]
    assert "constant mean pose: PCK@0.2 (box) " in words_of(console)
    assert "PCK@0.2 (box) " in words_of(console).split("epoch   1")[1]
    assert (tmp_path / "run" / "plots.png").is_file()


def test_a_joint_that_nobody_has_labelled_is_masked_and_named(tiny: Make, hands: Path) -> None:
    console = told()
    trainer = Trainer(tiny(data=hands), console)
    history = trainer.train()
    assert "masked, because no training sample has them labelled: little_finger\n" in words_of(
        console
    )
    assert history[-1]["watched"]["per_joint"]["little_finger"] is None
    assert np.isfinite(history[-1]["loss"])
    counts = trainer.baseline.pck.counts.tolist()
    assert counts == [4, 4, 4, 0] and trainer.watched.labelled.sum() == 12


def test_oks_is_watched_and_chooses_the_best_weights(
    tiny: Make, hands: Path, tmp_path: Path, quiet: Console
) -> None:
    sigmas = (0.2, 0.3, 0.3, 0.3)
    config = tiny(data=hands, metric="oks", oks_sigmas=sigmas, epochs=4, plots=True)
    history = train(config, quiet)
    found = [entry["watched"] for entry in history]
    assert {each["metric"] for each in found} == {"OKS AP"}
    assert all(each["main"] == each["AP"] for each in found)
    _, _, about = load_run(tmp_path / "run", "best")
    assert about["watched"] == found[about["epoch"] - 1]
    assert about["watched"]["AP"] == max(each["AP"] for each in found)
    result = evaluate(
        EvalConfig(
            tmp_path / "run", hands, metric="oks", oks_sigmas=sigmas, device="cpu", workers=0
        )
    )
    assert result.scores["network"].precision.keys() <= found[-1].keys()


def test_it_is_what_evaluate_tells(
    tiny: Make, people: Path, tmp_path: Path, quiet: Console
) -> None:
    sigmas = (0.5,) * 14
    history = train(tiny(metric="oks", oks_sigmas=sigmas), quiet)
    config = EvalConfig(
        tmp_path / "run", people, metric="oks", oks_sigmas=sigmas, device="cpu", workers=0
    )
    told, watched = figures_to_json(evaluate(config).scores["network"]), history[-1]["watched"]
    assert told.keys() == watched.keys() - {"calibration"} and told["metric"] == watched["metric"]
    # Evaluation folds the network, whose convolutions then round in another way.
    for key in told.keys() - {"metric"}:
        assert told[key] == pytest.approx(watched[key], abs=0.01)
    assert watched["AP"] > 0


def test_a_resumed_run_keeps_its_metric(tiny: Make, tmp_path: Path, quiet: Console) -> None:
    train(tiny(metric="neck,head_top"), quiet)
    stored = (tmp_path / "run" / "config.json").read_text()
    assert '"metric": "neck,head_top"' in stored
    for metric in ("auto", "box"):
        with pytest.raises(InputError, match="resume: the run has metric neck,head_top, which"):
            train(tiny(metric=metric, resume=True, epochs=3), quiet)
    assert (tmp_path / "run" / "config.json").read_text() == stored
    history = train(tiny(metric="neck,head_top", resume=True, epochs=3), quiet)
    assert {entry["watched"]["metric"] for entry in history} == {"PCK@0.2 (neck, head_top)"}


def test_a_metric_that_cannot_be_used_is_refused_before_anything_is_written(
    tiny: Make, hands: Path, tmp_path: Path, quiet: Console
) -> None:
    for metric, words in (
        ("torso", rf"metric: got torso, .* \(the joints are {', '.join(HAND)}\)$"),
        ("oks", f"oks_sigmas: got none, .*: {', '.join(HAND)}$"),
        ("wrist,thumb,ring", f"metric: got wrist,thumb,ring; .* {', '.join(HAND)}$"),
        (
            "wrist,little_finger",
            "no sample of .* both the distance from wrist to little finger, which is the unit",
        ),
    ):
        with pytest.raises(InputError, match=words):
            train(tiny(data=hands, metric=metric), quiet)
        assert not (tmp_path / "run").exists()


def test_a_run_of_before_there_was_a_choice_goes_by_the_data(
    tiny: Make, tmp_path: Path, quiet: Console
) -> None:
    train(tiny(), quiet)
    path = tmp_path / "run" / "config.json"
    older = "\n".join(line for line in path.read_text().splitlines() if '"metric"' not in line)
    path.write_text(older.replace('"oks_sigmas": [],', ""))
    assert from_json(RunConfig, read_json(path), "config").training.metric == "auto"
    history = train(tiny(resume=True, epochs=3), quiet)
    assert history[-1]["watched"]["metric"] == "PCK@0.2"
