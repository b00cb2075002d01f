"""What may reach the page's framework at all: the few routes the page uses, and small bodies."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from softgate_ext.errors import reason
from softgate_ext.page.asked import asked_file
from softgate_ext.page.uploads import new_cookie, owned, save, visitor

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

API = "/gradio_api"
READ = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|manifest\.json|robots\.txt)/?"
    r"|/(assets|static|svelte)/[^\\]+"
    rf"|{API}/(app_id|startup-events|theme\.css|queue/data|heartbeat/\w+)/?"
)
JOIN = re.compile(rf"{API}/queue/join/?")
UPLOAD = re.compile(rf"{API}/upload/?")
WRITE = re.compile(rf"{JOIN.pattern}|{API}/(cancel|reset)/?")
FILE = f"{API}/file="
GATES = "gates.png"
STRANGE = "Not what the page sends."
SMALL = 64 * 1024  # bytes of a request beside the file in it
LOG = logging.getLogger("uvicorn.error")  # the one that the server writes to

# Everything comes from this server, so nobody else learns of a visit.
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}


class _TooLarge(Exception):
    pass


class Guard:
    """ASGI middleware: 404 for what the page does not use, 413 for too large a body, 400 for what
    it would not send.

    No path that a client names is opened, but that of a file which was written for this visitor.
    What the page's framework fails at is a line in the server's log, without a traceback: anybody
    could fill the disk with those.

    Args:
        app: the page.
        files: the only folder whose files are handed out: uploads and what was drawn of them.
        most_bytes: of an uploaded file.
    """

    def __init__(self, app: App, files: Path, most_bytes: int) -> None:
        self.app = app
        self.files = files.resolve()
        self.most_bytes = most_bytes + SMALL
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Ends what is sent without an end: a page that is open would keep the server waiting."""
        self._closing.set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        who = visitor(headers)
        if not self._wanted(scope["method"], scope["path"], who):
            await _refuse(send, 404, "Not found.")
            return
        exchange = _Exchange(receive, send, self.most_bytes, self._closing)
        exchange.is_new = who is None
        declared = headers.get(b"content-length", b"0")
        try:
            if declared.isdigit() and int(declared) > self.most_bytes:
                raise _TooLarge
            if UPLOAD.fullmatch(scope["path"]):
                await self._upload(scope, exchange, who)
                return
            if JOIN.fullmatch(scope["path"]):
                path = asked_file(await exchange.whole_body())
                if path is None or (path and not owned(path, self.files, who)):
                    await _refuse(send, 400, STRANGE)
                    return
            await self.app(scope, exchange.receive, exchange.send)
        except _TooLarge:
            if not exchange.started:
                limit = (self.most_bytes - SMALL) / 1e6
                await _refuse(send, 413, f"The file is too large; give up to {limit:g} megabytes.")
        except Exception as error:
            if not exchange.gone:
                what = f"{type(error).__name__}: {reason(error)}"[:200]
                LOG.error("%s %r: %r", scope["method"], scope["path"][:200], what)
            if not exchange.started:
                await _refuse(send, 500, "The page cannot answer this.")

    async def _upload(self, scope: Message, exchange: "_Exchange", who: str | None) -> None:
        """Writes an uploaded file, and answers where, in place of the framework.

        That one gives the same picture of two visitors one place, which follows from its contents.
        """
        from starlette.exceptions import HTTPException
        from starlette.requests import Request
        from starlette.responses import JSONResponse

        path = None
        if who is not None:
            with contextlib.suppress(HTTPException):  # not a form
                async with Request(scope, exchange.receive).form(max_files=1, max_fields=0) as form:
                    path = await save(form, self.files, who)
        if path is None:
            await _refuse(exchange.send, 400, STRANGE)
        else:
            await JSONResponse([path])(scope, exchange.receive, exchange.send)

    def _wanted(self, method: str, path: str, who: str | None) -> bool:
        if method == "POST":
            return (WRITE.fullmatch(path) or UPLOAD.fullmatch(path)) is not None
        if method not in ("GET", "HEAD"):
            return False
        if path.startswith(FILE):
            file = path.removeprefix(FILE)
            return file == str(self.files / GATES) or owned(file, self.files, who)
        return READ.fullmatch(path) is not None and ".." not in path.split("/")


class _Exchange:
    """One request and its answer, as the framework sees them.

    Attributes:
        started: whether an answer is on its way.
        gone: whether nobody waits for it any more.
        is_new: whether the visitor is to be known from now on.
    """

    def __init__(
        self, receive: Receive, send: Send, most_bytes: int, closing: asyncio.Event
    ) -> None:
        self._receive, self._send, self._closing = receive, send, closing
        self._left = most_bytes
        self._kept: Message | None = None  # a body that was looked at before
        self.started = self.gone = self.is_new = False

    async def receive(self) -> Message:
        """The next part of the request, or its end when the server closes."""
        if self._kept is not None:
            message, self._kept = self._kept, None
            return message
        arriving = asyncio.ensure_future(self._receive())
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait((arriving, closing), return_when=asyncio.FIRST_COMPLETED)
            message = arriving.result() if arriving.done() else {"type": "http.disconnect"}
        finally:
            arriving.cancel()
            closing.cancel()
        self.gone = message["type"] == "http.disconnect"
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _TooLarge
        return message

    async def whole_body(self) -> bytes:
        """The body, which `receive` then gives again; of one cut short, what there is."""
        parts, more = [], True
        while more:
            message = await self.receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        body = b"".join(parts)
        self._kept = {"type": "http.request", "body": body, "more_body": False}
        return body

    async def send(self, message: Message) -> None:
        """A part of the answer, with the page's own headers."""
        if message["type"] == "http.response.start":
            self.started = True
            own = [(key.encode(), value.encode()) for key, value in HEADERS.items()]
            if self.is_new:
                own.append((b"set-cookie", new_cookie().encode()))
            message["headers"] = [*message.get("headers", ()), *own]
        await self._send(message)


async def _refuse(send: Send, status: int, words: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    headers += [(key.encode(), value.encode()) for key, value in HEADERS.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": words.encode()})
