"""The ASGI application of the page. It takes the bytes of an image and returns JSON with PNGs.

A request never names a file on the server, and nothing of it is written to a file.
"""

import asyncio
import base64
import hashlib
import html
import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from softgate_ext.errors import InputError, reason
from softgate_ext.figures.gate_histograms import gate_histograms
from softgate_ext.files.printable import brief
from softgate_ext.page.answer import FORMATS, answer
from softgate_ext.page.serve_config import ServeConfig
from softgate_ext.prediction.predictor import PosePredictor

SLOWEST = (
    30.0  # seconds: the longest time for a file to arrive, and for each part of an answer to leave
)
CLOSING = "the page is closing"
SEAT = "softgate.seat"  # key in a request's scope: the request counts towards the limit
LOG = logging.getLogger("uvicorn.error")  # the log of the server


class Page:
    """The page as an ASGI application.

    An image is decoded and predicted in one of `at_once` threads, while up to `waiting` others are
    received and wait. This also limits the memory. A failure is one line in the log, without a
    traceback, because visitors could fill the disk with tracebacks.

    Args:
        predictor: finds the poses.
        config: the limits.
    """

    def __init__(self, predictor: PosePredictor, config: ServeConfig) -> None:
        self._predictor, self._megapixels = predictor, config.max_megapixels
        self._most = int(config.max_megabytes * 1e6)
        self._too_large = f"the file is too large; give one of up to {config.max_megabytes:g} MB"
        self._free = config.at_once + config.waiting
        self._turns = asyncio.Semaphore(config.at_once)
        self._threads = ThreadPoolExecutor(config.at_once, "pose")
        self._deadlines: set[asyncio.Timeout] = set()
        self._closing = False
        gates = _gates(predictor)
        page = _html(
            MODEL=predictor.config.model["name"],
            JOINTS=len(predictor.skeleton),
            KINDS=", ".join(FORMATS),
            MEGABYTES=f"{config.max_megabytes:g}",
            MEGAPIXELS=f"{config.max_megapixels:g}",
            BYTES=self._most,
            TOO_LARGE=self._too_large,
            GATES="" if gates else "hidden",
        )
        self._headers = _headers(page)
        routes = [
            Route("/", HTMLResponse(page), methods=["GET"]),
            Route("/pose", self._pose, methods=["POST"]),
        ]
        if gates:
            routes.append(
                Route("/gates.png", Response(gates, 200, None, "image/png"), methods=["GET"])
            )
        self._router = Router(routes, redirect_slashes=False)

    def close(self) -> None:
        """Ends requests that are still arriving or waiting; predictions that run are finished."""
        self._closing = True
        for deadline in self._deadlines:
            deadline.reschedule(0.0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def answering(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), *self._headers]
            async with asyncio.timeout(SLOWEST):
                await send(message)

        try:
            await self._router(scope, receive, answering)
        except Exception as error:
            asked = f"{scope.get('method')} {scope.get('path', '')}"
            LOG.error(
                "%s: %s", brief(asked, 80), brief(f"{type(error).__name__}: {reason(error)}", 120)
            )
            if not started and scope["type"] == "http":
                await _sentence(500, "the page failed at this request; its log says why")(
                    scope, receive, answering
                )
        finally:
            self._free += scope.get(SEAT, 0)

    async def _pose(self, request: Request) -> Response:
        """The answer to an image: JSON, or an error as plain text."""
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return _sentence(403, "only this page may send pictures here")
        if self._closing:
            return _sentence(503, CLOSING)
        if not self._free:
            return _sentence(503, "many pictures are waiting; try again in a while")
        self._free -= 1
        request.scope[SEAT] = 1  # released when the answer has left, because it takes memory too
        try:
            async with asyncio.timeout(SLOWEST) as deadline:
                self._deadlines.add(deadline)
                try:
                    data = await self._read(request)
                    if data is None:
                        return _sentence(413, self._too_large)
                    deadline.reschedule(None)
                    await self._turns.acquire()
                finally:
                    self._deadlines.discard(deadline)
            try:
                if await request.is_disconnected():
                    raise ClientDisconnect
                loop = asyncio.get_running_loop()
                found = await loop.run_in_executor(self._threads, self._answer, data)
                return Response(found, media_type="application/json")
            finally:
                self._turns.release()
        except TimeoutError:
            if self._closing:
                return _sentence(503, CLOSING)
            late = _sentence(408, f"the file did not arrive within {SLOWEST:g} seconds")
            late.headers["connection"] = "close"  # else the server would wait for the rest
            return late
        except InputError as error:
            return _sentence(400, str(error))
        except ClientDisconnect:
            return Response()  # the visitor has left

    async def _read(self, request: Request) -> bytearray | None:
        """The body of a request, or None if it is too large; the server drops the rest then."""
        data = bytearray()
        if int(request.headers.get("content-length", 0)) > self._most:
            return None
        async for part in request.stream():
            data += part
            if len(data) > self._most:
                return None
        return data

    def _answer(self, data: bytearray) -> str:
        return json.dumps(answer(self._predictor, data, self._megapixels))


def _sentence(status: int, words: str) -> Response:
    return PlainTextResponse(f"{words[0].upper()}{words[1:]}.", status)


def _gates(predictor: PosePredictor) -> bytes:
    """The plot of the gates as PNG; empty for a network without gates."""
    gates = predictor.gates()
    if not gates:
        return b""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "gates.png"
        gate_histograms(gates, path)
        return path.read_bytes()


def _html(**facts: object) -> str:
    """The HTML of the page, with values for its {{NAME}} placeholders."""
    page = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: html.escape(str(facts[found[1]])), page)


def _headers(page: str) -> list[tuple[bytes, bytes]]:
    """The headers of every answer. They allow content from this server only, so that no other server
    learns of a visit."""
    allowed = {}
    for kind in ("script", "style"):
        (text,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        allowed[kind] = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{allowed['script']}'; "
        f"style-src 'sha256-{allowed['style']}'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return [
        (b"cache-control", b"no-store"),
        (b"content-security-policy", policy.encode()),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
    ]
