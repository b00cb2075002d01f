"""uvicorn, with a deadline for what is asked, and an end although somebody has the page open."""

import asyncio
import socket

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from softgate_ext.page.app import Page

PATIENCE = 20.0  # seconds that the head of a request may take
FAREWELL = 10  # seconds that a visitor who does not read keeps the server from ending
CONNECTIONS = 256  # beside those whose pictures are waited for; further ones are answered with 503


class Connection(H11Protocol):
    """One connection; it is closed where no whole head of a request arrives."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(PATIENCE, self._look, None)

    def _look(self, before: RequestResponseCycle | None) -> None:
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.cycle is before:
            self.transport.close()
        elif not self.transport.is_closing():
            self.loop.call_later(PATIENCE, self._look, self.cycle)


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
