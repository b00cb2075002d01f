"""The figures of a run, and of predictions in files."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from softgate_ext.data.lsp import read_lsp
from softgate_ext.errors import InputError
from softgate_ext.evaluation import evaluate as module
from softgate_ext.evaluation.evaluate import evaluate
from softgate_ext.evaluation.evaluate_arguments import check
from softgate_ext.evaluation.evaluate_config import STDOUT, EvalConfig
from softgate_ext.evaluation.joint_files import write_predictions
from softgate_ext.evaluation.measure import figures_to_json
from softgate_ext.inference import device
from softgate_ext.inference.pose_inference import PoseInference, predict_people
from softgate_ext.inference.winograd import WinogradConv
from softgate_ext.nn import convolution
from softgate_ext.ops.processor import Bf16
from softgate_ext.prediction.predict import predict
from softgate_ext.prediction.predict_config import PredictConfig
from softgate_ext.prediction.predictor import PosePredictor
from softgate_ext.runs.log import read_log
from softgate_ext.runs.options import Amp


@pytest.fixture
def config(run: Path, people: Path) -> EvalConfig:
    return EvalConfig(run, people, workers=0, device="cpu")


def test_it_measures_what_the_training_watched(config: EvalConfig) -> None:
    result = evaluate(config)
    watched = read_log(config.run / "log.jsonl")[-1]["watched"]  # type: ignore[operator]
    assert watched.pop("calibration")
    assert figures_to_json(result.scores["network"]) == watched
    assert result.people == 8


def main_figure(config: EvalConfig) -> float:
    return evaluate(config).scores["network"].pck.pooled


def test_how_the_network_is_run(config: EvalConfig) -> None:
    assert main_figure(replace(config, batch_size=1)) == main_figure(config)
    figures = evaluate(
        replace(config, flip_test=True, scales=(1.0, 1.2), decoder="argmax")
    ).to_json()
    assert figures["flip_test"] is True and figures["decoder"] == "argmax"
    assert figures["scales"] == [1.0, 1.2]
    with pytest.raises(InputError, match=r"scales: got \[0.01\]; takes"):
        evaluate(replace(config, scales=(0.01,)))


@pytest.mark.parametrize("multiplies", [False, True])
@pytest.mark.parametrize("how", ["vectors", "tiles"])
@pytest.mark.parametrize("amp", ["off", "auto", "bf16"])
def test_it_runs_the_network_that_prediction_runs(
    config: EvalConfig, amp: Amp, how: Bf16, multiplies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Winograd's convolutions in float32, and in bfloat16 without AMX, in one layout."""
    monkeypatch.setattr(device, "multiplies_bf16", lambda _: multiplies)
    monkeypatch.setattr(convolution, "CUTS", convolution.cuts(how))
    measured: list[PoseInference] = []

    def seen(inference: PoseInference, *rest: Any) -> Any:
        measured.append(inference)
        return predict_people(inference, *rest)

    monkeypatch.setattr(module, "predict_people", seen)
    evaluate(replace(config, amp=amp))
    assert config.run is not None
    predictor = PosePredictor.from_pretrained(config.run, device="cpu", amp=amp)
    (one,), other = measured, predictor._infer
    assert str(one.model) == str(other.model) and one.channels_last == other.channels_last
    winograd = any(isinstance(part, WinogradConv) for part in one.model.modules())
    in_bf16 = amp == "bf16" or (amp == "auto" and multiplies)
    assert winograd == (not in_bf16 or how == "vectors")
    assert other.outputs(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).dtype == torch.float32


def test_figures_as_json_and_as_a_table(config: EvalConfig, tmp_path: Path) -> None:
    result = evaluate(replace(config, json=tmp_path / "figures.json"))
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["people"] == 8 and figures["metric"] == "PCK@0.2"
    assert [row["name"] for row in figures["rows"]] == ["network", "mean pose"]
    for row in figures["rows"]:
        assert len(row["joints"]) == 14 and len(row["per_joint"]) == 7
        assert row["mean"] == pytest.approx(np.mean(list(row["joints"].values())))
        assert row["hidden"]["weighted_mean"] is None or row["hidden"]["weighted_mean"] >= 0
    console = Console(width=80, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(result.details())
    text = console.export_text()
    for words in ("left ankle", "Head", "mean pose", "weighted mean", "@0.1", "AUC", "visible"):
        assert words in text


@pytest.fixture
def predicted(people: Path) -> tuple[np.ndarray, np.ndarray]:
    """The truth of the test half, every joint but the ankles moved far away."""
    truth = read_lsp(people, "test").joints.astype(np.float64)
    moved = truth + 1000
    moved[:, [0, 5]] = truth[:, [0, 5]]
    return moved, np.ones(moved.shape[:2])


@pytest.mark.parametrize("suffix", [".json", ".npz", ".mat", ".h5"])
def test_predictions_of_others(
    people: Path, predicted: tuple[np.ndarray, np.ndarray], tmp_path: Path, suffix: str
) -> None:
    if suffix == ".h5":
        pytest.importorskip("h5py")
    path = tmp_path / f"theirs{suffix}"
    write_predictions(path, *predicted, read_lsp(people, "test"))
    result = evaluate(EvalConfig(None, people, predictions=path))
    columns = result.scores["predictions"].pck.grouped()
    assert columns == {**dict.fromkeys(columns, 0.0), "Ank": 100.0}
    assert "mean pose" in result.scores and result.people == 8


def test_our_predictions_come_back_with_the_same_figures(
    config: EvalConfig, people: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "ours.npz"
    ours = evaluate(replace(config, save_predictions=saved)).scores["network"]
    again = evaluate(EvalConfig(people, predictions=saved)).scores["predictions"]
    assert again.to_json() == ours.to_json()


@pytest.fixture
def pictures(people: Path, run: Path, tmp_path: Path) -> Path:
    """What `softgate predict` writes about every picture of the dataset."""
    out = tmp_path / "poses"
    words = (str(people / "images"),)
    predict(PredictConfig(run, words, out, outputs=("json",), device="cpu"))
    return out / "predictions.json"


def test_what_predict_writes_has_the_figures_of_the_run(
    config: EvalConfig, people: Path, pictures: Path
) -> None:
    """Each picture of LSP is one person, whose crop is the whole of it; pictures of the other half
    may be among them."""
    splits: tuple[Any, ...] = ("all", "test")
    for split in splits:
        ours = evaluate(replace(config, split=split)).scores["network"]
        again = evaluate(EvalConfig(people, predictions=pictures, split=split))
        assert again.scores["predictions"].to_json() == ours.to_json()


def test_people_of_a_picture_too_many_and_too_few(people: Path, pictures: Path) -> None:
    found = json.loads(pictures.read_text())

    def notes() -> str:
        pictures.write_text(json.dumps(found))
        return " ".join(evaluate(EvalConfig(people, predictions=pictures)).notes)

    found["images"][9]["people"] *= 2
    assert "1 prediction is not used, because it matches no labelled person" in notes()
    found["images"][9]["people"] = []
    assert "1 person of 8 is not in the file, first in im0010.jpg: their joints" in notes()
    del found["images"]
    with pytest.raises(InputError, match="holds no entry that can be read .* takes a list of"):
        notes()


def test_arguments_that_do_not_go_together(config: EvalConfig, tmp_path: Path) -> None:
    for wrong, words in (
        (EvalConfig(), "data: got none"),
        (EvalConfig(config.run), "data: got none"),
        (EvalConfig(None, config.data), "run and predictions: got neither"),
        (replace(config, predictions=Path("x.npz")), "run and predictions: got both"),
        (replace(config, reference=Path("x.npz")), "give it alone"),
        (replace(config, save_predictions=tmp_path / "x.txt"), "save_predictions: got .*x.txt"),
        (EvalConfig(None, config.data, predictions=Path("x.txt")), "predictions: got x.txt"),
        (EvalConfig(None, config.data, predictions=Path("x.npz")), "there is no file x.npz"),
    ):
        with pytest.raises(InputError, match=words):
            evaluate(wrong)


NETWORK: dict[str, Any] = {
    "weights": "best", "flip_test": True, "scales": (1.0, 0.8), "decoder": "argmax",
    "batch_size": 7, "workers": 0, "device": "cpu", "amp": "bf16",
}  # fmt: skip
FIGURES: dict[str, Any] = {"split": "train", "json": STDOUT, "save_predictions": Path("x.npz")}


@pytest.mark.parametrize(
    ("source", "idle"),
    [
        ({"reference": Path("x.npz")}, {**NETWORK, "origin": 0, "split": "train"}),
        ({"predictions": Path("x.npz"), "data": Path("x")}, NETWORK),
        ({"run": Path("r"), "data": Path("x")}, {"origin": 1}),
        ({"run": Path("r"), "data": Path("x"), "submission": Path("x.mat")}, FIGURES),
    ],
    ids=["reference", "predictions", "run", "submission"],
)
def test_an_option_that_would_be_ignored_is_refused(
    source: dict[str, Path], idle: dict[str, Any]
) -> None:
    """Before anything is read: none of these files exists."""
    for name, value in idle.items():
        with pytest.raises(InputError, match=f"^{name}: got .* beside a? ?.*; leave it out$"):
            check(EvalConfig(**source, **{name: value}))  # type: ignore[arg-type]
    check(EvalConfig(**source))  # type: ignore[arg-type]


def test_ranges(config: EvalConfig) -> None:
    with pytest.raises(
        InputError, match="^batch_size: got 0; takes a whole number from 1 to 2147483647$"
    ):
        evaluate(replace(config, batch_size=0))
    with pytest.raises(InputError, match="^workers: got -1; takes a whole number from 0 to 1024$"):
        evaluate(replace(config, workers=-1))


@pytest.mark.parametrize("split", ["train", "all"])
def test_other_halves(config: EvalConfig, split: str) -> None:
    people = evaluate(replace(config, split=split)).people  # type: ignore[arg-type]
    assert people == {"train": 8, "all": 16}[split]


def test_wrong_input(config: EvalConfig, people: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent"):
        evaluate(replace(config, data=tmp_path / "absent"))
    with pytest.raises(InputError, match="there is no folder"):
        evaluate(replace(config, run=tmp_path / "absent"))
    with pytest.raises(InputError, match="batch_size"):
        evaluate(replace(config, batch_size=0))
    data = Path(shutil.copytree(people, tmp_path / "people"))
    image = data / "images" / "im0012.jpg"
    image.write_bytes(image.read_bytes()[:700])
    for workers in (0, 1):
        with pytest.raises(InputError, match="im0012.jpg") as caught:
            evaluate(replace(config, data=data, workers=workers, json=tmp_path / "figures.json"))
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "figures.json").exists()


def test_where_the_figures_go_is_checked_first(config: EvalConfig, tmp_path: Path) -> None:
    for target in (tmp_path / "absent" / "x.json", tmp_path):
        with pytest.raises(InputError, match="json: got"):
            evaluate(replace(config, json=target, run=Path("absent")))


def test_weights_selected_on_the_people_measured_are_called_so(config: EvalConfig) -> None:
    assert evaluate(replace(config, weights="best")).about["selected_here"]
    assert "selected by" in str(evaluate(replace(config, weights="best")).details().caption)
    assert not evaluate(config).about["selected_here"]
