"""A worker with everything real but the loop that feeds it: a job runs when the test says so, and it owns the clock."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec
from fakeredis import FakeServer

from services.local.demo.check import agent_processes
from services.local.scripted_model import ScriptedModel, parse_script
from services.worker.meter import JobMeter
from services.worker.service import open_doors
from services.worker.work import Worker
from shared.queue import Queue
from shared.redaction import Redactor
from shared.repository import jobs, protocols, steps
from shared.repository.database import Row, Tx, open_database, wall_clock
from shared.runtime import Runtime
from shared.schemas.policy import Policy
from shared.schemas.records import Event, Job, Protocol, StepRun
from shared.schemas.statuses import Provider
from shared.secret import Secret
from shared.security import Vault
from shared.settings import Settings
from shared.web.metrics import new_registry
from shared.workflow.door import Workflow, rules_of
from shared.workflow.projects import register_project
from shared.workflow.protocols import open_protocol, run_next_step, start_protocol
from shared.workflow.steps import add_step, run_qa
from shared.workflow.unit import Caller, Unit
from tests.waiting import eventually
from tests.worker.codex.ground import SANDBOX
from tests.worker.git.stage import Origin, plain_git

P = ParamSpec("P")
T = TypeVar("T")

PERSON = Caller("person")
NAME = "0001-do-it"
FIRST_FILES = {"README.md": "# Sample\n", "src/app.py": "print('hello')\n"}


class Clock:
    """The wall clock, which a test may turn."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def __call__(self) -> int:
        return wall_clock() + self.ahead_ms


class Workshop:
    """One worker, one origin, and the words to set a scene and to look at what came of it."""

    def __init__(self, runtime: Runtime, clock: Clock, model: ScriptedModel, origin: Origin) -> None:
        self.runtime, self.clock, self.model, self.origin = runtime, clock, model, origin
        self.registry = new_registry()
        self.doors = open_doors(runtime, allow_local=True)
        self.worker = self.another_worker()

    @property
    def workspaces(self) -> Path:
        return self.runtime.settings.workspaces_dir

    @property
    def mirror(self) -> Path:
        return self.workspaces / "repos" / "1.git"

    @property
    def worktree(self) -> Path:
        return self.workspaces / "worktrees" / "1" / NAME

    def another_worker(self) -> Worker:
        return Worker(self.runtime, self.doors, JobMeter(new_registry()))

    async def call(self, verb: Callable[Concatenate[Unit, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a person asks for."""
        return await self.runtime.flow.run(PERSON, verb, *args, **kwargs)

    async def open(
        self,
        *names: str,
        plan: bool = False,
        policy: dict[str, Any] | None = None,
        git_url: str | None = None,
        ci_provider: Provider | None = None,
        **step: Any,
    ) -> None:
        """Project 1 and protocol 1, started: with these steps of one's own, or with `plan` by planning."""
        await self.call(
            register_project,
            name="sample",
            git_url=git_url or self.origin.url,
            base_branch="main",
            ci_provider=ci_provider,
            default_models={},
            policy=Policy(**(policy or {})),
            allow_local=True,
        )
        await self.work()
        await self.call(open_protocol, 1, protocol_name=NAME, description="Do it.")
        for name in names:
            await self.call(add_step, 1, step_name=name, **step)
        await self.call(start_protocol, 1, plan=plan)

    async def execute(self) -> StepRun:
        """The next step after one execution, however that ended."""
        step = await self.call(run_next_step, 1)
        await self.work()
        return await self.step(step.id)

    async def judge(self, step_id: int = 1) -> StepRun:
        """The step after one QA run, however that ended."""
        await self.call(run_qa, step_id)
        await self.work()
        return await self.step(step_id)

    async def due(self) -> list[Job]:
        def look(tx: Tx) -> list[Job]:
            limit = self.runtime.settings.project_concurrency
            return list(jobs.to_ring(tx, project_limit=limit, rung_before=tx.now + 1, limit=10))

        return await self.runtime.database.read(look)

    async def work(self, worker: Worker | None = None) -> None:
        """Run every job that is due, one after the other, until none is."""
        while due := await self.due():
            await (worker or self.worker).run_job(due[0].id, due[0].dispatch)

    @asynccontextmanager
    async def working(self, worker: Worker | None = None) -> AsyncIterator["asyncio.Task[None]"]:
        """`work` beside the body, which must bring it to its end."""
        task = asyncio.create_task(self.work(worker))
        try:
            yield task
            async with asyncio.timeout(60):
                await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def pass_time(self, seconds: float) -> None:
        self.clock.ahead_ms += round(seconds * 1000)

    async def rows(self, sql: str, *params: Any) -> list[Row]:
        def look(tx: Tx) -> list[Row]:
            return tx.rows(sql, params)

        return await self.runtime.database.read(look)

    async def change(self, sql: str, *params: Any) -> None:
        """What only somebody else's hand can do."""

        def write(tx: Tx) -> None:
            tx.run(sql, params)

        await self.runtime.database.write(write)

    async def protocol(self) -> Protocol:
        return await self.runtime.database.read(protocols.expect, 1)

    async def step(self, step_id: int = 1) -> StepRun:
        return await self.runtime.database.read(steps.expect, step_id)

    async def attempts(self) -> list[Row]:
        return await self.rows("SELECT * FROM attempts ORDER BY id")

    async def jobs(self, kind: str) -> list[Row]:
        return await self.rows("SELECT * FROM jobs WHERE kind = ? ORDER BY id", kind)

    async def events(self, *types: str) -> list[Event]:
        """Oldest first; of these types, or all."""

        def look(tx: Tx) -> list[Event]:
            return tx.load_all(Event, "SELECT * FROM events ORDER BY id")

        found = await self.runtime.database.read(look)
        return [event for event in found if not types or event.event_type in types]

    async def event(self, event_type: str) -> Event:
        """The one event of this type."""
        (event,) = await self.events(event_type)
        return event

    async def until(self, sql: str, *params: Any, within: float = 30) -> Row:
        """The first row that the query gives, once it gives one."""

        async def look() -> list[Row]:
            return await self.rows(sql, *params)

        return (await eventually(look, within=within))[0]

    @asynccontextmanager
    async def waiting_agent(self) -> AsyncIterator["asyncio.Task[None]"]:
        """The next step's agent is in its `WAIT` while the body runs; afterwards everything that is due is done."""
        await self.call(run_next_step, 1)
        async with self.working() as work:
            await until_exists(self.worktree / "here")
            await self.until("SELECT id FROM attempts WHERE state = 'running' AND thread_id IS NOT NULL")
            yield work

    def go_on(self) -> None:
        """End the agent's `WAIT`."""
        (self.worktree / "go-on").touch()

    @asynccontextmanager
    async def locked_database(self) -> AsyncIterator[None]:
        """Somebody else holds the database for as long as the body runs, and we have little patience."""
        await self.runtime.database._writer.execute_fetchall("PRAGMA busy_timeout=20")
        async with open_database(self.runtime.database.path, readers=0) as other:
            await other._writer.execute_fetchall("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                await other._writer.rollback()

    def agents(self) -> list[int]:
        return agent_processes(self.workspaces)

    def log(self, where: Path, revisions: str, form: str) -> list[str]:
        """Commits, newest first, each as `git log --format` gives it."""
        return plain_git(where, "log", f"--format={form}%x00", revisions).replace("\0\n", "\0").split("\0")[:-1]

    def subjects(self) -> list[str]:
        """The subjects of our commits on the branch at the origin, newest first."""
        return plain_git(self.origin.bare, "log", "--format=%s", f"main..{NAME}").splitlines()

    def shown(self, path: str, commit: str = NAME) -> str:
        """A file at the origin."""
        return plain_git(self.origin.bare, "show", f"{commit}:{path}")

    def files(self, commit: str = NAME) -> list[str]:
        return plain_git(self.origin.bare, "ls-tree", "-r", "--name-only", commit).splitlines()

    def salvaged(self) -> list[str]:
        return plain_git(self.mirror, "for-each-ref", "--format=%(refname)", "refs/deksdenflow/salvage").splitlines()


@asynccontextmanager
async def open_workshop(
    folder: Path,
    *conversations: dict[str, Any],
    database: Path | None = None,
    network: dict[str, str] | None = None,
    **changes: Any,
) -> AsyncIterator[Workshop]:
    """A workshop whose model plays these conversations; no agent may outlive it."""
    origin = Origin(folder / "theirs")
    origin.commit(FIRST_FILES)
    clock = Clock()
    redis = FakeServer()
    async with (
        ScriptedModel(parse_script({"conversations": list(conversations) or [NOTHING]})) as model,
        open_database(database or folder / "flow.sqlite", clock=clock) as opened,
    ):
        chosen: dict[str, Any] = {
            "db_path": opened.path,
            "workspaces_dir": folder / "ours",
            "allow_local_repos": True,
            "model_base_url": model.base_url,
            "codex_sandbox": SANDBOX,
            "step_timeout_s": 60,
            "grace_s": 2,
        }
        settings = msgspec.structs.replace(Settings(redis_url=Secret("fakeredis://")), **(chosen | changes))
        queue = Queue.from_fake(redis, "test")
        flow = Workflow(opened, queue, rules_of(settings), chance=lambda: 0)
        vault = Vault(Secret("a key that is only good for tests"))
        runtime = Runtime(settings, Redactor(), opened, queue, vault, flow, network or {})
        shop = Workshop(runtime, clock, model, origin)
        hearing = asyncio.create_task(shop.worker.hear_stops())
        try:
            yield shop
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            await shop.doors.aclose()
            await queue.close()
    assert not shop.agents(), "an agent outlived the workshop"
    # pytest cannot remove what an agent may have locked or nested too deep
    subprocess.run(["rm", "-rf", folder / "ours"], check=True)


async def until_exists(path: Path) -> None:
    async def exists() -> bool:
        return path.exists()

    await eventually(exists, within=30)


# A turn that ends when the test says `go_on`.
WAIT = {"command": "touch here; until test -e go-on; do sleep 0.05; done; rm go-on here"}
NOTHING: dict[str, Any] = {"turns": [{"message": "There is nothing to say."}]}
