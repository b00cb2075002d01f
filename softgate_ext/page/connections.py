"""uvicorn, with a deadline for what is asked, and an end although somebody has the page open."""

import asyncio
import socket

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from softgate_ext.page.app import SLOWEST, Page

PATIENCE = SLOWEST  # seconds for the head of a request, and for reading an answer to its end
FAREWELL = 10  # seconds that a visitor who does not read keeps the server from ending
CONNECTIONS = 256  # beside those whose pictures are waited for; further ones are answered with 503


class Connection(H11Protocol):
    """One connection; it is dropped where no whole head of a request arrives, or an answer stays.

    How long a body may take, and each part of an answer, is the page's own affair.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._lost, self._since = False, self.loop.time()
        self._watched: tuple[RequestResponseCycle | None, bool, bool] | None = None
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        super().connection_lost(exc)

    def _watch(self) -> None:
        busy = self.cycle is not None and not self.cycle.response_complete
        now, state = self.loop.time(), (self.cycle, busy, self.flow.write_paused)
        if state != self._watched:
            self._watched, self._since = state, now
        if self._lost:
            return
        waits = not busy or self.flow.write_paused  # for the visitor, who writes or reads
        if waits and now - self._since >= PATIENCE:
            self.transport.abort()  # closing would wait for whoever does not read
        else:
            self.loop.call_later(min(1.0, PATIENCE / 4), self._watch)


class Server(uvicorn.Server):
    """The page's server.

    Args:
        page: the page.
        waiting: pictures that may be with it at once.
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
