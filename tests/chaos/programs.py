"""The processes of the chaos suite: started, killed, and started again by whoever keeps them."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
NEVER = float("inf")
LAST_WORD = re.compile(rb"^failpoint (\w+)$", re.MULTILINE)
# So many at once: the process dies where it comes first.
ARMED = 6


class Program:
    """One service as a process; `died_at` is the failpoint that it said it dies at."""

    def __init__(self, name: str, folder: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.kind = name.partition("-")[0]
        self.died_at = ""
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.expected = ""
        self.restart_at = NEVER
        self.listens = False
        self._folder = folder
        self._environment = environment
        self._reader = threading.Thread()

    def start(self, failpoints: str = "") -> None:
        self.died_at, self.expected, self.restart_at, self.listens = "", "", NEVER, False
        armed = {"DEKSDENFLOW_FAILPOINT": failpoints} if failpoints else {}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.mains", str(self._folder), self.kind],
            cwd=ROOT,
            env=self._environment | armed,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        # Through a pipe, for a limit on the size of files must not reach the log.
        self._reader = threading.Thread(target=self._copy, args=(self.process.stderr,), daemon=True)
        self._reader.start()

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def last_word(self, within: float) -> str:
        """The failpoint that it died at, if any; all that it wrote is in the log then."""
        self._reader.join(within)
        return self.died_at

    def send(self, number: signal.Signals, why: str = "") -> bool:
        """False when it does not run; `why` is what its end will be counted as."""
        if not self.runs or self.process is None:
            return False
        self.expected = why or self.expected
        self.process.send_signal(number)
        return True

    def tail(self, lines: int = 12) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def _copy(self, stream: IO[bytes]) -> None:
        with self.log.open("ab") as log, stream:
            while chunk := os.read(stream.fileno(), 65536):
                self.listens = self.listens or b'"listening"' in chunk
                if found := LAST_WORD.search(chunk):
                    self.died_at = found[1].decode()
                log.write(chunk)
                log.flush()


class Keeper:
    """Starts what ended anew, with the next failpoint, and counts how everything ended."""

    def __init__(
        self, programs: list[Program], points: dict[str, list[str]], chance: random.Random, *, thorough: bool
    ) -> None:
        self.programs = programs
        self.points = points
        self.kills: Counter[str] = Counter()
        self.fired: Counter[str] = Counter()
        self.wrong: list[str] = []
        # No process ends by itself, but where the disk is full it may refuse to start.
        self.excused_until = 0.0
        # While this says so, nobody is killed, but when thorough at a point that nobody died at yet.
        self.spares: Callable[[], bool] = lambda: False
        self._chance = chance
        self._thorough = thorough

    def start(self) -> None:
        for program in self.programs:
            program.start()

    def look(self, *, arm: bool) -> None:
        """One round: count who ended, start who has been down for long enough."""
        now = time.monotonic()
        for program in self.programs:
            if program.process is None or program.runs:
                continue
            if program.restart_at == NEVER:
                self._count(program, program.process.returncode)
                program.restart_at = now + self._chance.uniform(0, 0.4)
            elif now >= program.restart_at:
                program.start(self._next_points(program.kind) if arm else "")

    def stop(self, within: float = 40) -> None:
        """Ask all to end well, and count whoever does not."""
        end = time.monotonic() + within
        asked = [program for program in self.programs if program.runs and program.listens and not program.expected]
        for program in self.programs:
            program.send(signal.SIGCONT)
            program.send(signal.SIGTERM if program in asked else signal.SIGKILL)
        for program in self.programs:
            if program.process is None:
                continue
            try:
                code = program.process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                program.process.kill()
                code = program.process.wait()
            if code != 0 and program in asked:
                self.wrong.append(f"{program.name} ended with {code} when asked to stop: {program.tail()}")

    def _count(self, program: Program, code: int) -> None:
        point = program.last_word(1.0) if code == -signal.SIGKILL else ""
        if point:
            self.kills[f"{program.kind} at a failpoint"] += 1
            self.fired[point] += 1
        elif code == -signal.SIGKILL and program.expected == "killed":
            self.kills[program.kind] += 1
        elif not (program.expected == "stopped" and code == 0) and time.monotonic() > self.excused_until:
            self.wrong.append(f"{program.name} ended with {code}: {program.tail()}")

    def _next_points(self, kind: str) -> str:
        """Some that nobody died at yet; then now and then any, the second or third time too."""
        waiting = [name for name in self.points[kind] if not self.fired[name]]
        if waiting and (self._thorough or not self.spares()):
            return ",".join(self._chance.sample(waiting, min(ARMED, len(waiting))))
        if self.spares() or self._chance.random() < 0.5:
            return ""
        return f"{self._chance.choice(self.points[kind])}:{self._chance.choice((1, 2, 3))}"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
