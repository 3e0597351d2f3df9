"""The whole house in the storm: processes, Redis, model and runs; it ends with a list of what was wrong."""

import asyncio
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from pathlib import Path

import codex_cli_bin
import msgspec

from services.local.demo.check import agent_processes
from services.local.scripted_model import ScriptedModel, parse_script
from shared.repository.database import Database, open_database
from shared.workflow.unit import Rules
from tests.chaos import outside
from tests.chaos.controls import KINDS, Hand, HandAtForge
from tests.chaos.mains import clock_of
from tests.chaos.names import OUT_OF_REACH, all_points, points
from tests.chaos.outside import Outside
from tests.chaos.programs import Keeper, Program, free_port
from tests.chaos.runs import SECRET, TOKEN, Caller, Pings, Stuck
from tests.chaos.storm import FAULTS, Storm
from tests.chaos.verdict import all_four, at_rest, of_all, of_run
from tests.fakes import codex_fake
from tests.fakes.forge import FakeForge
from tests.fakes.redis_server import RedisServer
from tests.waiting import eventually

FAKE = Path(codex_fake.__file__)
CODEX = Path(codex_cli_bin.bundled_codex_path())
PROJECT_CONCURRENCY = 2
# Every so many-th run is at a forge.
AT_FORGE = 3
# What the services say in their logs when a fault has reached them.
FELT = {
    "the database was full": r"database or disk is full",
    "a file had no room": r"File too large|disk I/O error",
    "a heart that stood still": r"has shown no life",
    "Redis was gone": r"redis_lost",
    "a quota was used up": r'"category": ?"quota"',
}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done: at least so many runs of four steps and kills; `real` of the runs with the real Codex.

    When `thorough`, it goes on until everything was reached once: each failpoint, each control, each fault.
    """

    seed: int
    runs: int
    kills: int
    real: int
    thorough: bool = False
    at_once: int = 5
    every_s: float = 0.8
    # So long may nothing new be told of a run, until it counts as stuck.
    patience_s: float = 60.0
    # After so long it begins nothing more, and what was not reached is told.
    most_s: float = 1320.0


class Outcome(msgspec.Struct, kw_only=True):
    """What came of it; `wrong` is empty when every promise was kept.

    `full` runs executed all of their four steps, `real` are those of them with the real Codex, `at_forge` those
    whose branch was at one.
    """

    full: int = 0
    real: int = 0
    at_forge: int = 0
    ended: Counter[str] = msgspec.field(default_factory=Counter)
    seconds: float = 0.0
    kills: Counter[str] = msgspec.field(default_factory=Counter)
    faults: Counter[str] = msgspec.field(default_factory=Counter)
    controls: Counter[str] = msgspec.field(default_factory=Counter)
    felt: Counter[str] = msgspec.field(default_factory=Counter)
    fired: Counter[str] = msgspec.field(default_factory=Counter)
    events: Counter[str] = msgspec.field(default_factory=Counter)
    wrong: list[str] = []


async def weather(plan: Plan, tell: Callable[[str], None]) -> Outcome:
    """Everything, in a folder that is kept when something was wrong."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    with RedisServer() as redis:
        async with ScriptedModel(parse_script(_play())) as model, FakeForge(folder / "forges") as forge:
            house = House(plan, folder, redis, model.base_url, forge, tell)
            outcome = await house.stand()
    if outcome.wrong:
        outcome.wrong.append(f"everything is kept in {folder}")
    else:
        await asyncio.to_thread(subprocess.run, ["rm", "-rf", folder], check=True)
    return outcome


def missed(
    fired: Counter[str], controls: Counter[str], faults: Counter[str], out_of_reach: Collection[str] = OUT_OF_REACH
) -> list[str]:
    """What a thorough storm has to reach and did not, each in words; and what it reached though it is said not to."""
    return [
        *(
            f"nobody died at the failpoint {name}"
            for name in all_points()
            if not fired[name] and name not in out_of_reach
        ),
        *(f"the failpoint {name} is within reach: take it off the list" for name in out_of_reach if fired[name]),
        *(f"nobody did this: {kind}" for kind in KINDS if not controls[kind]),
        *(f"this did not happen: {kind}" for kind in (*FAULTS, *outside.KINDS) if not faults[kind]),
    ]


class House:
    """One storm; used once."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        redis: RedisServer,
        model_url: str,
        forge: FakeForge,
        tell: Callable[[str], None],
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
        environment = self._environment(model_url) | forge.environment
        programs = [Program(name, folder, environment) for name in names]
        self._keeper = Keeper(programs, points(), random.Random(chance.random()), thorough=plan.thorough)
        self._keeper.spares = self._ahead
        self._caller = Caller(f"http://127.0.0.1:{self._api}", plan.patience_s)
        self._storm = Storm(
            self._keeper,
            redis,
            folder,
            self._caller,
            random.Random(chance.random()),
            plan.every_s,
        )
        webhooks = f"http://127.0.0.1:{self._webhooks}"
        self._outside = Outside(forge, webhooks, random.Random(chance.random()))
        self._pings = Pings(webhooks)
        self._began = time.monotonic()
        self._begun = 0
        self._calm = False

    async def stand(self) -> Outcome:
        self._keeper.start()
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._caller.ask("GET", "/health")
            async with open_database(self._database, clock=clock_of(self._folder)) as database:
                tasks = [
                    asyncio.create_task(self._keep()),
                    asyncio.create_task(self._storm.blow(until=lambda: self._calm)),
                    asyncio.create_task(self._pings.send(2.0)),
                    asyncio.create_task(self._outside.blow(until=lambda: self._calm)),
                    asyncio.create_task(self._outside.live()),
                ]
                lanes = [self._lane(database) for _ in range(self.plan.at_once)]
                tasks.append(asyncio.create_task(self._progress()))
                done = await asyncio.gather(*lanes, return_exceptions=True)
                self.outcome.wrong.extend(repr(each) for each in done if isinstance(each, BaseException))
                self._calm = True
                await self._to_rest(tasks, database)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            self.outcome.wrong.extend(repr(each) for each in results if isinstance(each, Exception))
            await asyncio.to_thread(self._keeper.stop)
            await self._caller.close()
            await self._pings.close()
        self._sum_up()
        return self.outcome

    async def _lane(self, database: Database) -> None:
        """One run after the other, until there were enough of them and of everything else."""
        rules = Rules(project_concurrency=PROJECT_CONCURRENCY)
        while not self.outcome.wrong and not self._keeper.wrong and self._more():
            self._begun += 1
            number, share = self._begun, (self.plan.real, self.plan.runs)
            real = number * share[0] // share[1] > (number - 1) * share[0] // share[1]
            try:
                place = self._outside.place(number) if number % AT_FORGE == 1 else None
                run = await self._caller.begin(number, self._folder, real=real, by_hand=number % 4 == 0, place=place)
                chance, done = random.Random(f"{self.plan.seed}/{number}"), self.outcome.controls
                hand = (
                    HandAtForge(self._caller, run, place, chance, done)
                    if place
                    else Hand(self._caller, run, chance, done)
                )
                status = await self._caller.ended(run, hand.look)
            except Stuck as stuck:
                self.outcome.wrong.append(str(stuck))
                return
            with suppress(TimeoutError):  # the verdict then tells what is left
                await eventually(partial(at_rest, run, database), within=90)
            wrong = await of_run(run, status, database, rules, self._workspaces)
            full = all_four(run, status)
            self.outcome.full += full
            self.outcome.real += full and real
            self.outcome.at_forge += full and place is not None
            self.outcome.ended["four steps" if full else f"{status}, not all steps"] += 1
            if wrong:
                self.outcome.wrong.extend(wrong)
                return

    def _ahead(self) -> bool:
        """There were more kills than the runs so far should see: let them go on for a while."""
        return self._keeper.kills.total() >= self.plan.kills * (self.outcome.ended.total() + 1) / self.plan.runs

    def _more(self) -> bool:
        if time.monotonic() - self._began > self.plan.most_s:
            return False
        if self._begun < self.plan.runs or self._keeper.kills.total() < self.plan.kills:
            return True
        few = self.outcome.full < self.plan.runs or self.outcome.real < self.plan.real
        return self.plan.thorough and (few or bool(self._missed()))

    def _missed(self) -> list[str]:
        return missed(self._keeper.fired, self.outcome.controls, self._storm.faults + self._outside.seen)

    async def _keep(self) -> None:
        while True:
            self._keeper.look(arm=not self._calm)
            await asyncio.sleep(0.03)

    async def _to_rest(self, tasks: "list[asyncio.Task[None]]", database: Database) -> None:
        """After the storm: what was received is done, and nothing is left."""
        await tasks[1]
        await tasks[3]
        tasks[2].cancel()
        await asyncio.gather(tasks[2], return_exceptions=True)
        await self._outside.forge.post.delivered()

        async def done() -> bool:
            def look(tx) -> bool:
                return not tx.rows("SELECT id FROM jobs WHERE state IN ('queued', 'running')")

            return await database.read(look)

        if not self.outcome.wrong:
            with suppress(TimeoutError):
                await eventually(done, within=30)
        acknowledged = [*self._pings.acknowledged, *self._outside.acknowledged]
        self.outcome.wrong.extend(await of_all(database, self._folder, acknowledged))
        self.outcome.wrong.extend(self._outside.wrong(self._folder))

        def counts(tx) -> dict[str, int]:
            rows = tx.rows("SELECT event_type, count(*) AS count FROM events GROUP BY event_type")
            return {row["event_type"]: row["count"] for row in rows}

        self.outcome.events.update(await database.read(counts))

    def _sum_up(self) -> None:
        outcome = self.outcome
        outcome.seconds = time.monotonic() - self._began
        outcome.kills, outcome.fired = self._keeper.kills, self._keeper.fired
        outcome.faults = self._storm.faults + self._outside.seen
        logs = "".join(program.log.read_text(errors="replace") for program in self._keeper.programs)
        outcome.felt.update({what: len(re.findall(text, logs)) for what, text in FELT.items()})
        outcome.wrong = [*self._keeper.wrong, *outcome.wrong]
        if self.plan.thorough:
            outcome.wrong.extend(self._missed())
            outcome.wrong.extend(f"nobody felt it: {what}" for what in FELT if not outcome.felt[what])
        if left := agent_processes(self._workspaces):
            outcome.wrong.append(f"agents are left: {left}")

    async def _progress(self) -> None:
        names = all_points()
        while True:
            kills, faults = self._keeper.kills, self._storm.faults + self._outside.seen
            controls = self.outcome.controls
            self._tell(
                f"{time.monotonic() - self._began:5.0f} s  runs {self.outcome.full}/{self.plan.runs}"
                f"  kills {kills.total()}/{self.plan.kills}  faults {faults.total()}  controls {controls.total()}"
                f"  points {sum(name in self._keeper.fired for name in names)}/{len(names)}"
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
            "GITHUB_TOKEN": outside.GITHUB_TOKEN,
            "CODEX_BIN": program,
            "CODEX_SANDBOX": "off",
            "MODEL_BASE_URL": model_url,
            "GRACE_S": 4,
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
    # Thrice: a thread that is cut off at one goes on with the next, as a model does that looks what is there. The later
    # ones spoil nothing when they are cut off themselves. Never twice the same, so that a step that is done once more
    # changes something.
    work = {"command": "date +'half %N' > step-{{step}}.txt; echo whole >> step-{{step}}.txt"}
    anew = {"command": "{ date +'half %N'; echo whole; } > step-{{step}}.new && mv step-{{step}}.new step-{{step}}.txt"}
    broke = {"error": {"status": 429, "code": "insufficient_quota", "message": "You exceeded your current quota."}}
    turns = [work, anew, anew, {"answer": codex_fake.DONE}]
    now_and_then = tuple(range(5, 1000, 12))
    return {
        "conversations": [
            {"match": {"prompt": "^DeksdenFlow request: plan"}, "turns": [{"answer": codex_fake.PLAN}], "repeat": True},
            {"match": {"prompt": execute, "nth": now_and_then}, "turns": [broke, *turns], "repeat": True},
            {"match": {"prompt": execute}, "turns": turns, "repeat": True},
            {"match": {"prompt": qa}, "turns": [{"answer": codex_fake.VERDICT}], "repeat": True},
        ]
    }
