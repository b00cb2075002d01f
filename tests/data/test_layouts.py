"""Folders as annotation tools write them: which file is which part, and where its images are."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from official import coco
from tool_layouts import (
    LAYOUTS,
    PERSON,
    Layout,
    annotate,
    boxes_and_captions_beside,
    hrnet_mpii,
    roboflow,
)

from softgate_ext.cli import main
from softgate_ext.data.annotation_files import _holds_keypoints
from softgate_ext.data.formats import open_dataset, recognise
from softgate_ext.errors import InputError


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout[0].__name__)
def test_a_tools_folder_is_read_as_it_is(
    tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, train, test, first = layout
    write(tmp_path / "set")
    source = recognise(tmp_path / "set")
    assert source.splits == (("train", "test") if test else ("train",))
    people = source.read("train")
    assert len(people) == train and people.image_paths[0] == tmp_path / "set" / first
    if test:
        assert len(source.read("test")) == test and len(source.read("all")) == train + test
    else:
        with pytest.raises(InputError, match="split 'test' of .* is empty"):
            source.read("test")
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", "set"]) == 0


def test_of_three_parts_the_validation_is_measured_and_the_other_named(tmp_path: Path) -> None:
    roboflow(tmp_path)
    people = open_dataset(tmp_path, "test")
    assert [path.name for path in people.image_paths] == ["valid.jpg"]
    assert people.notes == ("test not read; --train-folder and --test-folder choose other parts",)
    hrnet_mpii(tmp_path / "mpii")
    (note,) = open_dataset(tmp_path / "mpii", "train").notes
    assert note.startswith("test.json, trainval.json not read")


def test_files_without_key_points_are_no_candidates(tmp_path: Path) -> None:
    boxes_and_captions_beside(tmp_path)
    note = "captions_train.json, captions_val.json, instances_train.json, instances_val.json not "
    assert open_dataset(tmp_path, "test").notes == (f"{note}read: no key points",)
    for part in ("captions", "instances"):
        (tmp_path / "annotations" / f"{part}_train.json").unlink()
    (tmp_path / "annotations" / "val.json").unlink()
    source = recognise(tmp_path)
    assert source.splits == ("train",) and source.read().annotation_file is not None
    assert source.notes == ("captions_val.json, instances_val.json not read: no key points",)
    (tmp_path / "annotations" / "train.json").unlink()
    with pytest.raises(InputError, match="got captions_val.json, instances_val.json; give one"):
        recognise(tmp_path)


def test_key_points_are_found_wherever_they_are(tmp_path: Path) -> None:
    """Across the seam of what is read at once, gzipped, and in a damaged file as the reader says."""
    for name in ("train.json", "val.JSON.GZ"):
        text = json.dumps({"images": [{"id": i} for i in range(9)], **coco([PERSON])})
        start = text.index('"keypoints"')
        for shift in range(0, 14, 3):
            padded = text[:1] + " " * ((1 << 20) - start - shift) + text[1:]
            data = padded.encode()
            (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("GZ") else data)
            assert _holds_keypoints(tmp_path / name)
    (tmp_path / "val.JSON.GZ").write_bytes(gzip.compress(b"[]" * 99)[:-9])
    assert _holds_keypoints(tmp_path / "val.JSON.GZ")


def test_a_part_in_its_folder_is_that_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roboflow(tmp_path)
    for part, split in (("train", "train"), ("valid", "test"), ("test", "test")):
        for path in (tmp_path / part, tmp_path / part / "_annotations.coco.json"):
            assert recognise(path).splits == (split,)
            assert [file.stem for file in open_dataset(path, split).image_paths] == [part]
    monkeypatch.chdir(tmp_path / "valid")
    assert recognise("_annotations.coco.json").splits == ("test",)


def test_several_files_of_a_part_are_refused(tmp_path: Path) -> None:
    for name in ("ap10k-train-split1", "ap10k-train-split2", "ap10k-val-split1"):
        annotate(tmp_path / f"annotations/{name}.json", tmp_path / "data", ["1.jpg"])
    with pytest.raises(InputError, match="got ap10k-train-split1.json, ap10k-train-split2.json"):
        recognise(tmp_path)


def test_many_files_are_recognised_by_their_beginnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = json.dumps(coco([PERSON]))
    for part in ("train", "val"):
        folder = tmp_path / "annotations" / part
        folder.mkdir(parents=True)
        for i in range(50):
            (folder / f"{i}.json").write_text(text)

    def refuse(*_: Any) -> None:
        raise AssertionError("the whole file is read")

    monkeypatch.setattr("softgate_ext.data.coco.read_json", refuse)
    assert recognise(tmp_path).splits == ("train", "test")
