"""An API that listens, for tests that are no coroutines themselves; and the command line pointed at it."""

import asyncio
import json
import threading
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from services.cli.__main__ import main
from shared.web.server import serve
from tests.api.house import TOKEN, House, open_house

T = TypeVar("T")

SOON_S = 15.0


class Served:
    """A house whose API listens in a thread of its own."""

    def __init__(self, folder: Path, redis: str, port: int = 0) -> None:
        self._folder, self._redis, self._port = folder, redis, port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="served", daemon=True)
        self._stop: asyncio.Event
        self._ended: Any
        self.house: House
        self.url: str

    def start(self) -> None:
        """Until it listens."""
        self._thread.start()
        listening: asyncio.Future[None] = asyncio.Future(loop=self._loop)
        self._ended = asyncio.run_coroutine_threadsafe(self._live(listening), self._loop)
        self.do(self._wait_for(listening))

    @staticmethod
    async def _wait_for(future: "asyncio.Future[None]") -> None:
        await future

    async def _live(self, listening: "asyncio.Future[None]") -> None:
        self._stop = asyncio.Event()
        async with open_house(self._folder, redis=self._redis, streams=True) as self.house:

            def bound(url: str) -> None:
                self.url = url
                listening.set_result(None)

            await serve(
                self.house.app,
                name="api",
                host="127.0.0.1",
                port=self._port,
                grace_s=5,
                stop=self._stop,
                bound=bound,
            )

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the server's loop, such as a worker's work."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SOON_S)

    def stop(self) -> None:
        """Until it has ended."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._ended.result(SOON_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SOON_S)
        self._loop.close()


@contextmanager
def serving(folder: Path, redis: str, port: int = 0) -> Generator[Served]:
    """A house that listens while the body runs."""
    served = Served(folder, redis, port)
    served.start()
    try:
        yield served
    finally:
        served.stop()


@dataclass
class Said:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Line:
    """The command line, with the administrator's token and a folder that is no repository."""

    def __init__(self, served: Served, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.served, self.house = served, served.house
        self.folder = folder
        self.environment = {
            "DEKSDENFLOW_API_BASE": served.url,
            "DEKSDENFLOW_API_TOKEN": TOKEN,
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
        }
        self._capsys = capsys

    def __call__(self, *words: str | int, **environment: str) -> Said:
        """Run a command; whatever it prints must be printable."""
        self._capsys.readouterr()
        code = main([str(word) for word in words], self.environment | environment, self.folder)
        said = self._capsys.readouterr()
        assert "\x1b" not in said.out + said.err
        return Said(code, said.out, said.err)

    def told(self, *words: str | int) -> str:
        """What a command tells a person; it must end well."""
        said = self(*words)
        assert (said.code, said.err) == (0, "")
        return said.out

    def json(self, *words: str | int) -> Any:
        """What a command tells a program; it must end well."""
        said = self(*words, "--json")
        assert (said.code, said.err) == (0, "")
        return said.json

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.served.do(work)

    def get(self, path: str) -> Any:
        """The API's own answer."""
        answer = self.do(self.house.client.get(path, headers={"authorization": f"Bearer {TOKEN}"}))
        assert answer.status_code == 200, answer.text
        return answer.json()


def one_line(said: Said, code: int) -> str:
    """The one line on stderr of a command that could not be done."""
    assert said.code == code, said
    assert said.err.startswith("deksdenflow: ")
    assert said.err.count("\n") == 1
    return said.err
