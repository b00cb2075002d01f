"""A network that regresses joints is trained, evaluated, drawn and exported by the same commands."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from stored_weights import assert_same_weights
from torch.utils.data import default_collate

from softgate_ext.cli.run import main
from softgate_ext.data.dataset import PoseDataset
from softgate_ext.data.lsp import read_lsp
from softgate_ext.errors import InputError
from softgate_ext.evaluation.evaluate import evaluate
from softgate_ext.evaluation.evaluate_config import EvalConfig
from softgate_ext.models import DeepPose
from softgate_ext.prediction.predictor import PosePredictor
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.learner import Learner
from softgate_ext.training.processes import Group
from softgate_ext.training.trainer import train

Make = Callable[..., TrainConfig]
SMALL = {
    "model": "deeppose_3x48",
    "model_options": {"width": 8, "stages": 2, "depth": 2},
    "image_size": 32,
}


@pytest.fixture(scope="module")
def trained(
    people: Path, tiny_options: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run of two epochs; tests must leave it as it is."""
    out = tmp_path_factory.mktemp("deeppose") / "run"
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    options = {**tiny_options, **SMALL, "plots": True}
    train(TrainConfig(data=people, out=out, epochs=2, **options), Console(quiet=True))  # type: ignore[arg-type]
    torch.set_num_threads(before)
    return out


def test_it_learns_four_people_by_heart_and_the_cascade_refines_them(
    people: Path, tiny: Make
) -> None:
    four = PoseDataset(read_lsp(people, "train").subset(range(4)), 32)
    batch = default_collate([four[i] for i in range(4)])
    torch.manual_seed(0)
    model = DeepPose(width=8, stages=2, depth=2, joints=14)
    codec = model.codec(32)
    learner = Learner(model, codec, tiny(lr=5e-3), Group(torch.device("cpu")))

    def errors() -> list[float]:
        """Mean distance of the labelled joints, pixels, by stage, as the network predicts."""
        with torch.no_grad():
            stages = model.eval()(batch["image"].float() / 255)
        away = [(codec.decode(one)[0] - batch["joints"]).norm(dim=-1) for one in stages]
        return [float((one * batch["weights"]).sum() / batch["weights"].sum()) for one in away]

    before = errors()
    for step in range(60):
        learner.step(batch, 1.0 if step < 42 else 0.2)
    first, last = errors()
    assert min(before) > 5 and last < 1.2
    assert last < 0.9 * first


def test_a_resumed_training_is_the_same_training(
    tiny: Make, tmp_path: Path, quiet: Console
) -> None:
    parts = tiny(**SMALL, epochs=1)
    train(replace(parts, schedule="step"), quiet)
    train(replace(parts, schedule="step", epochs=2, resume=True), quiet)
    whole = tiny(**SMALL, out=tmp_path / "whole", schedule="step")
    train(whole, quiet)
    assert_same_weights(parts.out, whole.out)


def test_it_is_measured_as_it_was_watched(trained: Path, people: Path) -> None:
    config = EvalConfig(trained, people, workers=0, device="cpu")
    result = evaluate(config)
    assert (trained / "plots.png").is_file()  # without a row of heatmaps
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert result.scores["network"].pck.pooled == pytest.approx(log[-1]["watched"]["pooled"], abs=1)
    others = evaluate(replace(config, flip_test=True, scales=(1.0, 1.2)))
    assert others.people == result.people and others.about["flip_test"]
    with pytest.raises(InputError, match="^decoder: got argmax for a network that gives joints"):
        evaluate(replace(config, decoder="argmax"))


def test_people_are_found_without_heatmaps(trained: Path) -> None:
    predictor = PosePredictor.from_pretrained(trained, device="cpu")
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    (look,) = predictor.predict_with_heatmaps(predictor.locate(picture))
    (person,) = predictor(picture)
    assert look.heatmaps is None and look.crop.shape == (32, 32, 3)
    np.testing.assert_array_equal(look.person.joints, person.joints)
    assert person.scores.tolist() == [1.0] * 14


def test_the_exported_program_gives_joints_in_pixels(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.pt2"
    words = ["export", str(trained), "--out", str(out), "--format", "torch"]
    assert main(words) == 0
    predictor = PosePredictor.from_pretrained(trained, device="cpu", folded=False)
    for people in (1, 3):
        crops = torch.randint(0, 256, (people, 3, 32, 32), dtype=torch.uint8)
        joints, scores = torch.export.load(out).module()(crops.float() / 255)
        wanted, _ = predictor._infer.codec.decode(predictor._infer.outputs(crops))
        torch.testing.assert_close(joints, wanted, atol=1e-2, rtol=0)
        assert torch.equal(scores, torch.ones(people, 14))
    assert main([*words, "--decode", "quarter"]) == 2


def test_bad_options_write_nothing(tiny: Make, quiet: Console) -> None:
    config = tiny(**SMALL, sigma=2.0)
    with pytest.raises(InputError, match="^sigma: got 2.0 for a network that gives joints"):
        train(config, quiet)
    assert not config.out.exists()
