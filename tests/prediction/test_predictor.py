"""A single call that takes an image in any form and returns people."""

import io
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import softgate_ext
from softgate_ext.data.dataset import PoseDataset
from softgate_ext.data.images import read_image
from softgate_ext.data.lsp import read_lsp
from softgate_ext.errors import InputError
from softgate_ext.inference.fold import Folded
from softgate_ext.inference.pose_inference import predict_people, to_input
from softgate_ext.prediction import predictor as module
from softgate_ext.prediction.person import Person, check_box
from softgate_ext.prediction.picture import as_picture
from softgate_ext.prediction.predictor import PosePredictor
from softgate_ext.runs.opening import load_run
from softgate_ext.runs.places import find_run


@pytest.fixture(scope="module")
def predictor(run: Path) -> PosePredictor:
    return PosePredictor.from_pretrained(run, device="cpu")


@pytest.fixture(scope="module")
def file(people: Path) -> Path:
    return people / "images" / "im0001.jpg"


def same(one: Person, other: Person) -> bool:
    return np.array_equal(one.joints, other.joints) and np.array_equal(one.scores, other.scores)


def test_a_whole_picture_is_cropped_as_in_training(predictor: PosePredictor, people: Path) -> None:
    """The joints are those that evaluation finds for the same picture."""
    one = read_lsp(people, "test").subset([0])
    expected, scores = predict_people(predictor._infer, PoseDataset(one, 64))
    (person,) = predictor(one.image_paths[0])
    assert np.abs(person.joints - expected[0]).max() < 1e-3
    assert predictor.calibration is not None
    assert np.abs(person.scores - predictor.calibration(scores[0])).max() < 1e-3


def test_a_box_moves_with_the_picture(predictor: PosePredictor, people: Path) -> None:
    """Padding the picture and moving the box alike moves the joints alike."""
    picture = read_image(people / "images" / "im0009.jpg")
    box = (10.0, 8.0, 40.0, 60.0)
    # Grey as the crop's border, so that what lies outside looks the same.
    padded = cv2.copyMakeBorder(picture, 30, 0, 50, 0, cv2.BORDER_CONSTANT, value=(127,) * 3)
    (plain,) = predictor(picture, [box])
    (moved,) = predictor(padded, [(60.0, 38.0, 40.0, 60.0)])
    assert np.abs(moved.joints - plain.joints - (50, 30)).max() < 0.5


def test_several_people_in_several_passes(
    predictor: PosePredictor, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = read_image(people / "images" / "im0001.jpg")
    boxes = [(5.0 * i, 2.0, 30.0, 50.0) for i in range(5)]
    together = predictor(picture, boxes)
    monkeypatch.setattr(module, "CHUNK", 2)
    apart = predictor(picture, boxes)
    assert [person.box for person in apart] == boxes
    for one, other in zip(together, apart, strict=True):
        assert np.abs(one.joints - other.joints).max() < 1e-3
    assert predictor(picture, []) == []


def test_every_kind_of_picture(predictor: PosePredictor, file: Path) -> None:
    picture = read_image(file)
    (expected,) = predictor(str(file))
    tensor = torch.from_numpy(picture).permute(2, 0, 1)
    grey = np.repeat(picture[..., :1], 3, axis=2)
    for image in (
        file,
        picture,
        picture.astype(np.float32) / 255,
        np.asfortranarray(picture),
        Image.open(file),
        tensor,
        tensor.double() / 255,
        torch.cat([tensor, tensor[:1]]),
    ):
        (person,) = predictor(image)
        assert same(person, expected)
    (expected,) = predictor(grey)
    for image in (picture[..., 0], tensor[0], tensor[:1]):
        assert same(predictor(image)[0], expected)


def test_a_turned_photograph_is_seen_upright(file: Path) -> None:
    """A Pillow image carries its orientation, as a file does."""
    picture = Image.open(file)
    exif = picture.getexif()
    exif[0x0112] = 6
    data = io.BytesIO()
    picture.save(data, "PNG", exif=exif.tobytes())
    turned = as_picture(Image.open(data))
    assert np.array_equal(turned, np.rot90(read_image(file), -1))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (None, "got NoneType"),
        (b"bytes", "got bytes"),
        (np.zeros((5, 5, 2), np.uint8), r"shape \(5, 5, 2\)"),
        (np.zeros((0, 5, 3), np.uint8), r"shape \(0, 5, 3\)"),
        (torch.zeros(5, 5, 3), r"shape \(5, 5, 3\)"),
        (torch.zeros(1, 3, 5, 5), r"shape \(1, 3, 5, 5\)"),
        (np.zeros((5, 5, 3), np.int64), "got int64"),
        (np.full((5, 5, 3), 255.0), "floats from 255 to 255"),
        (np.full((5, 5, 3), np.nan), "floats from nan"),
        ("absent.jpg", "does not exist"),
    ],
    ids=str,
)
def test_what_is_no_picture(image: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        as_picture(image)


def test_lists(predictor: PosePredictor, people: Path) -> None:
    files = [people / "images" / f"im000{i}.jpg" for i in (1, 2)]
    boxes = [[(1.0, 2.0, 30.0, 40.0)] * 2, None]
    found = predictor(files, boxes)
    assert [len(own) for own in found] == [2, 1]
    assert np.abs(found[0][1].joints - predictor(files[0], boxes[0])[1].joints).max() < 1e-3
    assert np.abs(found[1][0].joints - predictor(files[1])[0].joints).max() < 1e-3
    assert predictor([]) == []
    with pytest.raises(InputError, match="got 1 lists for 2 pictures"):
        predictor(files, boxes[:1])


def test_boxes_as_arrays(predictor: PosePredictor, file: Path) -> None:
    box = np.array([[1.0, 2.0, 30.0, 40.0]])
    for boxes in (box, torch.from_numpy(box)):
        assert predictor(file, boxes)[0].box == (1.0, 2.0, 30.0, 40.0)


def test_a_person_says_what_is_known(predictor: PosePredictor, file: Path) -> None:
    (person,) = predictor(file)
    assert person.names == predictor.skeleton.joints and person.box_score is None
    assert person.joints.shape == (14, 2) and person.scores.shape == (14,)
    json = replace(person, box_score=0.25).to_json()
    assert json["box_score"] == 0.25 and list(json["joints"]) == list(person.names)


def test_threads_do_not_disturb_each_other(predictor: PosePredictor, people: Path) -> None:
    files = [people / "images" / f"im000{i}.jpg" for i in range(1, 9)]
    alone = [predictor(file)[0] for file in files]
    together: list[Person | None] = [None] * len(files)

    def work(index: int) -> None:
        for _ in range(5):
            (together[index],) = predictor(files[index])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(files))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(one, other) for one, other in zip(alone, together, strict=True))


def test_a_look_shows_what_the_network_saw(predictor: PosePredictor, file: Path) -> None:
    picture = read_image(file)
    (look,) = predictor.predict_with_heatmaps(predictor.locate(picture, [(2, 3, 50, 60)]))
    assert look.crop.shape == (64, 64, 3) and look.heatmaps.shape == (14, 16, 16)
    assert predictor.calibration is not None
    peaks = look.heatmaps.max((1, 2))
    assert np.array_equal(predictor.calibration(peaks), look.person.scores)
    assert same(look.person, predictor(picture, [(2, 3, 50, 60)])[0])


def test_runs_have_names(
    run: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to(run.parent)
    assert find_run(run.name) == Path("runs") / run.name
    monkeypatch.setenv("SOFTGATE_RUNS", str(run.parent))
    assert find_run(run.name) == run
    assert softgate_ext.PosePredictor.from_pretrained(run.name)(file)
    with pytest.raises(InputError, match="there is no folder absent"):
        PosePredictor.from_pretrained("absent")


@pytest.mark.slow
def test_importing_the_package_does_not_import_what_reads_pictures() -> None:
    check = "import sys, softgate_ext; print([m for m in ('cv2', 'PIL', 'safetensors') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_package_imports_the_predictor_when_asked() -> None:
    assert {"Person", "PosePredictor"} <= set(dir(softgate_ext)) & set(softgate_ext.__all__)
    with pytest.raises(AttributeError, match="no attribute 'PosePredict'"):
        _ = softgate_ext.PosePredict


@pytest.mark.parametrize("margin", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_margin_that_is_none(run: Path, margin: float) -> None:
    model, stored, _ = load_run(run)
    with pytest.raises(InputError, match="box_margin: got"):
        PosePredictor(model, replace(stored, box_margin=margin), "cpu")


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((0, 0, 0, 5), "positive width and height"),
        ((0, 0, 5, -1), "positive width and height"),
        ((0, 0, float("nan"), 5), "takes four numbers, x y width height"),
        ((100, 0, 5, 5), "lies outside the picture of 100 x 50"),
        ((0, -9, 5, 5), "lies outside"),
        ((1, 2, 3), "x y width height"),
        ("abcd", "x y width height"),
        ("1234", "x y width height"),
        (["1", "2", "3", "4"], "x y width height"),
        ([True] * 4, "x y width height"),
        pytest.param((0, 0, 10**400, 5), "x y width height", id="huge"),
        pytest.param((0, 0, 10**5000, 5), "thousands of digits", id="unprintable"),
        ((0, 0, 1e308, 1e308), "from 1 to 1000000 pixels"),
        ((0, 0, 1e-300, 1e-300), "from 1 to 1000000 pixels"),
        (None, "x y width height"),
    ],
    ids=str,
)
def test_boxes_that_are_none(box: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_box(box, 100, 50)


def test_the_folded_network_finds_the_same_joints(
    predictor: PosePredictor, run: Path, people: Path
) -> None:
    plain = PosePredictor.from_pretrained(run, device="cpu", folded=False)
    assert isinstance(predictor._infer.model, Folded)
    assert not isinstance(plain._infer.model, Folded)
    crops = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    images = to_input(crops, torch.device("cpu"))
    with torch.no_grad():
        pairs = zip(predictor._infer.model(images), plain._infer.model(images), strict=True)
        for got, wanted in pairs:
            torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
    (one,), (other,) = (p(people / "images" / "im0009.jpg") for p in (predictor, plain))
    assert np.abs(one.joints - other.joints).max() < 1e-2
