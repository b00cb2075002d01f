"""`softgate serve`: the socket that the page listens on, and the signals that end it."""

import contextlib
import importlib.util
import logging
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from softgate_ext.errors import InputError
from softgate_ext.files.printable import tell
from softgate_ext.page.serve_config import ServeConfig
from softgate_ext.ranges import check_ranges

if TYPE_CHECKING:
    from softgate_ext.page.connections import Server


def serve(config: ServeConfig) -> None:
    """Serves the page until it is interrupted.

    Raises:
        InputError: the extra is not installed, an option is out of range, the run cannot be used,
            or the address cannot be listened at.
    """
    with ended_as_by_ctrl_c(), listening(config) as (server, listener, address):
        listener.listen()  # before the line is printed, so that its reader can connect at once
        tell(f"serving {config.run} at {address} (Ctrl-C ends it)")
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """A block that SIGTERM and SIGHUP end as Ctrl-C does, by an exception, so that it cleans up.

    While the server runs, it catches SIGTERM, finishes its answers, and then raises the signal again.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    def hang_up(number: int, frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGTERM)

    caught = []
    if threading.current_thread() is threading.main_thread():  # only it can handle signals
        # Windows has no SIGHUP.
        handlers = {signal.SIGTERM: interrupt, getattr(signal, "SIGHUP", None): hang_up}
        for number, handler in handlers.items():
            if number is None:
                continue
            if signal.getsignal(number) == signal.SIG_DFL:  # nohup makes the process ignore SIGHUP
                signal.signal(number, handler)
                caught.append(number)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def listening(config: ServeConfig) -> Iterator[tuple["Server", socket.socket, str]]:
    """The server of the page, its socket and its address.

    Raises:
        InputError: as in `serve`.
    """
    _check(config)
    # Pillow's warnings about an image do not belong in the log: its sender gets an error.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    with _listen(config) as listener:
        from softgate_ext.page.app import Page
        from softgate_ext.page.connections import Server
        from softgate_ext.prediction.predictor import PosePredictor

        predictor = PosePredictor.from_pretrained(
            config.run,
            config.weights,
            config.device,
            flip_test=config.flip_test,
            detect=config.detect,
        )
        server = Server(Page(predictor, config), config.at_once + config.waiting)
        host, port = listener.getsockname()[:2]
        yield server, listener, f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _listen(config: ServeConfig) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"host and port: cannot listen at {config.host}:{config.port} ({reason}); takes an "
            "address of this machine and a free port"
        ) from None
    return listener


def _check(config: ServeConfig) -> None:
    for name in ("starlette", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            raise InputError(f"serve: {name} is not installed; pip install 'softgate_ext[serve]'")
    check_ranges(config)
