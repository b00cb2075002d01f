"""The benchmark of other pose networks: its counts, its joints, its table and its plot."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import pose_peers, pose_peers_table
from softgate_ext.data.formats import open_dataset


def test_a_graph_is_counted_as_our_own_networks_are() -> None:
    openvino = pytest.importorskip("openvino")
    import torch

    from softgate_ext.models.profile import profile

    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.Conv2d(8, 8, 3, padding=1, groups=4),
        torch.nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1),
    )
    graph = openvino.convert_model(net, example_input=torch.zeros(1, 3, 16, 16))
    graph.reshape([1, 3, 16, 16])
    parameters, macs = pose_peers.counted(graph)
    want = profile(net, 16).total
    assert macs == want.macs
    assert parameters == pytest.approx(want.parameters, abs=8)


@pytest.mark.slow
def test_a_peer_finds_people(shared_data: Path) -> None:
    path = shared_data / "peers" / "EfficientPoseRT.tflite"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    pytest.importorskip("openvino")
    peer = pose_peers.efficient_pose("EfficientPose RT", path, 1)
    # Its authors count a multiplication and an addition as two: 0.46 M and 0.87 GFLOPs.
    assert peer.parameters == pytest.approx(0.46e6, rel=0.06)
    assert peer.macs == pytest.approx(0.87e9 / 2, rel=0.02)
    people = open_dataset(shared_data / "lsp_dataset", "test").subset(range(0, 1000, 50))
    found = peer.accuracy(people)
    assert np.isnan(found[people.skeleton.joints.index("neck")])
    assert np.nanmean(found) > 60


def test_the_table_and_the_plot_show_the_file(tmp_path: Path) -> None:
    results = json.loads((pose_peers.RESULTS / "pose_peers.json").read_text())
    page = Path(pose_peers.__file__).parents[1] / "docs" / "paper.md"
    assert pose_peers_table.table(results) in page.read_text(encoding="utf-8")
    pose_peers_table.draw(results, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000
