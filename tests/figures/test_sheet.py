"""The sheet with all plots of a run."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from softgate_ext.data.images import image_size, read_image
from softgate_ext.data.lsp import read_lsp
from softgate_ext.evaluation.measure import protocol_for, score
from softgate_ext.figures.sheet import draw_heatmaps, draw_pck_curves, plot_sheet
from softgate_ext.inference.pose_inference import PoseInference
from softgate_ext.pose.codec import HeatmapCodec
from softgate_ext.pose.skeleton import LSP
from softgate_ext.runs.log import read_log
from softgate_ext.runs.opening import load_run


@pytest.fixture
def inference(run: Path) -> PoseInference:
    model, config, _ = load_run(run)
    return PoseInference(model, HeatmapCodec(config.image_size, config.image_size // 4), LSP)


def test_a_run_draws_its_sheet(run: Path) -> None:
    width, height = image_size(run / "plots.png")
    assert height > width > 1000
    assert read_image(run / "plots.png").std() > 20


def test_a_network_without_gates(
    run: Path, people: Path, inference: PoseInference, tmp_path: Path
) -> None:
    watched = read_lsp(people, "test").subset([0, 1])
    joints = np.full(watched.joints.shape, np.nan)
    log = read_log(run / "log.jsonl")
    baseline = score(joints, watched, protocol_for(watched))
    plot_sheet(tmp_path / "plots.png", log, baseline, watched, joints, inference, {})
    assert image_size(tmp_path / "plots.png")[1] < image_size(run / "plots.png")[1]


def test_pck_curves_are_those_of_the_distances() -> None:
    distances = np.full((4, len(LSP)), np.nan)
    distances[:, LSP.index("left_knee")] = [0.0, 0.1, 0.3, np.inf]
    figure = Figure()
    draw_pck_curves(figure, distances, LSP)
    (line,) = figure.axes[0].lines
    assert line.get_label() == "left knee"
    shares = dict(zip(np.round(line.get_xdata(), 3), line.get_ydata(), strict=True))
    assert [shares[at] for at in (0.0, 0.05, 0.15, 0.5)] == [25, 25, 50, 75]


def test_a_peak_glows_where_it_is(
    people: Path, inference: PoseInference, monkeypatch: pytest.MonkeyPatch
) -> None:
    heat = torch.zeros(1, len(LSP), 16, 16)
    heat[0, 3, 4, 12] = 1.0
    monkeypatch.setattr(PoseInference, "outputs", lambda *_: heat)
    (picture,) = draw_heatmaps(read_lsp(people, "test").subset([0]), inference)
    side = len(picture)
    y, x = np.unravel_index(picture.sum(-1).argmax(), (side, side))
    assert abs(y / side - 4.5 / 16) < 0.05 and abs(x / side - 12.5 / 16) < 0.05
