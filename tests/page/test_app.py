"""The limits of the page: sizes, waiting times and the number of users."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from softgate_ext.errors import InputError
from softgate_ext.page.serve_config import ServeConfig
from softgate_ext.prediction.predictor import PosePredictor

pytestmark = pytest.mark.usefixtures("extra")
MOST = 1000  # bytes of a file
CONFIG = ServeConfig(Path("run"), max_megabytes=MOST / 1e6, at_once=1, waiting=1)


@pytest.fixture(scope="module")
def predictor(untrained: Path) -> PosePredictor:
    return PosePredictor.from_pretrained(untrained, device="cpu")


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, whose pictures are answered with their number of bytes."""
    from softgate_ext.page import app

    monkeypatch.setattr(app, "answer", lambda predictor, data, megapixels: len(data))
    return app


class Visit:
    """One request to the page, in parts, and what comes back."""

    def __init__(self, page: Any, *parts: bytes, path: str = "/pose", **headers: str) -> None:
        self.page, self.parts, self.sent = page, list(parts or (b"",)), []
        self.more = asyncio.Event()  # set when the rest comes
        self.more.set()
        self.left = 0  # seconds after which the visitor goes
        named = [(key.replace("_", "-").encode(), text.encode()) for key, text in headers.items()]
        method = "POST" if path == "/pose" else "GET"
        self.scope = {"type": "http", "method": method, "path": path, "headers": named}
        self.scope |= {"query_string": b"", "root_path": "", "server": ("here", 80)}

    async def receive(self) -> Any:
        if len(self.parts) == 1:
            await self.more.wait()
        if self.parts:
            part = self.parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(self.parts)}
        if not self.left:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def run(self) -> tuple[int, bytes]:
        await self.page(self.scope, self.receive, self.send)
        return self.sent[0]["status"], b"".join(one.get("body", b"") for one in self.sent)


def ask(page: Any, *parts: bytes, **more: str) -> tuple[int, bytes]:
    return asyncio.run(Visit(page, *parts, **more).run())


def test_the_page_says_what_it_takes(app: Any, predictor: PosePredictor) -> None:
    page = app.Page(predictor, CONFIG)
    visit = Visit(page, path="/")
    status, html = asyncio.run(visit.run())
    assert status == 200 and b"{{" not in html and b'data-most="1000"' in html
    assert b"finds 14 joints" in html and b"up to 0.001 MB and 40" in html
    headers = dict(visit.sent[0]["headers"])
    assert b"default-src 'none'; script-src 'sha256-" in headers[b"content-security-policy"]
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert ask(page, path="/gates.png")[1].startswith(b"\x89PNG")


def test_a_network_without_gates(
    app: Any, predictor: PosePredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "gates", lambda: {})
    page = app.Page(predictor, CONFIG)
    assert b'id="gates" hidden' in ask(page, path="/")[1] and ask(page, path="/gates.png")[0] == 404


@pytest.mark.parametrize(
    "path", ["/docs", "/pose/", "//", "/page.html", "/../etc/passwd", "", "\0"]
)
def test_everything_else_is_not_found(app: Any, predictor: PosePredictor, path: str) -> None:
    visit = Visit(app.Page(predictor, CONFIG), path=path)
    assert asyncio.run(visit.run()) == (404, b"Not Found")
    assert b"content-security-policy" in dict(visit.sent[0]["headers"])


@pytest.mark.parametrize("site, status", [("same-origin", 200), ("none", 200), ("cross-site", 403)])
def test_other_pages_send_nothing(
    app: Any, predictor: PosePredictor, site: str, status: int
) -> None:
    assert ask(app.Page(predictor, CONFIG), b"x", sec_fetch_site=site)[0] == status


def test_bodies_end_where_they_are_too_large(app: Any, predictor: PosePredictor) -> None:
    page = app.Page(predictor, CONFIG)
    sentence = (413, b"The file is too large; give one of up to 0.001 MB.")
    assert ask(page, bytes(MOST)) == (200, b"1000")
    assert ask(page, bytes(MOST // 2), bytes(MOST // 2)) == (200, b"1000")
    assert ask(page, bytes(MOST + 1)) == sentence
    assert ask(page, bytes(MOST), b"x", content_length="5") == sentence
    # The rest is not waited for.
    endless = Visit(page, bytes(MOST), b"x", b"")
    endless.more.clear()
    assert asyncio.run(endless.run()) == sentence and endless.parts
    declared = Visit(page, b"", content_length=str(10**12))
    declared.more.clear()
    assert asyncio.run(declared.run()) == sentence


def test_a_slow_file_is_not_waited_for(
    app: Any, predictor: PosePredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "SLOWEST", 0.05)
    visit = Visit(app.Page(predictor, CONFIG), b"half", b"half")
    visit.more.clear()
    assert asyncio.run(visit.run()) == (408, b"The file did not arrive within 0.05 seconds.")


def test_an_answer_that_nobody_takes_is_given_up(
    app: Any, predictor: PosePredictor, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(app, "SLOWEST", 0.05)
    visit = Visit(app.Page(predictor, CONFIG), b"x")
    visit.send = lambda message: asyncio.sleep(60)  # type: ignore[method-assign]
    asyncio.run(visit.page(visit.scope, visit.receive, visit.send))
    (record,) = caplog.records
    assert "TimeoutError" in record.getMessage()


def test_an_answer_that_is_not_taken_counts(app: Any, predictor: PosePredictor) -> None:
    """Or those who ask and do not read would fill the memory."""

    async def visits() -> None:
        page, taken = app.Page(predictor, CONFIG), asyncio.Event()
        slow = [Visit(page, b"x"), Visit(page, b"x")]
        for visit in slow:
            visit.send = lambda message: taken.wait()  # type: ignore[method-assign, assignment]
        tasks = [asyncio.ensure_future(v.page(v.scope, v.receive, v.send)) for v in slow]
        await until(lambda: page._free == 0 and not page._turns.locked())
        assert (await Visit(page, b"x").run())[0] == 503
        taken.set()
        await asyncio.gather(*tasks)
        assert (await Visit(page, b"x").run())[0] == 200

    asyncio.run(visits())


@contextmanager
def working(app: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A network that waits for the event."""
    go = threading.Event()

    def answer(predictor: Any, data: bytes, megapixels: float) -> int:
        assert go.wait(30)
        return len(data)

    monkeypatch.setattr(app, "answer", answer)
    yield go
    go.set()


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not happened():
            await asyncio.sleep(0.005)


def test_some_wait_and_further_ones_are_refused(
    app: Any, predictor: PosePredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def visits() -> None:
        page = app.Page(predictor, CONFIG)
        running = [asyncio.ensure_future(Visit(page, bytes(n)).run()) for n in (1, 2)]
        await until(lambda: page._free == 0)
        refused = (503, b"Many pictures are waiting; try again in a while.")
        assert await Visit(page, bytes(3)).run() == refused
        assert await Visit(page, path="/").run() != refused
        go.set()
        assert [await one for one in running] == [(200, b"1"), (200, b"2")]
        assert await Visit(page, bytes(3)).run() == (200, b"3") and page._free == 2

    with working(app, monkeypatch) as go:
        asyncio.run(visits())


def test_who_has_gone_costs_nothing(
    app: Any, predictor: PosePredictor, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    looked: list[int] = []

    async def visits() -> None:
        page = app.Page(predictor, CONFIG)
        gone = Visit(page, b"x")
        gone.left = 1
        await gone.run()
        halfway = Visit(page)
        halfway.parts, halfway.left = [], 1
        await halfway.run()
        assert page._free == 2

    monkeypatch.setattr(app, "answer", lambda *arguments: looked.append(1))
    asyncio.run(visits())
    assert not looked and not caplog.records


def test_the_end_of_the_server(
    app: Any, predictor: PosePredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is worked on is finished; what waits or arrives is not waited for."""

    async def visits() -> None:
        page = app.Page(predictor, replace(CONFIG, waiting=2))
        worked_on, waiting = (asyncio.ensure_future(Visit(page, bytes(n)).run()) for n in (1, 2))
        await until(lambda: page._turns.locked())
        slow = Visit(page, b"half", b"half")
        slow.more.clear()
        arriving = asyncio.ensure_future(slow.run())
        await asyncio.sleep(0.01)
        page.close()
        closing = (503, b"The page is closing.")
        assert await waiting == await arriving == await Visit(page, b"x").run() == closing
        go.set()
        assert await worked_on == (200, b"1")

    with working(app, monkeypatch) as go:
        asyncio.run(visits())


def test_a_failure_is_one_line_of_the_log(
    app: Any, predictor: PosePredictor, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def fail(*arguments: Any) -> None:
        raise KeyError("a\nb\ud800" + 5000 * "\x1b")

    monkeypatch.setattr(app, "answer", fail)
    page = app.Page(predictor, CONFIG)
    assert ask(page, b"x") == (500, b"The page failed at this request; its log says why.")
    (record,) = caplog.records
    assert record.exc_info is None and record.getMessage().startswith("POST /pose: KeyError: ")
    assert record.getMessage().isprintable() and len(record.getMessage()) < 250
    monkeypatch.setattr(app, "answer", lambda *arguments: 7)
    assert ask(page, b"x") == (200, b"7")  # its turn and its place are free again


@pytest.mark.parametrize("path", ["/" + 100_000 * "a", "/\ud800", "/\x1b[31m\n"], ids=ascii)
def test_a_strange_path_is_a_short_line_of_the_log(
    app: Any, predictor: PosePredictor, monkeypatch: pytest.MonkeyPatch, caplog: Any, path: str
) -> None:
    page = app.Page(predictor, CONFIG)

    async def fail(*arguments: Any) -> None:
        raise OSError(path)

    monkeypatch.setattr(page, "_router", fail)
    assert ask(page, path=path) == (500, b"The page failed at this request; its log says why.")
    (record,) = caplog.records
    assert record.getMessage().isprintable() and len(record.getMessage()) < 250


def test_a_refused_picture_is_a_sentence(
    app: Any, predictor: PosePredictor, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def refuse(*arguments: Any) -> None:
        raise InputError("the file is none; give one")

    monkeypatch.setattr(app, "answer", refuse)
    assert ask(app.Page(predictor, CONFIG), b"x") == (400, b"The file is none; give one.")
    assert not caplog.records


def test_what_is_sent_is_json(
    app: Any, predictor: PosePredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "answer", lambda *arguments: {"words": "é"})
    assert json.loads(ask(app.Page(predictor, CONFIG), b"x")[1]) == {"words": "é"}
