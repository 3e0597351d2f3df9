"""Starts the three services as processes of their own, as a deployment does, and stops them by their ids."""

import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[2]
START_S = 30.0
STOP_S = 40.0


class Service:
    """One `python -m services.NAME`; `url` is where it listens, `log` what it wrote to stderr."""

    def __init__(self, name: str, environment: dict[str, str], folder: Path) -> None:
        self.name = name
        self.url = ""
        self.log = folder / f"{name}.log"
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **environment}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns when it says where it listens."""
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"services.{self.name}"],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        said: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, args=(self._process, said), daemon=True).start()
        line = said.get(timeout=START_S)
        assert line.startswith("http://"), f"{self.name} said {line!r}: {self.log.read_text()}"
        self.url = line.strip()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(STOP_S)

    def kill(self) -> None:
        """SIGKILL, as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @staticmethod
    def _read(process: subprocess.Popen[str], said: "queue.Queue[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said.put(line.rpartition(" ")[2])
        said.put("")
