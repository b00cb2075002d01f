"""Links, pipes, devices and paths that lead out of a dataset are refused with one sentence and exit code 2."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from official import coco, write_coco

from softgate_ext.cli import run as command
from softgate_ext.cli.run import main
from softgate_ext.data.formats import open_dataset
from softgate_ext.data.images import page_count, read_image
from softgate_ext.errors import InputError
from softgate_ext.files.atomic import write_text
from softgate_ext.files.paths import real_path
from softgate_ext.files.reading import read_json
from softgate_ext.files.tensors import read_tensors
from softgate_ext.prediction.video import VideoReader


@pytest.mark.parametrize("below", ["", "run"])
@pytest.mark.parametrize(
    "words",
    [
        "train {people} --out {loop}",
        "train {people} --out {out} --cache {loop} --device cpu --image-size 64",
        "train --out {loop} --resume",
        "predict {run} {people}/images/im0001.jpg --out {loop}",
        "gates {run} --prune 0.1 --out {loop}",
        "synth {loop} --count 2",
        "demo --out {loop}",
        "data cache {people} --cache {loop}",
        "data check {loop}",
        "evaluate {loop} {people}",
    ],
)
def test_a_link_to_itself(
    words: str, below: str, run: Path, people: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    places = {"run": run, "people": people, "loop": loop / below, "out": tmp_path / "out"}
    assert str(loop) in refused(*(word.format(**places) for word in words.split()))
    assert os.listdir(tmp_path) == ["loop"]


def test_real_paths_end_where_links_do(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to(tmp_path)
    assert real_path(tmp_path / "link" / "loop") == real_path(tmp_path) / "loop"
    sources = Path(command.__file__).parents[1].rglob("*.py")
    assert not [path for path in sources if ".resolve()" in path.read_text(encoding="utf-8")
                and "__file__).resolve()" not in path.read_text(encoding="utf-8")]  # fmt: skip


def special(path: Path, kind: str) -> Path:
    if kind == "a named pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize("kind", ["a named pipe", "a device"])
def test_pipes_and_devices_are_not_waited_for(
    kind: str, run: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copy(people / "images/im0001.jpg", folder / "good.jpg")
    picture = special(folder / "odd.jpg", kind)
    assert main(["predict", str(run), str(folder), "--out", str(tmp_path / "a")]) == 3
    assert (
        f"odd.jpg is {kind}, which could keep the program waiting for ever"
        in capsys.readouterr().err
    )
    assert main(["predict", str(run), str(picture), "--out", str(tmp_path / "b")]) == 2
    assert page_count(picture) == 1
    for read in (VideoReader, read_json, read_image):
        with pytest.raises(InputError, match=f"is {kind}"):
            read(picture)
    with pytest.raises(InputError, match=f"it is {kind}"):
        read_tensors(picture, "init")
    with pytest.raises(InputError, match=f"which is {kind}"):
        write_text(picture, "")
    assert not picture.is_file()


@pytest.mark.parametrize("kind", ["a named pipe", "a device"])
@pytest.mark.parametrize(
    "words",
    [
        "predict {run} {people}/images/im0001.jpg --boxes {odd} --out {out}",
        "evaluate --reference {odd}",
        "data check {folder}",
        "data check {people} --json {odd}",
        "evaluate {run} {pictures}",
        "train {pictures} --out {out} --device cpu",
    ],
)
def test_pipes_and_devices_are_refused(
    kind: str, words: str, run: Path, people: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "folder").mkdir()
    special(tmp_path / "folder" / "a.json", kind)
    special(tmp_path / "folder" / "data.yaml", kind)
    pictures = Path(shutil.copytree(people, tmp_path / "pictures"))
    for number in (2, 12):  # of the train part and of the test part
        (pictures / f"images/im{number:04d}.jpg").unlink()
        special(pictures / f"images/im{number:04d}.jpg", kind)
    places = {"run": run, "people": people, "folder": tmp_path / "folder", "pictures": pictures}
    places |= {"odd": special(tmp_path / "odd.json", kind), "out": tmp_path / "out"}
    refused(*(word.format(**places) for word in words.split()))
    assert not (tmp_path / "out").exists()


def dolls(tmp_path: Path, name: str) -> Path:
    """A file in COCO's form, in a folder `dolls`, whose picture, of another folder, has this name."""
    entries = [{"keypoints": [20, 20, 2, 50, 20, 2, 22, 60, 2]}] * 4
    file = write_coco(tmp_path / "dolls" / "annotations" / "dolls.json", coco(entries))
    text = json.loads(file.read_text())
    for image in text["images"]:
        picture = image["file_name"]
        image["file_name"] = name.format(tmp_path=tmp_path)
    file.write_text(json.dumps(text))
    (found,) = set(tmp_path.rglob(picture)) or {None}
    assert found is not None
    (tmp_path / "secret").mkdir()
    shutil.move(found, tmp_path / "secret" / "a.jpg")
    return file


@pytest.mark.parametrize(
    "name",
    ["../../secret/a.jpg", "{tmp_path}/secret/a.jpg", "secret/a.jpg", "x/../../../secret/a.jpg"],
)
def test_paths_in_annotation_files_stay_inside(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = dolls(tmp_path, name)
    out = str(tmp_path / "sheet.png")
    for path in (file, file.parents[1]):
        assert main(["data", "check", str(path), "--sheet", out]) == 2
        assert "secret" in capsys.readouterr().err and not os.path.exists(out)
    if not name.startswith("x"):
        assert main(["data", "check", str(file), "--sheet", out, "--allow-outside"]) == 0
        with pytest.raises(InputError):
            open_dataset(file, "all")
        assert len(open_dataset(file, "all", allow_outside=True))


@pytest.mark.parametrize("entry", ["path", "train"])
def test_paths_in_yaml_stay_inside(
    entry: str, people: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    file = tmp_path / "dolls" / "data.yaml"
    file.parent.mkdir()
    contents = {"kpt_shape": [3, 3], "path": ".", "train": "images", "val": "images"}
    if entry == "path":
        contents["path"] = str(people)
    else:
        contents["train"] = contents["val"] = str(people / "images")
    file.write_text(json.dumps(contents))
    line = refused("data", "check", file)
    assert "lies outside of the dataset" in line and "--allow-outside" in line
    assert "no sample in the label files" in refused("data", "check", file, "--allow-outside")
