"""What gets through to the page's framework."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from softgate_ext.page.guard import SMALL, Guard
from softgate_ext.page.uploads import visitor

MOST = 1000
COOKIE = b"other=1; softgate=" + b"0" * 32


async def framework(scope: Any, receive: Any, send: Any) -> None:
    """Reads the whole body and answers 200."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"own", b"1")]})
    await send({"type": "http.response.body", "body": b"through"})


def ask(
    files: Path,
    method: str,
    path: str,
    body: tuple[bytes, ...] = (),
    declared: int | None = None,
    app: Any = framework,
    cookie: bytes = COOKIE,
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of the answer to a request that comes in pieces."""
    pieces = [
        {"type": "http.request", "body": piece, "more_body": i + 1 < len(body)}
        for i, piece in enumerate(body)
    ] or [{"type": "http.request", "body": b"", "more_body": False}]
    sent: list[Any] = []
    headers = [(b"cookie", cookie)]
    headers += [] if declared is None else [(b"content-length", str(declared).encode())]
    scope = {"type": "http", "method": method, "path": path, "headers": headers}

    async def receive() -> Any:
        return pieces.pop(0) if pieces else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(app, files, MOST)(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


@pytest.mark.parametrize(
    "path", ["/", "/config", "/assets/index-1.js", "/gradio_api/queue/data", "/theme.css"]
)
def test_what_the_page_uses(tmp_path: Path, path: str) -> None:
    status, headers, body = ask(tmp_path, "GET", path)
    assert (status, body) == (200, b"through") and headers[b"own"] == b"1"
    assert b"default-src 'self'" in headers[b"content-security-policy"]
    assert headers[b"x-content-type-options"] == b"nosniff"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/info"),
        ("GET", "/gradio_api/openapi.json"),
        ("GET", "/gradio_api/proxy=http://localhost/"),
        ("GET", "/gradio_api/vibe-code/"),
        ("POST", "/gradio_api/vibe-edit/"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/call/show"),
        ("POST", "/login"),
        ("GET", "/monitoring"),
        ("GET", "/docs"),
        ("GET", "/file=/etc/passwd"),
        ("GET", "/assets/../../../etc/passwd"),
        ("GET", "/static/..\\..\\secret"),
        ("PUT", "/"),
        ("DELETE", "/gradio_api/upload"),
        ("GET", "/gradio_api/queue/join"),
    ],
)
def test_everything_else_is_not_found(tmp_path: Path, method: str, path: str) -> None:
    status, headers, body = ask(tmp_path, method, path)
    assert (status, body) == (404, b"Not found.")
    assert b"content-security-policy" in headers


def test_a_visitor_is_known_from_the_first_answer_on(tmp_path: Path) -> None:
    assert b"set-cookie" not in ask(tmp_path, "GET", "/")[1]
    for other in (b"", b"softgate=short", b"softgate=" + b"Z" * 32, b"xsoftgate=" + b"0" * 32):
        made = ask(tmp_path, "GET", "/", cookie=other)[1][b"set-cookie"]
        assert made.endswith(b"; Path=/; HttpOnly; SameSite=Lax")
        assert visitor({b"cookie": made.split(b";")[0]}) is not None


def test_files_of_one_visitor(tmp_path: Path) -> None:
    files, who = tmp_path / "files", visitor({b"cookie": COOKIE})
    assert who is not None
    mine, others = files / who / "a" / "b.png", files / ("f" * 32) / "a" / "b.png"
    for file in (mine, others, tmp_path / "secret", files / "gates.png", files / "other.png"):
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text("secret")
    (files / who / "link").symlink_to(tmp_path / "secret")
    assert ask(files, "GET", f"/gradio_api/file={mine}")[0] == 200
    assert ask(files, "GET", f"/gradio_api/file={files}/gates.png")[0] == 200
    assert ask(files, "GET", f"/gradio_api/file={mine}", cookie=b"")[0] == 404
    for path in (
        others,
        files / "other.png",
        files / who,
        files / who / "absent.png",
        files / who / "link",
        f"{files}/{who}/a/../a/b.png",
        f"{files}/{who}//a/b.png",
        f"{mine}/",
        tmp_path / "secret",
        f"{files}2/b.png",
        "/etc/passwd",
        "etc/passwd",
        "",
        ".",
        "http://127.0.0.1/",
        f"file://{mine}",
        f"{mine}\0",
    ):
        assert ask(files, "GET", f"/gradio_api/file={path}")[0] == 404, path


def test_bodies_end_where_they_are_too_large(tmp_path: Path) -> None:
    most = MOST + SMALL
    for body, declared, expected in (
        ((bytes(most),), most, 200),
        ((bytes(most + 1),), most + 1, 413),
        ((b"",), 10**12, 413),  # said, and not waited for
        ((bytes(most // 2),) * 2, None, 200),
        ((bytes(most // 2),) * 3, None, 413),  # never said
        ((bytes(most // 2),) * 3, 5, 413),  # said wrong
    ):
        status, _, words = ask(tmp_path, "POST", "/gradio_api/reset", body, declared)
        assert status == expected
        if status == 413:
            assert words == b"The file is too large; give up to 0.001 megabytes."


def test_nothing_but_http(tmp_path: Path) -> None:
    async def never(*message: Any) -> None:
        pytest.fail("a socket was answered")

    scope = {"type": "websocket", "path": "/", "headers": []}
    asyncio.run(Guard(never, tmp_path, MOST)(scope, never, never))  # type: ignore[arg-type]


JOIN = "/gradio_api/queue/join"
ASKED = b'{"data": [null], "fn_index": 0, "session_hash": "s", "event_data": null, "trigger_id": 5}'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (ASKED, 200),
        (ASKED.replace(b"null]", b'{"path": "/a", "meta": {"_type": "gradio.FileData"}}]'), 400),
        (ASKED.replace(b"null]", b'{"path": 5, "meta": {"_type": "gradio.FileData"}}]'), 400),
        (ASKED.replace(b"null]", b'{"path": "/a"}]'), 400),
        (ASKED.replace(b"[null]", b"[null, null]"), 400),
        (ASKED.replace(b": 0", b": 1"), 400),
        (ASKED.replace(b": 0", b": true"), 400),
        (ASKED.replace(b'"s"', b'["s"]'), 400),
        (b"[]", 400),
        (b"", 400),
        (b"\xff", 400),
        (b"[" * 100_000, 413),
        (b"[" * 50_000, 400),
    ],
)
def test_only_what_the_page_asks_is_asked(tmp_path: Path, body: bytes, expected: int) -> None:
    heard = []

    async def listening(scope: Any, receive: Any, send: Any) -> None:
        heard.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    half = len(body) // 2
    status = ask(tmp_path, "POST", JOIN, (body[:half], body[half:]), app=listening)[0]
    assert status == expected
    assert heard == ([body] if expected == 200 else [])


def test_a_failure_is_one_line_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("a\nb")

    status, _, words = ask(tmp_path, "GET", "/config", app=failing)
    assert (status, words) == (500, b"The page cannot answer this.")
    (record,) = caplog.records
    assert record.exc_info is None and record.getMessage().startswith("GET '/config': ")
    assert "KeyError" in record.getMessage() and "\n" not in record.getMessage()


def test_who_has_gone_is_not_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()
        raise ConnectionError

    ask(tmp_path, "POST", "/gradio_api/reset", (b"half",), app=failing)
    assert caplog.records == []


def test_an_endless_answer_ends_with_the_server(tmp_path: Path) -> None:
    async def endless(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.disconnect"

    async def never() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        pytest.fail("nothing was to be sent")

    async def visit() -> None:
        guard = Guard(endless, tmp_path, MOST)
        scope = {"type": "http", "method": "GET", "path": "/config", "headers": []}
        visitor = asyncio.ensure_future(guard(scope, never, send))
        await asyncio.sleep(0.01)
        assert not visitor.done()
        guard.close()
        await asyncio.wait_for(visitor, 10)

    asyncio.run(visit())
