"""The uvicorn server with deadlines for requests, and an end even if a page is open in a browser."""

import asyncio
import socket

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from softgate_ext.page.app import SLOWEST, Page

PATIENCE = (
    SLOWEST  # seconds for a visitor to send the head of a request, and to read on in an answer
)
FAREWELL = 10  # seconds after which open connections no longer delay the end of the server
CONNECTIONS = 256  # open connections beside those with images; further ones get status 503


class Connection(H11Protocol):
    """One connection. It is dropped if no complete request head arrives, or if the answer is not read.

    The page itself limits the time for a body and for each part of an answer.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._lost, self._since = False, self.loop.time()
        self._watched: tuple[RequestResponseCycle | None, bool, bool] | None = None
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """A visitor may end its own side after a whole request; the answer then still goes out."""
        waiting = self.cycle is not None and not (
            self.cycle.more_body or self.cycle.response_complete
        )
        if waiting:
            self.cycle.keep_alive = False
        return waiting

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing is logged: the page has no WebSockets on purpose."""

    def _watch(self) -> None:
        busy = self.cycle is not None and not self.cycle.response_complete
        now, state = self.loop.time(), (self.cycle, busy, self.flow.write_paused)
        if state != self._watched:
            self._watched, self._since = state, now
        if self._lost:
            return
        waits = not busy or self.flow.write_paused  # for the visitor to write or to read
        if waits and now - self._since >= PATIENCE:
            self.transport.abort()  # `close` would wait until the visitor reads
        else:
            self.loop.call_later(min(1.0, PATIENCE / 4), self._watch)


class Server(uvicorn.Server):
    """The server of the page.

    Args:
        page: the page.
        waiting: number of images that may be at the page at once.
    """

    def __init__(self, page: Page, waiting: int) -> None:
        self._page = page
        super().__init__(
            uvicorn.Config(
                page,
                loop="asyncio",
                http=Connection,
                ws="none",
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                limit_concurrency=CONNECTIONS + waiting,
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._page.close()
        asyncio.get_running_loop().call_later(FAREWELL, self._abort)
        await super().shutdown(sockets)

    def _abort(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()  # type: ignore[union-attr]
