"""The page by HTTP: what is answered, and what is out of reach."""

import http.client
import json
import os
import re
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from served_page import Served

from softgate_ext.errors import InputError
from softgate_ext.page import server
from softgate_ext.page.serve_config import ServeConfig

ME = "0" * 32


def get(served: Served, path: str, visitor: str = ME) -> tuple[int, bytes]:
    """The answer to a path that is sent as it stands."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    connection.putrequest("GET", path, skip_host=False)
    connection.putheader("Cookie", f"softgate={visitor}")
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read()


def post(served: Served, path: str, body: bytes, kind: str, visitor: str = ME) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    headers = {"Content-Type": kind, "Cookie": f"softgate={visitor}"}
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def upload(served: Served, name: str, data: bytes, visitor: str = ME) -> tuple[int, Any]:
    head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
    body = head.encode() + b"Content-Type: image/jpeg\r\n\r\n" + data + b"\r\n--b--\r\n"
    kind = "multipart/form-data; boundary=b"
    status, answer = post(served, "/gradio_api/upload", body, kind, visitor)
    return status, json.loads(answer)[0] if status == 200 else answer.decode()


def join(served: Served, data: Any, visitor: str = ME, **more: Any) -> tuple[int, bytes]:
    """The queue's answer to a picture (Gradio's description of a file)."""
    body = json.dumps({"data": [data], "fn_index": 0, "session_hash": "s", **more})
    return post(served, "/gradio_api/queue/join", body.encode(), "application/json", visitor)


def ask(served: Served, data: Any, visitor: str = ME) -> dict[str, Any]:
    """The last message of the queue for a picture."""
    session = os.urandom(6).hex()
    status, answer = join(served, data, visitor, session_hash=session)
    assert status == 200, answer
    url = f"{served.address}/gradio_api/queue/data?session_hash={session}"
    with urllib.request.urlopen(url, timeout=60) as stream:
        for line in stream:
            message = json.loads(line[5:]) if line.startswith(b"data:") else {}
            if message.get("msg") == "process_completed":
                return message
    raise AssertionError("the queue ended without an answer")


def file_data(path: str, **more: Any) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


@pytest.mark.slow
def test_a_picture_is_answered(served: Served, picture: Path) -> None:
    status, path = upload(served, "im0001.jpg", picture.read_bytes())
    assert status == 200 and Path(path).is_relative_to(served.files)
    done = ask(served, file_data(path))
    assert done["success"]
    words, drawing, heatmaps, people, button = done["output"]["data"]
    width, height = Image.open(picture).size
    assert f"{width} x {height} pixels" in words and len(heatmaps) == 14
    assert len(people["people"][0]["joints"]) == 14
    for file in (drawing, heatmaps[0]["image"], button["value"]):
        status, data = get(served, f"/gradio_api/file={file['path']}")
        assert status == 200 and data == Path(file["path"]).read_bytes()
    assert json.loads(data) == people


@pytest.mark.slow
def test_the_same_picture_is_drawn_into_files_of_its_own(served: Served, picture: Path) -> None:
    """Or a user would be sent a file that is just being written for another."""
    answers = []
    for _ in range(2):
        _, path = upload(served, "im0001.jpg", picture.read_bytes())
        _, drawing, heatmaps, _, button = ask(served, file_data(path))["output"]["data"]
        files = [drawing["path"], heatmaps[3]["image"]["path"], button["value"]["path"]]
        assert all(Path(file).parent.parent == Path(path).parent for file in files)
        answers.append([Path(file).read_bytes() for file in files] + files)
    assert answers[0][:3] == answers[1][:3] and not set(answers[0][3:]) & set(answers[1][3:])


@pytest.mark.slow
def test_no_path_of_the_server_is_reachable(served: Served) -> None:
    secret = served.run / "config.json"
    marks = (b'"skeleton"', b"root:", b"[project]", b"softgate_ext")
    up = "/".join([".."] * 12)
    for path in (
        f"/gradio_api/file={secret}",
        f"/gradio_api/file={served.files}/{up}{secret}",
        f"/gradio_api/file={served.files}%2f{up.replace('/', '%2f')}{secret}",
        f"/gradio_api/file={served.files}/%252e%252e/{up}{secret}",
        f"/gradio_api/file=file://{secret}",
        f"/gradio_api/file={up}{secret}",
        f"/gradio_api/file/{secret}",
        f"/file={secret}",
        f"/file/{secret}",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=pyproject.toml",
        "/gradio_api/file=README.md",
        f"/gradio_api/file={served.address}/config",
        f"/gradio_api/proxy={served.address}/config",
        f"/static/{up}{secret}",
        f"/assets/{up}{secret}",
        f"/svelte/{up}{secret}",
        f"/static/{up.replace('/', '%2f')}{secret}",
        f"/custom_component/x/client/component/{up}{secret}",
        "/gradio_api/info",
        "/gradio_api/openapi.json",
        "/docs",
        "/monitoring",
    ):
        status, data = get(served, path)
        assert status in (403, 404), (path, status)
        assert not any(mark in data for mark in marks), path


@pytest.mark.slow
def test_the_page_does_not_say_where_things_are(served: Served) -> None:
    for path in ("/", "/config"):
        status, data = get(served, path)
        assert status == 200
        for where in (served.run, Path.cwd(), Path(server.__file__).parent):
            assert str(where).encode() not in data


@pytest.mark.slow
def test_limits(served: Served, tmp_path: Path) -> None:
    status, words = upload(served, "large.jpg", bytes(300_000))
    assert status == 413 and words == "The file is too large; give up to 0.2 megabytes."
    status, path = upload(served, "text.jpg", b"no picture")
    assert "is not a picture that can be read" in ask(served, file_data(path))["output"]["data"][0]
    Image.new("RGB", (1500, 1000)).save(tmp_path / "wide.png")
    status, path = upload(served, "wide.png", (tmp_path / "wide.png").read_bytes())
    words = ask(served, file_data(path))["output"]["data"][0]
    assert words.startswith("the picture has 1500 x 1000 pixels; give one of up to 1 megapixels")


@pytest.mark.slow
def test_users_at_the_same_time_get_their_own(served: Served, tmp_path: Path) -> None:
    def user(number: int) -> tuple[int, int]:
        file = tmp_path / f"{number}.png"
        Image.new("RGB", (40 + number, 50), (20 * number, 99, 99)).save(file)
        _, path = upload(served, file.name, file.read_bytes())
        people = ask(served, file_data(path))["output"]["data"][3]
        return people["width"], int(Path(people["file"]).stem)

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(user, range(12))) == [(40 + number, number) for number in range(12)]


def test_old_files_are_removed(tmp_path: Path) -> None:
    old, new, gates = (tmp_path / name for name in ("a/b/old.png", "c/new.png", "gates.png"))
    for file in (old, new, gates):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    for file in (old, gates):
        os.utime(file, (time.time() - 100,) * 2)
    server.remove_older(tmp_path, 60)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["c", "gates.png", "new.png"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_megabytes": 0.0}, "max_megabytes: got 0.0"),
        ({"max_megapixels": float("inf")}, "max_megapixels: got inf"),
        ({"keep_minutes": -1.0}, "keep_minutes: got -1.0"),
        ({"at_once": 0}, "at_once: got 0"),
        ({"waiting": 0}, "waiting: got 0"),
        ({"port": 70000}, "port: got 70000"),
        ({"host": "203.0.113.7"}, "cannot listen at 203.0.113.7:0"),
    ],
    ids=str,
)
def test_options_that_are_none(
    change: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: name)
    config = replace(ServeConfig(Path("run"), port=0), **change)
    with pytest.raises(InputError, match=re.escape(words)), server.listening(config):
        pass


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"gradio is not installed; pip install 'softgate_ext\["):
        server.serve(ServeConfig(Path("run")))


def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: name)
    with server._listen(ServeConfig(Path("run"), port=0)) as other:
        other.listen()
        taken = ServeConfig(Path("run"), port=other.getsockname()[1])
        with pytest.raises(InputError, match="already in use"), server.listening(taken):
            pass
