"""Files that are written completely or not at all."""

import math
import os
from pathlib import Path

import pytest

from softgate_ext.errors import InputError
from softgate_ext.files.atomic import remove_leftovers, replacing, write_json, write_text
from softgate_ext.files.folders import check_folder, check_targets, make_folder
from softgate_ext.files.reading import read_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_the_new_file_appears_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="out: cannot write to the folder"):
        make_folder(file / "run")
    with pytest.raises(InputError, match="cannot write"):
        write_text(file / "run" / "log", "text")


def test_looking_creates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_folder(tmp_path / "a" / "b")
    check_targets(json=tmp_path / "a.json", png=tmp_path / "a.png", other=None)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="out: cannot write to the folder .*Not a directory"):
        check_folder(tmp_path / "file" / "run")
    for target in (tmp_path, tmp_path / "a" / "b.json"):
        with pytest.raises(InputError, match="json: got .* takes a file in a folder that exists"):
            check_targets(json=target)
    monkeypatch.setattr(os, "access", lambda *_: False)  # a folder that may only be read
    with pytest.raises(InputError, match="cache: cannot write to the folder .*Permission denied"):
        check_folder(tmp_path / "a", "cache")
    with pytest.raises(InputError, match="json: got .* that can be written to"):
        check_targets(json=tmp_path / "a.json")
    assert os.listdir(tmp_path) == ["file"]


def test_two_files_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match="png: got .*a, which json names too; takes another file"):
        check_targets(json=tmp_path / "a", png=tmp_path / "link" / "a")


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    for name in (".model.safetensors.123.tmp", "model.safetensors", ".hidden", ".notes.1.tmp"):
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path, ["model.safetensors"])
    assert sorted(os.listdir(tmp_path)) == [".hidden", ".notes.1.tmp", "model.safetensors"]


def test_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [1, None]})
    assert read_json(tmp_path / "a.json") == {"a": [1, None]}
    long = "9" * 5000  # more digits than Python reads
    (tmp_path / "a.json").write_text(f"[{long}, -{long}, 7, {'1' * 400}]")
    assert read_json(tmp_path / "a.json") == [math.inf, -math.inf, 7, int("1" * 400)]
    (tmp_path / "a.json").write_text(f"[{long}, ")
    with pytest.raises(InputError, match="not valid JSON"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(InputError, match="not valid JSON"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not valid JSON"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="^boxes: .*not valid JSON"):
        read_json(tmp_path / "a.json", "boxes")
    with pytest.raises(InputError, match="cannot read"):
        read_json(tmp_path / "absent.json")
