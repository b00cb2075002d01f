"""What the words of a command name: files, folders, patterns and cameras."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from softgate_ext.errors import InputError
from softgate_ext.prediction.sources import Source, find_sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "clip.mp4", "3"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".b.jpg").write_bytes(b"hidden")
    (tmp_path / "deep").mkdir()
    shutil.copy(tmp_path / "b.jpg", tmp_path / "deep" / "c.jpg")
    Image.new("RGB", (4, 4)).save(tmp_path / "deep" / "scan", "PNG")
    return tmp_path


def found(*words: str) -> list[Source]:
    sources, lost = find_sources(words)
    assert not lost
    return sources


def names(*words: str) -> list[str]:
    return [Path(str(source)).name for source in found(*words)]


def test_paths_folders_and_patterns(folder: Path) -> None:
    assert names(str(folder)) == ["a.PNG", "b.jpg", "clip.mp4"]
    patterns = f"{folder}/b.jpg", f"{folder}/*.???"
    assert names(*patterns) == ["b.jpg", "a.PNG", "clip.mp4", "notes.txt"]
    assert names(f"{folder}/**/*.jpg") == ["b.jpg", "c.jpg"]
    kinds = {source.kind for source in found(f"{folder}/clip.mp4", f"{folder}/notes.txt")}
    assert kinds == {"video", "picture"}


def test_of_a_folder_what_holds_or_is_called_a_picture_is_taken(folder: Path) -> None:
    (folder / "deep" / "boxes.json").write_text("[]")
    (folder / "deep" / "joints.mat").write_bytes(bytes(range(256)) * 20)
    (folder / "deep" / "deeper.jpg").mkdir()
    assert found(f"{folder}/deep") == [
        Source("picture", folder / "deep" / name) for name in ("c.jpg", "scan")
    ]


def test_numbers_are_cameras_unless_files_are_called_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert found("0", "3") == [Source("camera", 0), Source("picture", Path("3"))]
    assert Source("camera", 0).stem == "camera0"


def test_words_that_stand_for_nothing_cost_themselves(folder: Path) -> None:
    nothing = ["absent.jpg", f"{folder}/*.gif", str(folder / "-1")]
    sources, lost = find_sources([*nothing, f"{folder}/b.jpg", "a" * 300])
    assert sources == [Source("picture", folder / "b.jpg")]
    assert list(lost) == [*nothing, "a" * 300]
    for word in nothing:
        assert str(lost[word]).startswith(f"images: {word} matches no picture or video; give")
    assert str(lost["a" * 300]).startswith("images: cannot look up 'aaa")
    with pytest.raises(InputError, match="images: got none"):
        find_sources([])
