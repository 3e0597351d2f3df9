"""The whole house in the storm: processes, Redis, model and runs; it ends with a list of what was wrong."""

import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import codex_cli_bin
import msgspec

from services.local.demo.check import agent_processes
from services.local.scripted_model import ScriptedModel, parse_script
from shared.repository.database import Database, open_database
from shared.workflow.unit import Rules
from tests.chaos.mains import clock_of
from tests.chaos.names import points
from tests.chaos.programs import Keeper, Program, free_port
from tests.chaos.runs import SECRET, TOKEN, Caller, Forge, Stuck
from tests.chaos.storm import Storm
from tests.chaos.verdict import of_all, of_run
from tests.fakes import codex_fake
from tests.fakes.redis_server import RedisServer
from tests.waiting import eventually

FAKE = Path(codex_fake.__file__)
CODEX = Path(codex_cli_bin.bundled_codex_path())
PROJECT_CONCURRENCY = 2


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done: at least so many runs and kills; `real` of the runs with the real Codex."""

    seed: int
    runs: int
    kills: int
    real: int
    at_once: int = 5
    every_s: float = 0.8
    # So long may nothing new be told of a run, until it counts as stuck.
    patience_s: float = 60.0


class Outcome(msgspec.Struct, kw_only=True):
    """What came of it; `wrong` is empty when every promise was kept."""

    completed: int = 0
    real: int = 0
    seconds: float = 0.0
    kills: Counter[str] = msgspec.field(default_factory=Counter)
    faults: Counter[str] = msgspec.field(default_factory=Counter)
    fired: Counter[str] = msgspec.field(default_factory=Counter)
    events: Counter[str] = msgspec.field(default_factory=Counter)
    unfired: list[str] = []
    wrong: list[str] = []


async def weather(plan: Plan, tell: Callable[[str], None]) -> Outcome:
    """Everything, in a folder that is kept when something was wrong."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    with RedisServer() as redis:
        async with ScriptedModel(parse_script(_play())) as model:
            house = House(plan, folder, redis, model.base_url, tell)
            outcome = await house.stand()
    if outcome.wrong:
        outcome.wrong.append(f"everything is kept in {folder}")
    else:
        await asyncio.to_thread(subprocess.run, ["rm", "-rf", folder], check=True)
    return outcome


class House:
    """One storm; used once."""

    def __init__(
        self, plan: Plan, folder: Path, redis: RedisServer, model_url: str, tell: Callable[[str], None]
    ) -> None:
        self.plan = plan
        self.outcome = Outcome()
        self._folder = folder
        self._redis = redis
        self._tell = tell
        self._workspaces = folder / "workspaces"
        self._database = folder / "flow.sqlite"
        self._api, self._webhooks = free_port(), free_port()
        chance = random.Random(plan.seed)
        for name in ("agents", "journal", "origins", "overlaps"):
            (folder / name).mkdir()
        (folder / "clock").write_text("0")
        names = ("api", "webhooks", "worker-1", "worker-2")
        environment = self._environment(model_url)
        programs = [Program(name, folder, environment) for name in names]
        self._keeper = Keeper(programs, points(), random.Random(chance.random()))
        self._keeper.spares = self._ahead
        self._storm = Storm(self._keeper, redis, folder, self._workspaces, random.Random(chance.random()), plan.every_s)
        self._chance = random.Random(chance.random())
        self._begun = 0
        self._calm = False

    async def stand(self) -> Outcome:
        began = time.monotonic()
        caller = Caller(f"http://127.0.0.1:{self._api}", self.plan.patience_s)
        forge = Forge(f"http://127.0.0.1:{self._webhooks}")
        self._keeper.start()
        tasks: list[asyncio.Task[None]] = []
        try:
            await caller.ask("GET", "/health")
            async with open_database(self._database, clock=clock_of(self._folder)) as database:
                tasks = [
                    asyncio.create_task(self._keep()),
                    asyncio.create_task(self._storm.blow(until=lambda: self._calm)),
                    asyncio.create_task(forge.send(2.0)),
                ]
                lanes = [self._lane(caller, database) for _ in range(self.plan.at_once)]
                tasks.append(asyncio.create_task(self._progress(began)))
                done = await asyncio.gather(*lanes, return_exceptions=True)
                self.outcome.wrong.extend(repr(each) for each in done if isinstance(each, BaseException))
                self._calm = True
                await self._to_rest(tasks, forge, database)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            self.outcome.wrong.extend(repr(each) for each in results if isinstance(each, Exception))
            await asyncio.to_thread(self._keeper.stop)
            await caller.close()
            await forge.close()
        self._sum_up(began)
        return self.outcome

    async def _lane(self, caller: Caller, database: Database) -> None:
        """One run after the other, until there were enough of them and of kills."""
        rules = Rules(project_concurrency=PROJECT_CONCURRENCY)
        while not self.outcome.wrong and not self._keeper.wrong and self._more():
            self._begun += 1
            number = self._begun
            real = number <= self.plan.runs and number * self.plan.real // self.plan.runs > (
                (number - 1) * self.plan.real // self.plan.runs
            )
            try:
                run = await caller.begin(number, self._folder, real=real, by_hand=number % 4 == 0)
                await caller.ended(run)
            except Stuck as stuck:
                self.outcome.wrong.append(str(stuck))
                return
            wrong = await of_run(run, database, rules, self._workspaces)
            self.outcome.completed += 1
            self.outcome.real += real
            if wrong:
                self.outcome.wrong.extend(wrong)
                return

    def _ahead(self) -> bool:
        """There were more kills than the runs so far should see: let them go on for a while."""
        return self._keeper.kills.total() >= self.plan.kills * (self.outcome.completed + 1) / self.plan.runs

    def _more(self) -> bool:
        return self._begun < self.plan.runs or self._keeper.kills.total() < self.plan.kills

    async def _keep(self) -> None:
        while True:
            self._keeper.look(arm=not self._calm)
            await asyncio.sleep(0.03)

    async def _to_rest(self, tasks: "list[asyncio.Task[None]]", forge: Forge, database: Database) -> None:
        """After the storm: what was received is done, and nothing is left."""
        await tasks[1]
        tasks[2].cancel()
        await asyncio.gather(tasks[2], return_exceptions=True)

        async def done() -> bool:
            def look(tx) -> bool:
                return not tx.rows("SELECT id FROM jobs WHERE state IN ('queued', 'running')")

            return await database.read(look)

        if not self.outcome.wrong:
            with suppress(TimeoutError):
                await eventually(done, within=30)
        self.outcome.wrong.extend(await of_all(database, self._folder, forge.acknowledged))

        def counts(tx) -> dict[str, int]:
            rows = tx.rows("SELECT event_type, count(*) AS count FROM events GROUP BY event_type")
            return {row["event_type"]: row["count"] for row in rows}

        self.outcome.events.update(await database.read(counts))

    def _sum_up(self, began: float) -> None:
        outcome = self.outcome
        outcome.seconds = time.monotonic() - began
        outcome.kills, outcome.fired, outcome.faults = self._keeper.kills, self._keeper.fired, self._storm.faults
        outcome.wrong = [*self._keeper.wrong, *outcome.wrong]
        outcome.unfired = [name for names in points().values() for name in names if not outcome.fired[name]]
        if left := agent_processes(self._workspaces):
            outcome.wrong.append(f"agents are left: {left}")

    async def _progress(self, began: float) -> None:
        while True:
            kills = self._keeper.kills
            self._tell(
                f"{time.monotonic() - began:5.0f} s  runs {self.outcome.completed}/{self.plan.runs}"
                f"  kills {kills.total()}/{self.plan.kills}"
                f"  ({', '.join(f'{kind} {count}' for kind, count in sorted(kills.items()))})"
                f"  points {len(self._keeper.fired)}"
            )
            await asyncio.sleep(2)

    def _environment(self, model_url: str) -> dict[str, str]:
        program = self._folder / "codex"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {FAKE} works {self._folder} {CODEX} "$@"\n')
        program.chmod(0o755)
        settings = {
            "REDIS_URL": self._redis.url,
            "DB_PATH": self._database,
            "WORKSPACES_DIR": self._workspaces,
            "API_TOKEN": TOKEN,
            "WEBHOOK_TOKEN": SECRET,
            "API_PORT": self._api,
            "WEBHOOK_PORT": self._webhooks,
            "WORKER_HOST": "127.0.0.1",
            "WORKER_PORT": 0,
            "ALLOW_LOCAL_REPOS": "true",
            "CODEX_BIN": program,
            "CODEX_SANDBOX": "off",
            "MODEL_BASE_URL": model_url,
            "GRACE_S": 4,
            "MAX_ATTEMPTS": 20,
            "BACKOFF_MAX_S": 0.5,
            "WORKER_CONCURRENCY": 3,
            "PROJECT_CONCURRENCY": PROJECT_CONCURRENCY,
            "STEP_TIMEOUT_S": 60,
        }
        path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        named = {f"DEKSDENFLOW_{name}": str(value) for name, value in settings.items()}
        return {"PATH": path, "HOME": str(self._folder), "PYTHONDONTWRITEBYTECODE": "1", **named}


def _play() -> dict[str, object]:
    """What the model says to the real Codex: the same four steps as the fake plans."""
    execute, qa = r"^DeksdenFlow request: execute step (?P<step>\d\d)", "^DeksdenFlow request: qa"
    # Twice: a thread that is cut off at the first goes on with the second, as a model does that looks what is there.
    work = {"command": "echo half > step-{{step}}.txt; echo whole >> step-{{step}}.txt"}
    return {
        "conversations": [
            {"match": {"prompt": "^DeksdenFlow request: plan"}, "turns": [{"answer": codex_fake.PLAN}], "repeat": True},
            {"match": {"prompt": execute}, "turns": [work, work, {"answer": codex_fake.DONE}], "repeat": True},
            {
                "match": {"prompt": qa},
                "turns": [{"answer": codex_fake.VERDICT}],
                "repeat": True,
            },
        ]
    }
