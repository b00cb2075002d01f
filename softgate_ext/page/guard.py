"""What may reach the page's framework at all: the few routes the page uses, and small bodies."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

API = "/gradio_api"
READ = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|manifest\.json|robots\.txt)/?"
    r"|/(assets|static|svelte)/[^\\]+"
    rf"|{API}/(app_id|startup-events|theme\.css|queue/data|upload_progress|heartbeat/\w+)/?"
)
WRITE = re.compile(rf"{API}/(upload|queue/join|cancel|reset)/?")
FILE = f"{API}/file="
SMALL = 64 * 1024  # bytes of a request beside the file in it

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
    """ASGI middleware: 404 for what the page does not use, 413 for too large a body.

    Args:
        app: the page.
        files: the only folder whose files are handed out: uploads and what was drawn of them.
        most_bytes: of an uploaded file.
    """

    def __init__(self, app: App, files: Path, most_bytes: int) -> None:
        self.app = app
        self.files = files.resolve()
        self.most_bytes = most_bytes + SMALL

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        if not self._wanted(scope["method"], scope["path"]):
            await _refuse(send, 404, "Not found.")
            return
        started = False
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.most_bytes:
                raise _TooLarge
            return message

        async def marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                own = [(key.encode(), value.encode()) for key, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", ()), *own]
            await send(message)

        declared = dict(scope["headers"]).get(b"content-length", b"0")
        try:
            if declared.isdigit() and int(declared) > self.most_bytes:
                raise _TooLarge
            await self.app(scope, counted, marked)
        except _TooLarge:
            if not started:
                limit = (self.most_bytes - SMALL) / 1e6
                await _refuse(send, 413, f"The file is too large; give up to {limit:g} megabytes.")

    def _wanted(self, method: str, path: str) -> bool:
        if method == "POST":
            return WRITE.fullmatch(path) is not None
        if method not in ("GET", "HEAD"):
            return False
        if path.startswith(FILE):
            file = Path(path.removeprefix(FILE))
            try:
                return file.is_absolute() and file.resolve().is_relative_to(self.files)
            except (OSError, ValueError):
                return False
        return READ.fullmatch(path) is not None and ".." not in path.split("/")


async def _refuse(send: Send, status: int, words: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    headers += [(key.encode(), value.encode()) for key, value in HEADERS.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": words.encode()})
