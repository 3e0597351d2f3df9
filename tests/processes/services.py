"""Starts the services as processes of their own, as a deployment does, and stops them by their ids."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0


class Service:
    """One `python -m services.NAME`; `url` is where it listens, `log` what it wrote to stderr."""

    def __init__(self, name: str, environment: dict[str, str], folder: Path) -> None:
        self.name = name
        self.url = ""
        self.log = folder / f"{name}.log"
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **environment}
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            await self.kill()

    async def start(self, **settings: str) -> None:
        """Returns when it says where it listens."""
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"services.{self.name}"],
                cwd=ROOT,
                env=self._environment | {f"DEKSDENFLOW_{name}": value for name, value in settings.items()},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = await asyncio.to_thread(self._process.stdout.readline)
        assert line.startswith("listening on http://"), f"{self.name} said {line!r}: {self.log.read_text()}"
        self.url = line.split()[-1]

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> int:
        """SIGKILL, as a crash does."""
        assert self._process is not None
        self._process.kill()
        return await self.ended()

    async def ended(self) -> int:
        """The exit code, once it has one. Who waits in the test's own thread would keep the model from answering."""
        assert self._process is not None
        try:
            code = await asyncio.to_thread(self._process.wait, PATIENCE_S)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"{self.name} does not end: {self.log.read_text()}") from error
        if self._process.stdout is not None:
            self._process.stdout.close()
        return code
