"""`softgate data check` and `softgate data cache`, as a user runs them."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import pytest
from official import coco, point, rect, write_coco, write_flic, write_mpii

from softgate_ext.cli.run import main, parse
from softgate_ext.data.synthetic import draw_people


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_people(tmp_path_factory.mktemp("drawn") / "people", 6, seed=5, image_size=80)


def test_a_whole_dataset(people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet, found = tmp_path / "sheet.png", tmp_path / "found.json"
    words = ["data", "check", people, "--sheet", sheet, "--people", 5, "--json", found]
    assert main([str(word) for word in words]) == 0
    said = capsys.readouterr().out
    assert "Leeds Sports Pose (lsp)" in said
    assert "6 people in 6 whole pictures (the complete release has 2000)" in said
    assert "left ankle" in said and f"contact sheet: {sheet}" in said
    facts = json.loads(found.read_text())
    assert facts["splits"]["train"]["people"] == facts["splits"]["test"]["people"] == 3
    assert facts["missing"] == [] and facts["broken"] == {}
    height, width, _ = cv2.imread(str(sheet)).shape
    assert width == 4 + 5 * (192 + 4) and height == 4 + 192 + 4


def test_what_is_missing_and_broken_is_named(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(people, tmp_path / "people")
    (root / "images" / "im0002.jpg").unlink()
    broken = root / "images" / "im0005.jpg"
    broken.write_bytes(broken.read_bytes()[:-200])
    found = tmp_path / "found.json"
    sheet = tmp_path / "sheet.png"
    assert main(["data", "check", str(root), "--sheet", str(sheet), "--json", str(found)]) == 2
    said = capsys.readouterr()
    assert "1 picture missing, 1 broken:" in said.out and sheet.is_file()
    assert "of 6 pictures 1 is missing and 1 broken; first, image" in said.err
    assert len(said.err.splitlines()) == 1
    facts = json.loads(found.read_text())
    assert facts["pictures"] == 4
    assert [Path(path).name for path in facts["missing"]] == ["im0002.jpg"]
    assert [Path(path).name for path in facts["broken"]] == ["im0005.jpg"]


def test_every_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    person = rect([point(0, 7, 7), point(9, 60, -5)])
    nowhere = rect([point(0, 7, 7)], scale=float("nan"))
    mpii = write_mpii(tmp_path / "mpii", [("000000001.jpg", [person, person, nowhere], 1)])
    dolls = write_coco(
        tmp_path / "coco" / "annotations" / "dolls.json",
        coco([{"keypoints": [5, 6, 2, 7, 8, 1, 0, 0, 0]}]),
    )
    for path, words in (
        (mpii, ["MPII Human Pose (mpii)", "1 picture with several people", "2 head boxes",
                "1 person without position or scale is left out", "no test: split 'test'"]),
        (write_flic(tmp_path / "flic"), ["Cinema (FLIC) (flic)", "2 torso boxes", "left eye"]),
        (dolls, ["COCO's form (coco)", "right hand"]),
    ):  # fmt: skip
        assert main(["data", "check", str(path), "--sheet", "None"]) == 0
        said = " ".join(capsys.readouterr().out.split())
        for word in words:
            assert word in said


@pytest.fixture
def above(people: Path, tmp_path: Path) -> Path:
    """A folder above two datasets and something else."""
    root = tmp_path / "above"
    shutil.copytree(people, root / "drawn")
    write_flic(root / "films")
    (root / "photos").mkdir()
    (root / "photos" / "about.json").write_text("{}")
    return root


def test_a_folder_above_several_datasets(
    above: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "check", str(above), "--sheet", str(tmp_path / "sheet.png")]
    assert main([*words, "--json", str(tmp_path / "found.json")]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{above} lies above 2 datasets: drawn, films\n")
    assert f"(lsp) in {above / 'drawn'}" in said and f"(flic) in {above / 'films'}" in said
    assert (tmp_path / "sheet_drawn.png").is_file() and (tmp_path / "sheet_films.png").is_file()
    facts = json.loads((tmp_path / "found.json").read_text())
    assert [found["format"] for found in facts["datasets"]] == ["lsp", "flic"]


def test_what_is_damaged_does_not_hide_the_others(
    above: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (above / "cut").mkdir()
    (above / "cut" / "joints.mat").write_bytes(b"MATLAB 5.0")
    (above / "films" / "images" / "00001-film-00000001.jpg").unlink()
    assert main(["data", "check", str(above), "--sheet", "None"]) == 2
    said = capsys.readouterr()
    assert "(lsp) in" in said.out and "1 picture missing" in said.out
    (line,) = said.err.splitlines()
    assert str(above / "cut" / "joints.mat") in line and "1 is missing" in line


def test_a_training_takes_one_dataset(above: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(above), "--out", str(above / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "data: got" in line and "lies above 2 datasets" in line
    assert "takes one of them: drawn (lsp), films (flic)" in line
    shutil.rmtree(above / "films")
    assert main(["train", str(above), "--out", str(above / "run")]) == 2
    assert f"did you mean {above / 'drawn'}?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["{}/absent"], "does not exist"),
        (["{}"], "is not a known dataset"),
        (["{}", "--people", "0"], "people: got 0"),
        (["{}", "--sheet", "{}"], "sheet: got"),
        (["{}", "--json", "{}/no/where.json"], "json: got"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert main(["data", "check", *(word.format(tmp_path) for word in words)]) == 2
    said = capsys.readouterr()
    assert sentence in said.err and len(said.err.splitlines()) == 1 and said.out == ""
    assert list(tmp_path.iterdir()) == []


def test_training_takes_several_datasets() -> None:
    config = parse(["train", "a", "--extra", "b", "c", "--cache", "d", "--out", "e"])
    assert (config.data, config.extra, config.cache) == (
        Path("a"),
        (Path("b"), Path("c")),
        Path("d"),
    )


def test_crops_are_made_and_timed(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--image-size", "64", "--seconds", "0.1", "--workers", "1"]
    assert main(["data", "cache", str(people), "--cache", str(tmp_path), *options]) == 0
    first, crops, pictures = capsys.readouterr().out.splitlines()
    assert "3 crops" in first and len(list(tmp_path.iterdir())) == 1
    assert crops.startswith("from the crops: ") and pictures.startswith("from the pictures: ")
    assert int(crops.split()[3]) > 0


def test_a_bad_value_of_the_cache_is_one_sentence(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option, value in (("--workers", "-1"), ("--image-size", "0"), ("--scale", "1")):
        assert main(["data", "cache", str(people), "--cache", str(tmp_path), option, value]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_left_and_right_are_said_and_can_be_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = coco([{"keypoints": [5, 6, 2, 7, 8, 1, 0, 0, 0, 9, 9, 2]}])
    contents["categories"][0].update(keypoints=["eyeL", "eyeR", "L Paw", "paw2"])
    path = write_coco(tmp_path / "coco" / "annotations" / "dolls.json", contents)
    words = ["data", "check", str(path), "--sheet", "None", "--json", str(tmp_path / "found.json")]

    def found() -> tuple[str, dict[str, Any]]:
        said = " ".join(capsys.readouterr().out.split())
        return said, json.loads((tmp_path / "found.json").read_text())["splits"]["train"]

    assert main(words) == 0
    said, facts = found()
    assert "a mirror image exchanges eyer with eyel; on one side only: l paw" in said
    assert facts["flip_pairs"] == [["eyer", "eyel"]] and facts["unpaired"] == ["l paw"]
    assert main([*words, "--swap", "L Paw", "paw2"]) == 0
    said, facts = found()
    assert "a mirror image exchanges eyer with eyel, paw2 with l paw" in said
    assert facts["flip_pairs"] == [["eyer", "eyel"], ["paw2", "l paw"]] and not facts["unpaired"]
    assert main([*words, "--swap", "L Paw", "paw3"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "swap: got L Paw paw3; takes pairs of joints of doll" in line
