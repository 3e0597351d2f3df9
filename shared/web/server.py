"""Serves an app over HTTP until it is told to stop: one uvicorn, our signals, a clean exit."""

import asyncio
import contextlib
import errno
import signal
import socket
import sys
from collections.abc import Callable, Generator
from typing import Any, cast

import structlog
import uvicorn
from litestar import Litestar

from shared.errors import StartupError
from shared.settings import PREFIX

# More than these at once are answered 503 by the server itself, so that a flood cannot take all the memory.
MAX_CONNECTIONS = 500
MAX_HEADER_BYTES = 65_536
KEEP_ALIVE_S = 75
PORTS = {"api": "API_PORT", "webhooks": "WEBHOOK_PORT", "worker": "WORKER_PORT"}

log = structlog.stdlib.get_logger(__name__)


class _Server(uvicorn.Server):
    """Leaves signals alone: uvicorn would raise them again after its shutdown, and the exit code would tell of them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def serve(
    app: Litestar,
    *,
    name: str,
    host: str,
    port: int,
    grace_s: float,
    stop: asyncio.Event,
    bound: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until `stop` is set, then let requests finish for `grace_s` seconds.

    Port 0 takes a free one; `bound` is told the URL once connections are accepted. A taken port is a StartupError.
    """
    listener = _listen(name, host, port)
    url = _url(host, listener)
    config = uvicorn.Config(
        cast("Any", app),
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # shared.web.peers decides whom to believe
        ws="none",
        timeout_graceful_shutdown=max(1, round(grace_s)),
        timeout_keep_alive=KEEP_ALIVE_S,
        limit_concurrency=MAX_CONNECTIONS,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name=f"serve {name}")
    stopping = asyncio.create_task(stop.wait(), name=f"stop {name}")
    try:
        while not server.started and not serving.done():
            await asyncio.wait({serving, stopping}, timeout=0.01)
        if server.started:
            log.info("listening", service=name, url=url)
            bound(url)
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        server.should_exit = True
        if (feed := app.state.get("feed")) is not None:
            feed.close()  # streams end by themselves, or the server would wait for them
        stopping.cancel()
        await serving
        listener.close()
        log.info("stopped", service=name)


def announce(url: str) -> None:
    """Tell whoever started the process where it listens: one line on stdout."""
    sys.stdout.write(f"listening on {url}\n")
    sys.stdout.flush()


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set; a second one of them ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask(number: signal.Signals) -> None:
        log.info("asked_to_stop", signal=number.name)
        stop.set()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)  # Python's own would end in tracebacks of everything that runs

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, ask, each)
    return stop


def _listen(name: str, host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen()  # with SO_REUSEADDR only this tells that the port is taken
        except OSError:
            listener.close()
            raise
    except OSError as error:
        text = f"cannot listen on {host}:{port}: {error.strerror or error}"
        if error.errno == errno.EADDRINUSE and name in PORTS:
            text += f"; end what is there, or set another {PREFIX}{PORTS[name]}"
        raise StartupError(text) from error
    listener.set_inheritable(False)
    return listener


def _url(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
