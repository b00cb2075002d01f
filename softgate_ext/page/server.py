"""`softgate serve`: the page behind its guard, on uvicorn."""

import asyncio
import contextlib
import importlib.util
import logging
import math
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from softgate_ext.errors import InputError
from softgate_ext.page.guard import Guard
from softgate_ext.page.serve_config import ServeConfig

if TYPE_CHECKING:
    import uvicorn

SWEEP = 0.25  # of the time that files are kept, between two looks for older ones


def serve(config: ServeConfig) -> None:
    """Serves the page until it is interrupted.

    Raises:
        InputError: the extra is not installed, an option is out of range, the run cannot be used,
            or the address cannot be listened at.
    """
    with ended_as_by_ctrl_c(), listening(config) as (server, listener, address):
        listener.listen()  # whoever reads the line may connect at once
        print(f"serving {config.run} at {address} (Ctrl-C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """A block that SIGTERM and SIGHUP end as Ctrl-C does, by an exception, so that it tidies up.

    The server catches SIGTERM, finishes its answers, and then raises the signal again.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    def hang_up(number: int, frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGTERM)

    caught = []
    if threading.current_thread() is threading.main_thread():  # signals are its own
        for number, handler in ((signal.SIGTERM, interrupt), (signal.SIGHUP, hang_up)):
            if signal.getsignal(number) == signal.SIG_DFL:  # not what nohup ignores
                signal.signal(number, handler)
                caught.append(number)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def listening(config: ServeConfig) -> Iterator[tuple["uvicorn.Server", socket.socket, str]]:
    """A server for the page, its socket and its address; ends with everything uploaded.

    Raises:
        InputError: as `serve`.
    """
    _check(config)
    listener = _listen(config)
    with listener, tempfile.TemporaryDirectory(prefix="softgate-") as folder:
        # Read by Gradio when it is imported; its files then lie nowhere else.
        for name in ("GRADIO_TEMP_DIR", "GRADIO_EXAMPLES_CACHE"):
            os.environ[name] = folder
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.environ["HF_HUB_OFFLINE"] = "1"
        import uvicorn

        guard = _application(config, Path(folder).resolve())

        class Server(uvicorn.Server):
            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                guard.close()
                await super().shutdown(sockets)

        settings = uvicorn.Config(guard, log_level="warning", access_log=False, server_header=False)
        # A body that is no form is answered with 400, which is enough said.
        logging.getLogger("python_multipart").setLevel(logging.ERROR)
        host, port = listener.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        yield Server(settings), listener, address


def _application(config: ServeConfig, files: Path) -> Guard:
    import fastapi
    import gradio

    from softgate_ext.page.app import STYLE, build, theme
    from softgate_ext.prediction.predictor import PosePredictor

    predictor = PosePredictor.from_pretrained(
        config.run,
        config.weights,
        config.device,
        flip_test=config.flip_test,
        detect=config.detect,
    )
    most_bytes = int(config.max_megabytes * 1e6)

    @contextlib.asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(_sweep(files, 60 * config.keep_minutes))
        yield
        task.cancel()

    page = build(predictor, config, files)
    outer = fastapi.FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    mounted = gradio.mount_gradio_app(
        outer,
        page,
        "/",
        server_name=config.host,
        server_port=config.port,
        footer_links=[],
        run_history=False,
        show_error=True,
        max_file_size=most_bytes,
        allowed_paths=[],
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
        theme=theme(),
        css=STYLE,
    )
    return Guard(mounted, files, most_bytes)


async def _sweep(folder: Path, seconds: float) -> None:
    """Removes uploads and drawings when they are older than `seconds`."""
    while True:
        await asyncio.sleep(SWEEP * seconds)
        await asyncio.to_thread(remove_older, folder, seconds)


def remove_older(folder: Path, seconds: float) -> None:
    """Removes the files of `folder`, at any depth, that were written before `seconds` ago.

    What lies in `folder` itself, as the drawing of the gates, stays.
    """
    limit = time.time() - seconds
    for path in sorted(folder.rglob("*"), reverse=True):
        with contextlib.suppress(OSError):
            if path.is_dir():
                path.rmdir()  # refused while it holds something
            elif path.parent != folder and path.stat().st_mtime < limit:
                path.unlink()


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
    if importlib.util.find_spec("gradio") is None:
        raise InputError("serve: gradio is not installed; pip install 'softgate_ext[serve]'")
    for name in ("max_megabytes", "max_megapixels", "keep_minutes"):
        value = getattr(config, name)
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name}: got {value}; takes a finite number of more than 0")
    for name in ("at_once", "waiting"):
        if getattr(config, name) < 1:
            raise InputError(f"{name}: got {getattr(config, name)}; takes at least 1")
    if not 0 <= config.port < 65536:
        raise InputError(f"port: got {config.port}; takes 0 to 65535")
