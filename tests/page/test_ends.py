"""How the page ends, and what its log holds then."""

import importlib.util
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from served_page import served_by, started

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("gradio") is None,
        reason="needs the extra serve: gradio is not installed",
    ),
]
API = "/gradio_api"


@pytest.fixture
def no_nohup() -> Iterator[None]:
    """What runs under nohup has children that ignore SIGHUP, as they should."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("no_nohup")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_nothing_is_left_behind(untrained: Path, tmp_path: Path, number: signal.Signals) -> None:
    """Although a browser has the page open, which hears from the server for as long as it lives."""
    with started(untrained, tmp_path) as process:
        page = served_by(process, untrained, tmp_path)
        with socket.create_connection(("127.0.0.1", page.port), timeout=30) as browser:
            browser.sendall(f"GET {API}/heartbeat/me HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert browser.recv(100).startswith(b"HTTP/1.1 200")
            process.send_signal(number)
            _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert not page.files.exists()


def test_nothing_is_left_behind_of_a_page_that_only_starts(untrained: Path, tmp_path: Path) -> None:
    with started(untrained, tmp_path) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("softgate-*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.terminate()
        said, errors = process.communicate(timeout=30)
    assert said == "" and len(errors.splitlines()) == 1 and "interrupted" in errors
    assert not list(tmp_path.iterdir())


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    length = f"Content-Length: {len(body)}"
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", length, *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def asked(data: str, number: str = "0", session: str = '"s"') -> bytes:
    body = f'{{"data": {data}, "fn_index": {number}, "session_hash": {session}}}'
    return request("POST", f"{API}/queue/join", body.encode(), "Content-Type: application/json")


FILE = '{"path": %s, "meta": {"_type": "gradio.FileData"}}'
FORM = "Content-Type: multipart/form-data; boundary=b"
NO_FILE = b'--b\r\nContent-Disposition: form-data; name="files"\r\n\r\nx\r\n--b--\r\n'
MALFORMED = [
    b"\0\1\2garbage\r\n\r\n",
    b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: " + bytes(200_000) + b"\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    asked("[null]", number="99"),
    asked("[null]", number="-1"),
    asked("[null]", session="null"),
    asked("[]"),
    asked("[null, null]"),
    asked('["x"]'),
    asked("[NaN]"),
    asked(f"[{FILE % 5}]"),
    asked("[" + FILE % '"a\\u0000b"' + "]"),
    request("POST", f"{API}/queue/join", b"[" * 100_000),
    request("POST", f"{API}/queue/join"),
    request("POST", f"{API}/upload", NO_FILE, FORM),
    request("POST", f"{API}/upload", b"abc", FORM),
    request("POST", f"{API}/upload", b"--b\r\nContent-Disposition\r\n\r\nx\r\n--b--", FORM),
    request("POST", f"{API}/upload", b"--b\r\nCo", FORM).replace(b"h: 7", b"h: 700"),
    request("GET", f"{API}/queue/data?session_hash=nobody"),
    request("GET", "/assets/" + "a" * 3000),
    request("GET", "/", b"", "X-Forwarded-Host: \1"),
]


def test_malformed_requests_leave_no_traceback_in_the_log(untrained: Path, tmp_path: Path) -> None:
    with started(untrained, tmp_path) as process:
        page = served_by(process, untrained, tmp_path)
        for malformed in MALFORMED:
            with socket.create_connection(("127.0.0.1", page.port), timeout=30) as stranger:
                stranger.sendall(malformed)
                if b": 700" not in malformed:  # which would wait for the rest
                    stranger.recv(100)
        with socket.create_connection(("127.0.0.1", page.port), timeout=30) as browser:
            browser.sendall(request("GET", "/"))
            assert browser.recv(100).startswith(b"HTTP/1.1 200")
        process.terminate()
        _, errors = process.communicate(timeout=30)
    lines = errors.splitlines()
    assert all(line.startswith(("WARNING: ", "ERROR: ")) for line in lines), errors
    assert 0 < len(lines) <= 2 * len(MALFORMED) and "Traceback" not in errors
