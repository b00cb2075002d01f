"""No path that a client names is opened: only what this server wrote for this visitor."""

import json
import os
import signal
from pathlib import Path

import pytest
from PIL import Image
from served_page import Served, served_by, started
from test_served import ask, file_data, get, join, upload

pytestmark = pytest.mark.slow
ME, OTHER = "a" * 32, "b" * 32


def test_a_picture_of_the_server_is_not_drawn(served: Served, tmp_path: Path) -> None:
    """Whatever the description says of itself; and the answer does not tell what exists."""
    picture = tmp_path / "private.png"
    Image.new("RGB", (50, 40)).save(picture)
    answers = set()
    places = (picture, tmp_path / "absent.png", tmp_path, served.files, "/etc/passwd", "")
    addresses = (f"{served.address}/favicon.ico", "http://example.invalid/a.png")
    for path in places + addresses:
        for more in ({}, {"is_stream": True}, {"is_stream": False}, {"is_file": True}):
            answers.add(join(served, file_data(str(path), **more)))
    answers.add(join(served, file_data("", url="data:image/png;base64,AAAA")))
    assert answers == {(400, b"Not what the page sends.")}


def test_an_upload_is_its_owners(served: Served, picture: Path) -> None:
    _, path = upload(served, "im0001.jpg", picture.read_bytes(), ME)
    assert ask(served, file_data(path), ME)["success"]
    assert get(served, f"/gradio_api/file={path}", ME)[0] == 200
    assert join(served, file_data(path), OTHER)[0] == 400
    assert get(served, f"/gradio_api/file={path}", OTHER)[0] == 404
    # The same picture of another visitor is another file.
    assert upload(served, "im0001.jpg", picture.read_bytes(), OTHER)[1] != path


def test_what_lies_in_the_place_of_an_upload_is_none(served: Served, picture: Path) -> None:
    _, path = upload(served, "im0001.jpg", picture.read_bytes(), ME)
    folder = Path(path).parent
    os.symlink(picture, folder / "link.jpg")
    os.mkfifo(folder / "pipe.jpg")
    for name in ("link.jpg", "pipe.jpg", "absent.jpg", "", "../im0001.jpg", "im0001.jpg/"):
        assert join(served, file_data(f"{folder}/{name}"), ME)[0] == 400, name
        assert get(served, f"/gradio_api/file={folder}/{name}", ME)[0] == 404, name


@pytest.mark.parametrize("name", ["../../a.png", "/etc/passwd", "..", "", "a\0b.png", "é" * 300])
def test_an_uploads_name_is_no_path(served: Served, name: str) -> None:
    status, path = upload(served, name.replace("\0", "%00"), b"no picture", ME)
    if status != 200:
        assert status == 400  # a part without a name is no file
    else:
        assert Path(path).parent.parent.parent == served.files and Path(path).is_file()


def test_unknown_keys_are_join(served: Served, picture: Path) -> None:
    _, path = upload(served, "im0001.jpg", picture.read_bytes(), ME)
    for key, value in (("is_stream", True), ("chunk", 1), ("b64", ""), ("data", "x")):
        assert join(served, file_data(path, **{key: value}), ME)[0] == 400, key
    for key, value in (("oauth_token", "x"), ("batched", True), ("request", {}), ("event_id", "x")):
        assert join(served, file_data(path), **{key: value})[0] == 400, key


def test_a_named_pipe_blocks_nobody(untrained: Path, tmp_path: Path, picture: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with started(untrained, tmp_path) as process:
        page = served_by(process, untrained, tmp_path)
        for _ in range(2):
            join(page, file_data(str(tmp_path / "pipe"), is_stream=True), ME)
        _, path = upload(page, "im0001.jpg", picture.read_bytes(), ME)
        assert json.dumps(ask(page, file_data(path), ME)).count("mean score")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0
