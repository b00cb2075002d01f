"""People found by the detector of the extra `detect`."""

import json
import subprocess
import sys
import threading
import tracemalloc
from importlib import util
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.detection import is_found
from softgate_ext.data.images import read_image
from softgate_ext.errors import InputError
from softgate_ext.prediction import detection_networks as networks_module
from softgate_ext.prediction.detection_networks import (
    BlazePoseDetector,
    Network,
    SsdLite,
    openvino_core,
)
from softgate_ext.prediction.detector import NETWORKS, PersonDetector
from softgate_ext.prediction.person import Box
from softgate_ext.prediction.predictor import PosePredictor


@pytest.fixture(scope="module")
def detector() -> PersonDetector:
    return detector_of(NETWORKS)


def detector_of(networks: tuple[type[Network], ...]) -> PersonDetector:
    for name in ("openvino", *(network.package for network in networks)):
        if util.find_spec(name) is None:
            pytest.skip(f"needs the extra detect: {name} is not installed")
    found = PersonDetector()
    if found.note is not None:
        pytest.skip(found.note)
    found.networks = [one for one in found.networks if isinstance(one, networks)]
    return found


@pytest.mark.parametrize(
    ("networks", "least"), [(NETWORKS, 8), ((SsdLite,), 7), ((BlazePoseDetector,), 6)]
)
def test_people_of_photographs(
    networks: tuple[type[Network], ...], least: int, shared_data: Path
) -> None:
    """The eight people marked in the photographs: the networks together find all of them."""
    detector, photos = detector_of(networks), shared_data / "photos"
    found = 0
    for entry in json.loads((photos / "ATTRIBUTION.json").read_text()):
        picture = read_image(photos / entry["file"])
        height, width = picture.shape[:2]
        people = detector(picture)
        for (x, y, w, h), score in people:
            assert 0 <= x <= x + w <= width + 1e-6 and 0 <= y <= y + h <= height + 1e-6
            assert 0.5 <= score <= 1
        found += any(is_found(box, entry["bbox_xywh"]) for box, _ in people)
    assert found >= least


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


def test_without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    detector_of(NETWORKS)
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(networks_module, "openvino_core", openvino_core.__wrapped__)
    with pytest.raises(InputError, match="detect: openvino is not installed; pip install openvino"):
        PersonDetector()


def test_without_networks(monkeypatch: pytest.MonkeyPatch, detector: PersonDetector) -> None:
    """One is enough, and a note says what the other would give; without any there is an error."""
    find = util.find_spec
    for network in NETWORKS:
        with monkeypatch.context() as patch:
            patch.setattr(
                util, "find_spec", lambda name, n=network.package: None if name == n else find(name)
            )
            less = PersonDetector()
        assert less.note is not None and network.install in less.note
        assert [type(one) for one in less.networks] == [
            one for one in NETWORKS if one is not network
        ]
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match="is installed; pip install openvino and pip install --no-deps"
    ):
        PersonDetector()


@pytest.mark.parametrize("shape", [(10, 2000), (2000, 10), (1, 300), (120, 20)])
def test_a_strip_is_squared_in_little_memory(shape: tuple[int, int]) -> None:
    """As if the whole square were made, up to rounding."""
    strip = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    side = max(shape)
    (top, left), square = [(side - n) // 2 for n in shape], np.zeros((side, side, 3), np.uint8)
    square[top : top + shape[0], left : left + shape[1]] = strip
    whole = cv2.resize(square, (224, 224), interpolation=cv2.INTER_AREA)
    tracemalloc.start()
    found = networks_module._squared(strip, 224)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.abs(found.astype(int) - whole).max() <= 1
    assert most < 3 * side * 300 + 600_000


def test_one_person_is_not_found_twice(detector: PersonDetector) -> None:
    class Fixed:
        def __init__(self, *boxes: Box) -> None:
            self.boxes = boxes

        def __call__(self, picture: object, min_score: float) -> list[tuple[Box, float]]:
            return [(box, 0.9) for box in self.boxes]

    detector = detector_of(NETWORKS)
    tight, square, beside, child = (
        (10.0, 10.0, 40.0, 100.0),
        (0.0, 0.0, 100.0, 110.0),
        (60.0, 0.0, 100.0, 110.0),
        (10.0, 60.0, 45.0, 45.0),
    )
    detector.networks = [Fixed(tight), Fixed(square, beside, child)]
    tight_of_other = [box for box, _ in detector(np.zeros((200, 200, 3), np.uint8))]
    assert tight_of_other == [tight, beside, child]


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_scores_out_of_range(score: float) -> None:
    with pytest.raises(InputError, match="detect_score: got"):
        PersonDetector(score)
