"""What the words of a command stand for."""

import shutil
from pathlib import Path

import pytest

from softgate_ext.errors import InputError
from softgate_ext.prediction.sources import Source, find_sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "clip.mp4", "notes.txt", "3"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "deep").mkdir()
    shutil.copy(tmp_path / "b.jpg", tmp_path / "deep" / "c.jpg")
    return tmp_path


def names(sources: list[Source]) -> list[str]:
    return [Path(str(source)).name for source in sources]


def test_paths_folders_and_patterns(folder: Path) -> None:
    assert names(find_sources([str(folder)])) == ["a.PNG", "b.jpg", "clip.mp4"]
    assert names(find_sources([f"{folder}/b.jpg", f"{folder}/*.???"])) == [
        "b.jpg",
        "a.PNG",
        "clip.mp4",
        "notes.txt",
    ]
    assert names(find_sources([f"{folder}/**/*.jpg"])) == ["b.jpg", "c.jpg"]
    kinds = {source.kind for source in find_sources([f"{folder}/clip.mp4", f"{folder}/notes.txt"])}
    assert kinds == {"video", "picture"}


def test_numbers_are_cameras_unless_files_are_called_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert find_sources(["0", "3"]) == [Source("camera", 0), Source("picture", Path("3"))]
    assert Source("camera", 0).stem == "camera0"


def test_words_that_stand_for_nothing(folder: Path) -> None:
    for nothing in ("absent.jpg", f"{folder}/*.gif", str(folder / "-1")):
        with pytest.raises(InputError, match="stands for no picture"):
            find_sources([nothing])
    with pytest.raises(InputError, match="images: got none"):
        find_sources([])
    with pytest.raises(InputError, match="cannot look up 'aaa"):
        find_sources(["a" * 300])
