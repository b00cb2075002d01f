"""Parts that a user names with --train-folder and --test-folder."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tool_layouts import annotate, mpii_people, posetrack, roboflow

from softgate_ext.cli import main
from softgate_ext.data.formats import open_dataset, recognise
from softgate_ext.data.synthetic import draw_people
from softgate_ext.errors import InputError
from softgate_ext.evaluation.evaluate import evaluate
from softgate_ext.evaluation.evaluate_config import EvalConfig
from softgate_ext.evaluation.joint_files import read_predictions, write_predictions
from softgate_ext.runs.train_config import TrainConfig
from softgate_ext.training.people import split_people


def test_parts_that_only_the_user_can_tell(tmp_path: Path) -> None:
    for name in ("first", "second"):
        annotate(tmp_path / f"{name}.json", tmp_path / "images", [f"{name}.jpg"])
    with pytest.raises(InputError, match="got first.json, second.json; .* with --train-folder and"):
        recognise(tmp_path)
    named = {"train_folder": Path("second.json"), "test_folder": tmp_path / "first.json"}
    source = recognise(tmp_path, **named)
    for split, name in (("train", "second"), ("test", "first")):
        assert [path.stem for path in source.read(split).image_paths] == [name]
    with pytest.raises(
        InputError, match="test_folder: got first.json, which train_folder names too; takes"
    ):
        recognise(tmp_path, "data", Path("first.json"), Path("first.json"))
    with pytest.raises(InputError, match="train_folder: got absent, which does not exist; takes"):
        recognise(tmp_path, "data", Path("absent"))


def test_one_named_part_leaves_the_other(tmp_path: Path) -> None:
    roboflow(tmp_path)
    source = recognise(tmp_path, test_folder=Path("test"))
    assert source.splits == ("train", "test")
    assert [path.stem for path in source.read("test").image_paths] == ["test"]
    assert [path.stem for path in source.read("train").image_paths] == ["train"]
    note = "valid not read; --train-folder and --test-folder choose other parts"
    assert source.notes == (note,) and source.read("train").notes == (note,)
    source = recognise(tmp_path, train_folder=Path("test"))
    assert source.notes == (note.replace("valid", "train"),)


def test_commands_take_named_parts_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    roboflow(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    parts = ["--train-folder", "valid", "--test-folder", "test"]
    assert main(["data", "check", "set", "--json", "found.json", *parts]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert {name: split["people"] for name, split in found["splits"].items()} == {
        "train": 1, "test": 1,
    }  # fmt: skip
    absent = ["--train-folder", "absent"]
    capsys.readouterr()
    for command in (
        ["data", "check", "set"], ["train", "set", "--out", "run"], ["evaluate", "run", "set"],
        ["data", "cache", "set", "--cache", "crops"],
    ):  # fmt: skip
        assert main([*command, *absent]) == 2
        assert "train_folder: got absent, which does not exist" in capsys.readouterr().err


def test_a_training_and_an_evaluation_are_about_the_named_parts(tmp_path: Path) -> None:
    for name, count in (("first", 5), ("second", 4)):
        mpii_people(tmp_path / "mpii" / f"{name}.json", tmp_path / "mpii", "1.jpg", count)
    parts = {"train_folder": Path("first.json"), "test_folder": Path("second.json")}
    train, watched = split_people(TrainConfig(tmp_path / "mpii", tmp_path / "run", **parts))
    assert (len(train), len(watched)) == (5, 4)
    predictions = tmp_path / "joints.npz"
    np.savez(predictions, preds=np.full((4, 16, 2), 20.0))
    for changes, people in (({}, 4), ({"split": "all"}, 9)):
        np.savez(predictions, preds=np.full((people, 16, 2), 20.0))
        found = evaluate(
            EvalConfig(data=tmp_path / "mpii", predictions=predictions, **parts, **changes)
        )
        assert found.people == people


def refused(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(list(words)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_part_is_not_the_other_one_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    roboflow(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    for command in (["data", "check", "set"], ["train", "set", "--out", "run"]):
        for place in ("train", "train/_annotations.coco.json", "."):
            line = refused([*command, "--test-folder", place], capsys)
            assert (
                f"test_folder: got {place}, which is the train part of set; takes another folder or file"
                in line
            )
        line = refused([*command, "--train-folder", "valid"], capsys)
        assert (
            "train_folder: got valid, which is the test part of set; takes another folder or file"
            in line
        )
    assert not (tmp_path / "run").exists()


def test_extra_people_are_not_those_of_a_named_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    roboflow(tmp_path / "set")
    annotate(tmp_path / "more.json", tmp_path / "images", ["more.jpg"])
    monkeypatch.chdir(tmp_path)
    words = ["train", "set", "--out", "run", "--extra", "more.json"]
    for part in ("--train-folder", "--test-folder"):
        line = refused([*words, part, str(tmp_path / "more.json")], capsys)
        assert "extra: got more.json, which data, train_folder, test_folder or extra names" in line
    # The part that is not read is no part of the training.
    config = TrainConfig(Path("set"), Path("run"), Path("valid"), Path("test"))
    config.extra = (Path("set"),)
    train, watched = split_people(config)
    assert [path.stem for path in train.image_paths] == ["valid", "train"]
    assert [path.stem for path in watched.image_paths] == ["test"]


def test_pictures_in_both_parts_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        annotate(tmp_path / "set" / f"{name}.json", tmp_path / "set" / "images", ["1.jpg"])
    (tmp_path / "link").symlink_to(tmp_path / "set")
    parts = {
        "train_folder": tmp_path / "set" / "first.json",
        "test_folder": tmp_path / "link" / "second.json",
    }
    told = (
        "1 picture is in the train part and in the test part, so that results are better than on "
        f"new pictures; the first is {tmp_path.resolve() / 'set' / 'images' / '1.jpg'}"
    )
    _, watched = split_people(TrainConfig(tmp_path / "set", tmp_path / "run", **parts))
    assert watched.notes == (told,)
    np.savez(tmp_path / "joints.npz", preds=np.full((1, 3, 2), 20.0))
    config = EvalConfig(data=tmp_path / "set", predictions=tmp_path / "joints.npz", **parts)
    assert told in evaluate(config).notes
    monkeypatch.chdir(tmp_path)
    words = [f"--{name.replace('_', '-')}={place}" for name, place in parts.items()]
    assert main(["data", "check", "set", *words]) == 0
    assert capsys.readouterr().out.count(told) == 1


def test_what_is_not_read_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    roboflow(tmp_path / "set")
    annotate(tmp_path / "more.json", tmp_path / "images", ["more.jpg"])
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", "set"]) == 0
    assert capsys.readouterr().out.count("test not read") == 1
    for extra in ((), (Path("more.json"),)):
        people = split_people(TrainConfig(Path("set"), Path("run"), extra=extra))
        notes = [note for part in people for note in part.notes if "test not read" in note]
        assert len(notes) == 1


def test_notes_of_two_files_stay_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may have the same words, of the same ids."""
    roboflow(tmp_path / "set")
    for part in ("train", "valid"):
        file = tmp_path / "set" / part / "_annotations.coco.json"
        contents = json.loads(file.read_text())
        contents["annotations"].append({**contents["annotations"][0], "id": 7, "bbox": [1]})
        file.write_text(json.dumps(contents))
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", "set"]) == 0
    assert capsys.readouterr().out.count("1 annotation whose bbox is not 4 finite numbers") == 2


def test_people_of_several_files_keep_their_ids_and_places(tmp_path: Path) -> None:
    posetrack(tmp_path)
    files = sorted((tmp_path / "annotations").rglob("*.json"))
    for number, file in enumerate(files):
        contents = json.loads(file.read_text())
        for kind, key in (("images", "id"), ("annotations", "id"), ("annotations", "image_id")):
            for entry in contents[kind]:
                entry[key] += 1000 * number
        file.write_text(json.dumps(contents))
    source = recognise(tmp_path)
    people = source.read("all")
    assert people.ids is not None and people.ids.tolist() == [[10, 100], [1010, 1100], [2010, 2100]]
    assert people.persons is not None and people.persons.tolist() == [[0, 0], [1, 0], [2, 0]]
    path = tmp_path / "joints.json"
    write_predictions(
        path, people.joints[::-1].astype(np.float64), np.ones((3, 3)), people.subset([2, 1, 0])
    )
    assert "image_id" in path.read_text()
    found = read_predictions(path, people)
    np.testing.assert_array_equal(found.joints, people.joints)


def test_ids_that_stand_for_two_are_left_out(tmp_path: Path) -> None:
    """Each file counts from 1."""
    posetrack(tmp_path)
    people = recognise(tmp_path).read("all")
    assert people.ids is None and people.persons is not None
    file = tmp_path / "annotations" / "val" / "3_mpii_test.json"
    contents = json.loads(file.read_text())
    contents["annotations"][0]["id"] = 777
    file.write_text(json.dumps(contents))
    people = open_dataset(tmp_path, "train")
    assert people.ids is None  # both of its files have an annotation 100 in an image 10
    file = tmp_path / "annotations" / "train" / "2_mpii_test.json"
    contents = json.loads(file.read_text())
    contents["annotations"][0]["id"] = 555
    file.write_text(json.dumps(contents))
    people = recognise(tmp_path).read("all")
    assert people.ids is not None and people.ids.tolist() == [[None, 100], [None, 555], [None, 777]]
    path = tmp_path / "joints.npz"
    write_predictions(path, people.joints.astype(np.float64), np.ones((3, 3)), people)
    np.testing.assert_array_equal(read_predictions(path, people).joints, people.joints)


def test_gates_are_measured_on_the_named_parts(
    run: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "pruned")
    words = ["gates", str(run), "--prune", "0.1", "--out", out, "--device", "cpu"]
    line = refused([*words, "--test-folder", str(people)], capsys)
    assert "test_folder: got it without data, which it is a part of; give data too" in line
    line = refused([*words, "--data", str(people), "--test-folder", "absent"], capsys)
    assert "test_folder: got absent, which does not exist" in line
    assert not (tmp_path / "pruned").exists()
    other = draw_people(tmp_path / "other", 6, seed=9, image_size=80)
    figures = []
    for more in ([], ["--test-folder", str(other)]):
        found = tmp_path / "found.json"
        target = str(tmp_path / f"pruned{len(more)}")
        named = ["gates", str(run), "--prune", "0.1", "--out", target, "--device", "cpu"]
        assert main([*named, "--data", str(people), *more, "--json", str(found)]) == 0
        figures.append(json.loads(found.read_text())["pruned"]["pck"])
    assert figures[0] != figures[1]
