"""The faults: what may happen to whom, drawn from a seeded generator, one after the other."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from services.local.demo.check import agent_processes
from tests.chaos.mains import PACE
from tests.chaos.programs import Keeper, Program
from tests.chaos.runs import Caller
from tests.fakes.redis_server import RedisServer

# How often each comes, among all.
WEIGHTS = {
    "kill_worker": 8,
    "kill_api": 3,
    "kill_webhooks": 2,
    "kill_redis": 4,
    "kill_agent": 4,
    "kill_supervisor": 3,
    "stop_worker": 4,
    "freeze_worker": 4,
    "flush_redis": 4,
    "turn_clock": 4,
    "fill_database": 2,
    "fill_disk": 2,
    "use_up_quota": 3,
    "stop_line": 3,
}
# What of it kills nobody is counted by these names.
FAULTS = (
    "SIGTERM",
    "SIGSTOP",
    "SIGSTOP longer than the lease",
    "FLUSHALL",
    "clock",
    "full database",
    "file-size limit",
    "quota used up",
    "line stopped",
    "line stopped, with interrupt",
)
# Longer than the lease of `mains.PACE`, and shorter.
FREEZE_S = (0.3, 3.5)
CLOCKS_MS = (-3_600_000, -60_000, -5_000, 0, 0, 5_000, 60_000, 3_600_000)
FULL_S = (0.2, 1.2)
STOPPED_S = (0.2, 1.5)


class Storm:
    """Blows until it is told to stop; `faults` counts what it did that kills nobody."""

    def __init__(
        self,
        keeper: Keeper,
        redis: RedisServer,
        folder: Path,
        caller: Caller,
        chance: random.Random,
        every_s: float,
    ) -> None:
        self.faults: Counter[str] = Counter()
        self._keeper = keeper
        self._redis = redis
        self._folder = folder
        self._workspaces = folder / "workspaces"
        self._caller = caller
        self._chance = chance
        self._every_s = every_s

    async def blow(self, *, until: Callable[[], bool]) -> None:
        faults: dict[str, Callable[[], Awaitable[None]]] = {name: getattr(self, name) for name in WEIGHTS}
        while not until():
            await asyncio.sleep(self._chance.expovariate(1 / self._every_s))
            (name,) = self._chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
            if not (name.startswith("kill") and self._keeper.spares()):
                await faults[name]()

    async def kill_worker(self) -> None:
        self._one("worker").send(signal.SIGKILL, "killed")

    async def kill_api(self) -> None:
        self._one("api").send(signal.SIGKILL, "killed")

    async def kill_webhooks(self) -> None:
        self._one("webhooks").send(signal.SIGKILL, "killed")

    async def kill_redis(self) -> None:
        self._redis.kill9()
        self._keeper.kills["redis"] += 1
        await asyncio.sleep(self._chance.uniform(0, 1.5))
        await asyncio.to_thread(self._redis.start)

    async def kill_agent(self) -> None:
        self._kill_one_of("agent", supervisors=False)

    async def kill_supervisor(self) -> None:
        self._kill_one_of("supervisor", supervisors=True)

    async def stop_worker(self) -> None:
        """It is asked to: it parks what runs, and ends with 0."""
        worker = self._one("worker")
        if worker.listens and not worker.expected and worker.send(signal.SIGTERM, "stopped"):
            self.faults["SIGTERM"] += 1

    async def freeze_worker(self) -> None:
        worker, seconds = self._one("worker"), self._chance.uniform(*FREEZE_S)
        if worker.send(signal.SIGSTOP):
            self.faults["SIGSTOP longer than the lease" if seconds > PACE.silent_s else "SIGSTOP"] += 1
            await asyncio.sleep(seconds)
            worker.send(signal.SIGCONT)

    async def flush_redis(self) -> None:
        await asyncio.to_thread(self._redis.flushall)
        self.faults["FLUSHALL"] += 1

    async def turn_clock(self) -> None:
        draft = self._folder / "clock.new"
        draft.write_text(str(self._chance.choice(CLOCKS_MS)))
        draft.replace(self._folder / "clock")
        self.faults["clock"] += 1

    async def fill_database(self) -> None:
        await self._fill("full", "full database")

    async def fill_disk(self) -> None:
        await self._fill("small", "file-size limit")

    async def _fill(self, name: str, counted: str) -> None:
        self.faults[counted] += 1
        self._keeper.excused_until = time.monotonic() + FULL_S[1] + 2
        (self._folder / name).touch()
        await asyncio.sleep(self._chance.uniform(*FULL_S))
        (self._folder / name).unlink()

    async def use_up_quota(self) -> None:
        """The next agent that is a fake is told so; with the scripted model, some are in any case."""
        (self._folder / "quota").touch()
        self.faults["quota used up"] += 1

    async def stop_line(self) -> None:
        interrupt = self._chance.random() < 0.5
        await self._caller.ask("POST", "/line/actions/stop", {"interrupt": interrupt})
        self.faults["line stopped, with interrupt" if interrupt else "line stopped"] += 1
        await asyncio.sleep(self._chance.uniform(*STOPPED_S))
        await self._caller.ask("POST", "/line/actions/resume", {})

    def _one(self, kind: str) -> Program:
        return self._chance.choice([program for program in self._keeper.programs if program.kind == kind])

    def _kill_one_of(self, counted: str, *, supervisors: bool) -> None:
        pids = [pid for pid in agent_processes(self._workspaces) if _is_supervisor(pid) is supervisors]
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._chance.choice(pids), signal.SIGKILL)
                self._keeper.kills[counted] += 1


def _is_supervisor(pid: int) -> bool:
    try:
        return b"supervisor.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
