"""How the page is stopped, and the content of its log then."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from served_page import served_by, started

from softgate_ext.page import server
from softgate_ext.page.serve_config import ServeConfig

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("extra")]


@pytest.fixture
def no_nohup() -> Iterator[None]:
    """What runs under nohup has children that ignore SIGHUP, as they should."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("no_nohup")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_nobody_keeps_the_page_from_ending(
    untrained: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Neither a browser that has it open, nor half a request, nor half a picture."""
    with started(untrained, tmp_path) as process:
        page = served_by(process, untrained)
        begun = [request("GET", "/"), b"GET / HT", request("POST", "/pose", b"half")]
        begun[2] = begun[2].replace(b"h: 4", b"h: 4000")
        visitors = []
        for sent in begun:
            visitors.append(socket.create_connection(("127.0.0.1", page.port), timeout=30))
            visitors[-1].sendall(sent.replace(b"Connection: close\r\n", b""))
        assert visitors[0].recv(100).startswith(b"HTTP/1.1 200")
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        assert visitors[2].recv(1000).startswith(b"HTTP/1.1 503")
        for visitor in visitors:
            visitor.close()
    assert (process.returncode, errors) == (0, "")
    assert not list(tmp_path.iterdir())


def test_who_does_not_read_keeps_nothing_waiting(untrained: Path, tmp_path: Path) -> None:
    with started(untrained, tmp_path) as process, socket.socket() as visitor:
        page = served_by(process, untrained)
        visitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        visitor.connect(("127.0.0.1", page.port))
        asked = request("GET", "/").replace(b"Connection: close\r\n", b"")
        visitor.sendall(1500 * asked)  # answers are more than the system's buffers hold
        assert visitor.recv(10).startswith(b"HTTP/1.1")
        time.sleep(1)
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


def test_a_page_that_only_starts_ends_too(untrained: Path, tmp_path: Path) -> None:
    with started(untrained, tmp_path) as process:
        deadline = time.monotonic() + 60
        while not catches(process.pid, signal.SIGTERM):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.terminate()
        said, errors = process.communicate(timeout=30)
    assert said == "" and len(errors.splitlines()) == 1 and "interrupted" in errors
    assert not list(tmp_path.iterdir())


def catches(process: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal by now."""
    status = Path(f"/proc/{process}/status")
    if not status.is_file():
        pytest.skip("needs /proc/PID/status, which Linux has")
    (mask,) = [line.split()[1] for line in status.read_text().splitlines() if "SigCgt" in line]
    return bool(int(mask, 16) >> (number - 1) & 1)


class Slow:
    """Visitors who take their time, each by what is sent at once and then again and again."""

    head = b"GET / HTTP/1.1\r\n", b"x: y\r\n"
    nothing = b"", b""
    body = b"POST /pose HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n", b"a"
    chunks = b"POST /pose HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"
    elsewhere = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n", b"a"
    unread = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2000, b""  # more than buffers hold


@pytest.mark.parametrize("name", [name for name in vars(Slow) if name[0] != "_"])
def test_slow_connections_are_dropped(
    untrained: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from softgate_ext.page import app, connections

    at_once, again = getattr(Slow, name)
    monkeypatch.setattr(connections, "PATIENCE", 1.0)
    monkeypatch.setattr(app, "SLOWEST", 1.0)
    with running_page(untrained) as (running, address), socket.socket() as visitor:
        visitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        visitor.connect(address)
        begun = time.monotonic()
        visitor.settimeout(0.1)
        with suppress(OSError):  # of one that is dropped
            visitor.sendall(at_once)
        while not running.server_state.connections and time.monotonic() < begun + 5:
            time.sleep(0.01)
        while running.server_state.connections and time.monotonic() < begun + 20:
            with suppress(OSError):
                visitor.send(again)
            time.sleep(0.1)
        assert not running.server_state.connections and time.monotonic() < begun + 8


def test_half_a_request_is_not_waited_for(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And neither is that which comes after a whole one on the same connection."""
    from softgate_ext.page import connections

    monkeypatch.setattr(connections, "PATIENCE", 0.2)
    with running_page(untrained) as (_, address):
        for sent in (b"GET / HT", request("GET", "/") + b"GET / HT"):
            with socket.create_connection(address, timeout=30) as visitor:
                visitor.sendall(sent.replace(b"Connection: close\r\n", b""))
                while visitor.recv(100_000):
                    pass  # until it is closed


def test_a_visitor_may_end_its_side_after_a_request(untrained: Path) -> None:
    with (
        running_page(untrained) as (_, address),
        socket.create_connection(address, timeout=30) as visitor,
    ):
        visitor.sendall(request("POST", "/pose", b"no picture"))
        visitor.shutdown(socket.SHUT_WR)
        answer = b""
        while part := visitor.recv(100_000):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400")


@contextmanager
def running_page(run: Path) -> Iterator[tuple[Any, Any]]:
    """The page's server in a thread of this process, which ends with the block, and its address."""
    config = ServeConfig(run, port=0, device="cpu")
    with server.listening(config) as (running, listener, _):
        listener.listen()
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield running, listener.getsockname()
        finally:
            running.should_exit = True
            thread.join(30)
        assert not thread.is_alive()


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    length = f"Content-Length: {len(body)}"
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", length, *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


MALFORMED = [
    b"\0\1\2garbage\r\n\r\n",
    b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: " + bytes(200_000) + b"\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"POST /pose HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /pose HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"POST /pose HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    request("POST", "/pose", b"half").replace(b"h: 4", b"h: 700"),
    request("POST", "/pose"),
    request("POST", "/pose", b"[" * 100_000),
    request("POST", "/pose", b"x", "Content-Type: multipart/form-data; boundary=b"),
    request("POST", "/"),
    request("PUT", "/pose", b"x"),
    request("GET", "/pose"),
    request("GET", "/" + "a" * 3000),
    request("GET", "/%ff%00%0a"),
    request("GET", "/", b"", "X-Forwarded-Host: \1"),
]


def test_malformed_requests_leave_no_traceback_in_the_log(untrained: Path, tmp_path: Path) -> None:
    with started(untrained, tmp_path) as process:
        page = served_by(process, untrained)
        for malformed in MALFORMED:
            with socket.create_connection(("127.0.0.1", page.port), timeout=30) as stranger:
                stranger.sendall(malformed)
                if b": 700" not in malformed:  # which would wait for the rest
                    stranger.recv(100)
        assert page.ask("GET", "/")[0] == 200
        process.terminate()
        _, errors = process.communicate(timeout=30)
    lines = errors.splitlines()
    assert all(line.startswith(("WARNING: ", "ERROR: ")) for line in lines), errors
    assert 0 < len(lines) <= 2 * len(MALFORMED) and "Traceback" not in errors
