"""The page by HTTP: its answers, and the paths that are not served."""

import io
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from served_page import Served

from softgate_ext.errors import InputError
from softgate_ext.page import server
from softgate_ext.page.serve_config import ServeConfig

USERS = 30


def png(*size: int, colour: tuple[int, int, int] = (99, 99, 99)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


@pytest.mark.slow
def test_a_picture_is_answered(served: Served, picture: Path) -> None:
    found = served.pose(picture.read_bytes())
    width, height = Image.open(picture).size
    assert f"{width} x {height} pixels" in found["words"] and len(found["heatmaps"]) == 14
    assert len(found["people"]["people"][0]["joints"]) == 14
    assert found == served.pose(picture.read_bytes())


@pytest.mark.slow
def test_no_path_of_the_server_is_reachable(served: Served) -> None:
    secret = served.run / "config.json"
    up = "/".join([".."] * 12)
    for path in (
        f"/{secret}",
        f"/file={secret}",
        f"/{up}{secret}",
        f"/{up.replace('/', '%2f')}{secret}",
        f"/%252e%252e/{up}{secret}",
        f"/pose?file={secret}",
        f"/gates.png/{up}{secret}",
        f"/gates.png/../{up}{secret}",
        "/page.html",
        "/static/page.html",
        "/docs",
        "/openapi.json",
        f"http://example.invalid{secret}",
    ):
        status, data = served.ask("GET", path)
        assert status in (404, 405) and data in (b"Not Found", b"Method Not Allowed"), path


@pytest.mark.slow
def test_no_path_that_is_sent_is_opened(served: Served, picture: Path, tmp_path: Path) -> None:
    """A body is a picture, whatever it says; one for a file that is there hears nothing else."""
    os.mkfifo(tmp_path / "pipe")
    answers = set()
    for path in (picture, tmp_path / "absent.png", tmp_path / "pipe", tmp_path, "/etc/passwd"):
        for body in (
            f"{path}",
            f"file://{path}",
            f'{{"path": "{path}", "is_stream": true}}',
        ):
            for kind in ("application/json", "text/plain", "application/octet-stream"):
                headers = {"content_type": kind, "x_file": str(path)}
                query = f"/pose?path={path}".replace(" ", "%20")
                answers.add(served.ask("POST", query, body.encode(), **headers))
    ((status, words),) = answers
    assert status == 400 and words.startswith(b"The file is not a picture that can be read")


@pytest.mark.slow
def test_the_page_does_not_say_where_things_are(served: Served) -> None:
    status, data = served.ask("GET", "/")
    assert status == 200
    for where in (served.run, Path.cwd(), Path(server.__file__).parent):
        assert str(where).encode() not in data


@pytest.mark.slow
def test_limits(served: Served) -> None:
    for size in (300_000, 5_000_000):  # of the latter, all that was sent was not read
        status, words = served.ask("POST", "/pose", bytes(size))
        assert (status, words) == (413, b"The file is too large; give one of up to 0.2 MB.")
    status, words = served.ask("POST", "/pose", b"no picture")
    assert status == 400 and b"is not a picture that can be read" in words
    status, words = served.ask("POST", "/pose", png(1500, 1000))
    expected = b"The picture has 1500 x 1000 pixels; give one of up to 1 megapixels."
    assert (status, words) == (400, expected)


@pytest.mark.slow
def test_strange_files_leave_nothing_in_the_log(served: Served) -> None:
    """Pillow warns of them; that the log stays empty is seen when the page ends."""
    file = io.BytesIO()
    Image.new("L", (40, 40)).save(file, "TIFF")
    whole, random = file.getvalue(), np.random.default_rng(0)
    for _ in range(40):
        data = bytearray(whole)
        for place in random.integers(0, 200, 6):
            data[place] = random.integers(256)
        assert served.ask("POST", "/pose", bytes(data))[0] in (200, 400)


@pytest.mark.slow
def test_users_at_the_same_time_get_their_own(served: Served) -> None:
    """Each is answered or told to wait, and the page is there afterwards."""

    def user(number: int) -> list[int]:
        codes = []
        for _ in range(4):
            picture = png(40 + number, 50, colour=(8 * number, 99, 99))
            code, data = served.ask("POST", "/pose", picture)
            if code == 200:
                assert json.loads(data)["people"]["width"] == 40 + number
            else:
                assert (code, data[:26]) == (503, b"Many pictures are waiting;")
            codes.append(code)
        return codes

    with ThreadPoolExecutor(USERS) as pool:
        codes = [code for user_codes in pool.map(user, range(USERS)) for code in user_codes]
    assert len(codes) == 4 * USERS and codes.count(200) >= USERS
    assert served.pose(png(99, 50))["people"]["width"] == 99


@pytest.mark.slow
def test_memory_stays_flat(served: Served) -> None:
    """Many answers (SOFTGATE_ANSWERS), a fiftieth of them to pictures as large as are taken."""

    def resident() -> int:
        pages = Path(f"/proc/{served.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    if not Path("/proc/self/statm").is_file():
        pytest.skip("needs /proc/PID/statm, which Linux has")
    small, large = png(60, 50), png(1000, 1000)
    answers, sizes = int(os.environ.get("SOFTGATE_ANSWERS", 300)), []
    for number in range(1, answers + 1):
        served.pose(small if number % 50 else large)
        if number in (100, answers):
            sizes.append(resident())
    assert sizes[1] - sizes[0] < 12e6, sizes  # four large pictures


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_megabytes": 0.0}, "max_megabytes: got 0.0"),
        ({"max_megapixels": float("inf")}, "max_megapixels: got inf"),
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


@pytest.mark.parametrize("absent", ["starlette", "uvicorn"])
def test_without_the_extra(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"starlette", "uvicorn"} - {absent}
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: name in there or None)
    with pytest.raises(InputError, match=rf"{absent} is not installed; pip install 'softgate_ext"):
        server.serve(ServeConfig(Path("run")))


def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: name)
    with server._listen(ServeConfig(Path("run"), port=0)) as other:
        other.listen()
        taken = ServeConfig(Path("run"), port=other.getsockname()[1])
        with pytest.raises(InputError, match="already in use"), server.listening(taken):
            pass
