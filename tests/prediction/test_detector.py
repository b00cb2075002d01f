"""People found by the detector of the extra `detect`."""

import json
import subprocess
import sys
import threading
from importlib import util
from pathlib import Path

import numpy as np
import pytest

from softgate_ext.data.images import read_image
from softgate_ext.errors import InputError
from softgate_ext.prediction import detector as module
from softgate_ext.prediction.detector import WEIGHTS, PersonDetector
from softgate_ext.prediction.person import Box
from softgate_ext.prediction.predictor import PosePredictor


@pytest.fixture(scope="module")
def detector() -> PersonDetector:
    for name in ("openvino", WEIGHTS):
        if util.find_spec(name) is None:
            pytest.skip(f"needs the extra detect: {name} is not installed")
    return PersonDetector()


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def test_people_of_photographs(detector: PersonDetector, shared_data: Path) -> None:
    """Of the eight people marked in the photographs it finds at least six."""
    photos = shared_data / "photos"
    marked = json.loads((photos / "ATTRIBUTION.json").read_text())
    best = []
    for entry in marked:
        picture = read_image(photos / entry["file"])
        found = detector(picture)
        height, width = picture.shape[:2]
        for (x, y, w, h), score in found:
            assert 0 <= x <= x + w <= width + 1e-6 and 0 <= y <= y + h <= height + 1e-6
            assert 0.5 <= score <= 1
        best.append(max((overlap(box, entry["bbox_xywh"]) for box, _ in found), default=0.0))
    assert sum(value > 0.7 for value in best) >= 6, best


def test_several_people(detector: PersonDetector, shared_data: Path) -> None:
    """Two stand among the trees; the pose network is asked about both."""
    picture = read_image(shared_data / "photos" / "000000442450.jpg")
    assert len(detector(picture)) == 2


def test_people_of_few_pixels_are_left_out(detector: PersonDetector, shared_data: Path) -> None:
    picture = read_image(shared_data / "photos" / "000000442450.jpg")
    sides = sorted(max(box[2:]) for box, _ in detector(picture))
    wide = PersonDetector(min_box=sides[-1])
    assert [max(box[2:]) for box, _ in wide(picture)] == sides[-1:]


def test_a_predictor_asks_about_the_people_found(
    detector: PersonDetector, run: Path, shared_data: Path
) -> None:
    photo = shared_data / "photos" / "000000442450.jpg"
    predictor = PosePredictor.from_pretrained(run, device="cpu", detect=0.6)
    first, second = predictor(photo)
    assert first.box_score is not None and second.box_score is not None
    assert first.box_score > second.box_score >= 0.6
    (given,) = predictor(photo, [first.box])
    assert np.abs(given.joints - first.joints).max() < 1e-3 and given.box_score is None


def test_nobody(detector: PersonDetector) -> None:
    assert detector(np.full((50, 70, 3), 127, np.uint8)) == []


def test_threads_share_it(detector: PersonDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (60, 60, 3), dtype=np.uint8)
    monkeypatch.setattr(detector, "min_score", 0.0)
    alone = detector(picture)
    assert alone
    results: list[list[tuple[Box, float]]] = []
    threads = [threading.Thread(target=lambda: results.append(detector(picture))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [alone] * 4


def test_signals_are_handled_after_detectors_went_on_another_thread(
    detector: PersonDetector,
) -> None:
    program = """
import signal, subprocess, threading
from softgate_ext.prediction.detector import PersonDetector
signal.signal(signal.SIGCHLD, lambda *_: print("handled", flush=True))
for _ in range(2):
    detectors = [PersonDetector()]
    thread = threading.Thread(target=detectors.clear)
    thread.start()
    thread.join()
    subprocess.run(["true"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("handled") >= 2, done.stderr


@pytest.mark.parametrize("absent", ["openvino", WEIGHTS])
def test_without_the_extra(absent: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if absent == WEIGHTS:
        monkeypatch.setattr(module.util, "find_spec", lambda name: None)
    else:
        monkeypatch.setattr(module, "_weights", lambda: tmp_path / "graph.pb")
        monkeypatch.setitem(sys.modules, "openvino", None)
        monkeypatch.setattr(module, "openvino_core", module.openvino_core.__wrapped__)
    with pytest.raises(InputError, match=rf"detect: {absent} is not installed; pip install"):
        PersonDetector()


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_scores_out_of_range(score: float) -> None:
    with pytest.raises(InputError, match="detect_score: got"):
        PersonDetector(score)
