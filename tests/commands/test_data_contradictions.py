"""What `softgate data check` and `softgate train` print for files that contradict themselves."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from official import coco, write_coco
from PIL import Image
from rich.console import Console

from softgate_ext.cli.run import main
from softgate_ext.commands.data_check import check_dataset, drawn_crops
from softgate_ext.data.formats import recognise
from softgate_ext.errors import InputError
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.preflight import prepare
from softgate_ext.training.processes import Group

KEYPOINTS = [30, 20, 2, 60, 45, 1, 40, 30, 2, 50, 60, 2]


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Eight people, a picture each; the sixth is stated as it was before it was turned."""
    names = ["left_shoulder", "right_shoulder", "left_hip", "right_hip"]
    contents = coco([{"keypoints": KEYPOINTS, "image_id": 10 + i} for i in range(8)], images=8)
    contents["categories"][0].update(keypoints=names, skeleton=[[1, 2], [2, 9]])
    contents["annotations"][1]["keypoints"] = [1, None, 2]
    contents["images"][5].update(width=90, height=120)
    return write_coco(tmp_path / "dolls" / "annotations" / "dolls.json", contents)


def test_data_check_counts_and_names_what_is_odd(
    odd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tmp_path / "found.json"
    sheet = tmp_path / "sheet.png"
    assert main(["data", "check", str(odd), "--sheet", str(sheet), "--json", str(found)]) == 2
    said = capsys.readouterr()
    picture = odd.parent.parent / "images" / "000000000005.jpg"
    fault = (
        f"{picture} is 120 x 90 but the dataset states 90 x 120: it was turned after labelling, so that its joints "
        "lie elsewhere"
    )
    notes = [
        "1 limb that does not join two joints is ignored: [2, 9]",
        "1 annotation whose keypoints are not 12 finite numbers is left out: 101",
    ]
    for line in ("1 picture of another size than stated, whose people train, evaluate and cache "
                 "leave out:", fault, *notes):  # fmt: skip
        assert line in map(str.strip, said.out.splitlines())
    assert said.err.strip().endswith(
        "of 7 pictures 0 are missing, 0 broken and 1 of another size than stated; first, " + fault
    )
    facts = json.loads(found.read_text())
    assert facts["contradicted"] == {str(picture): fault}
    assert facts["splits"]["train"]["notes"] == notes and facts["splits"]["train"]["people"] == 7
    assert sheet.is_file()


def test_a_name_that_no_file_can_have_costs_itself(
    odd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["a" * 5000 + ".jpg", "a\0b.jpg", "a/" * 3000, "000000000000.jpg/2.jpg"]
    contents = json.loads(odd.read_text())
    for number, name in zip((2, 3, 4, 6), names, strict=True):
        contents["images"][number]["file_name"] = name
    odd.write_text(json.dumps(contents))
    found = tmp_path / "found.json"
    assert main(["data", "check", str(odd), "--sheet", "None", "--json", str(found)]) == 2
    facts = json.loads(found.read_text())
    assert facts["people"] == 7 and facts["pictures"] == 3 and not facts["broken"]
    assert len(facts["missing"]) == 4
    for name in names:
        assert any(path.endswith(name.rstrip("/")) for path in facts["missing"])
    with pytest.raises(InputError, match="4 images of 7 are missing, first "):
        recognise(odd).read()
    assert max(map(len, "".join(capsys.readouterr()).splitlines())) < 1000


def test_contradicted_people_are_drawn_first(odd: Path) -> None:
    Image.new("RGB", (120, 90), "red").save(odd.parent.parent / "images" / "000000000005.jpg")
    findings = check_dataset(recognise(odd), Console(quiet=True))
    for count, drawn in ((1, 1), (3, 3), (24, 7)):
        crops = drawn_crops(findings, count)
        assert len(crops) == drawn
        shares = [(crop == (254, 0, 0)).all(-1).mean() > 0.1 for crop in crops]
        assert shares == [True] + [False] * (drawn - 1)


def test_a_training_leaves_them_out_and_says_so(
    odd: Path, tiny: Callable[..., TrainConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    group = Group(torch.device("cpu"))
    train, watched, *_ = prepare(tiny(data=odd, holdout=2), None, group, Console())
    names = [path.name for path in (*train.image_paths, *watched.image_paths)]
    assert len(names) == 6 and not {"000000000001.jpg", "000000000005.jpg"} & set(names)
    said = capsys.readouterr().out
    assert said.count("is left out: 101") == 1 and said.count("1 sample is left out, because") == 1
    assert np.isfinite(train.joints).all()
