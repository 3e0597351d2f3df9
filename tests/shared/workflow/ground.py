"""A database in memory with the verbs on it, a clock to move, and a worker that does what the test says.

After every verb the invariants of DESIGN §4 are checked over the whole database.
"""

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from shared.repository import attempts, events, jobs, protocols, steps
from shared.repository.database import Tx, _dict_row, _transact, sqlite3
from shared.repository.migrations import apply_migrations
from shared.schemas.policy import Policy
from shared.schemas.records import Event, Job, Plan, Project, Protocol, StepRun
from shared.schemas.reports import Claim, Ending, ExecutionDone, PlanDone, PlannedStep, QaDone, SetupDone, Usage
from shared.schemas.statuses import JobKind, StepType
from shared.workflow.jobs import claim_job, release
from shared.workflow.plan_files import Line, compose
from shared.workflow.projects import register_project
from shared.workflow.protocols import open_protocol, start_protocol
from shared.workflow.steps import run_step
from shared.workflow.unit import Caller, Rules, Unit
from tests.shared.workflow.invariants import broken

P = ParamSpec("P")
T = TypeVar("T")

ADMIN = Caller("alice", "req-1")
WORKER = Caller("worker:w1")
LATEST = 2**62


class Ground:
    """The rules may be replaced by the test between verbs; `rung` and `stopping` are those of the last verb."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.now = 1_800_000_000_000
        self.chance = 0.5
        self.rung: list[Job] = []
        self.stopping: list[int] = []
        self._shas = 0
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.row_factory = _dict_row
        self.connection.execute("PRAGMA foreign_keys=ON")
        _transact(self.connection, "BEGIN IMMEDIATE", lambda connection: apply_migrations(connection, self.now))

    def run(self, verb: Callable[Concatenate[Unit, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run_as(ADMIN, verb, *args, **kwargs)

    def run_as(self, caller: Caller, verb: Callable[Concatenate[Unit, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        def work(connection: Any) -> tuple[T, Unit]:
            unit = Unit(Tx(connection, self.now), caller, self.rules, lambda: self.chance)
            return verb(unit, *args, **kwargs), unit

        result, unit = _transact(self.connection, "BEGIN IMMEDIATE", work)
        self.rung, self.stopping = unit.to_ring, unit.stopping
        wrong = broken(self.tx, self.rules)
        assert not wrong, wrong
        return result

    @property
    def tx(self) -> Tx:
        return Tx(self.connection, self.now)

    def sql(self, text: str, *params: Any) -> list[dict[str, Any]]:
        return self.tx.rows(text, params)

    def wait(self, seconds: float) -> None:
        self.now += round(seconds * 1000)

    # what there is

    def project(self, name: str = "demo", policy: Policy | None = None, **more: Any) -> Project:
        project = self.run(
            register_project,
            name=name,
            git_url=more.get("git_url", f"https://example.org/{name}.git"),
            base_branch="main",
            ci_provider=more.get("ci_provider"),
            repository_id=more.get("repository_id"),
            default_models=more.get("default_models", {}),
            policy=policy or Policy(),
            allow_local=False,
        )
        (job,) = self.rung
        claim = self.run_as(WORKER, claim_job, job.id, job.dispatch, "w1")
        assert claim is not None
        self.end(claim, SetupDone(base_sha=self.sha(), default_branch="main"))
        return project

    def opened(self, name: str | None = None, project: Project | None = None, **policy: Any) -> Protocol:
        project = project or self.project(name=f"demo-{self.now}-{len(self.sql('SELECT id FROM projects'))}")
        return self.run(
            open_protocol, project.id, protocol_name=name, description="mend the cents", policy_changes=policy
        )

    def planned(self, count: int = 2, *, after: dict[int, tuple[int, ...]] | None = None, **policy: Any) -> Protocol:
        """A protocol with a plan of so many steps; `after` names what a step depends on."""
        protocol = self.run(start_protocol, self.opened(**policy).id)
        self.plan(protocol.id, count, after=after)
        return self.protocol(protocol.id)

    def executed(self, count: int = 2, **policy: Any) -> StepRun:
        """The first step of a planned protocol, executed and waiting to be judged."""
        step = self.step(self.planned(count, **policy), 1)
        self.run(run_step, step.id)
        self.execute(step)
        return self.fresh(step)

    def sha(self) -> str:
        self._shas += 1
        return f"{self._shas:040x}"

    def protocol(self, protocol_id: int) -> Protocol:
        return protocols.expect(self.tx, protocol_id)

    def of(self, step: StepRun) -> Protocol:
        return self.protocol(step.protocol_id)

    def step(self, protocol: Protocol, index: int) -> StepRun:
        return next(each for each in steps.of_protocol(self.tx, protocol.id) if each.step_index == index)

    def fresh(self, step: StepRun) -> StepRun:
        return steps.expect(self.tx, step.id)

    def job(self, job_id: int) -> Job:
        return jobs.expect(self.tx, job_id)

    def open_jobs(self, protocol_id: int, kind: JobKind | None = None) -> list[Job]:
        return [job for job in jobs.open_of_protocol(self.tx, protocol_id) if kind in {None, job.kind}]

    def only_job(self, protocol_id: int, kind: JobKind | None = None) -> Job:
        (job,) = self.open_jobs(protocol_id, kind)
        return job

    def due(self) -> list[Job]:
        """What the pump would ring for now."""
        return list(jobs.to_ring(self.tx, project_limit=self.rules.project_concurrency, rung_before=LATEST, limit=99))

    def events(self, protocol_id: int) -> list[Event]:
        """Oldest first."""
        return list(reversed(events.of_protocol(self.tx, protocol_id, before=LATEST, limit=500)))

    def story(self, protocol_id: int) -> list[str]:
        """The events as `type` or `type from>to`, oldest first."""
        return [
            event.event_type
            if event.from_status is None
            else f"{event.event_type} {event.from_status}>{event.to_status}"
            for event in self.events(protocol_id)
        ]

    def news(self, protocol_id: int, verb: Callable[[], Any]) -> list[str]:
        """What the events tell of that which `verb` did."""
        before = len(self.events(protocol_id))
        verb()
        return self.story(protocol_id)[before:]

    # the worker

    def claim(self, protocol_id: int, kind: JobKind | None = None) -> Claim:
        job = self.only_job(protocol_id, kind)
        claim = self.run_as(WORKER, claim_job, job.id, job.dispatch, "w1")
        assert claim is not None, f"{job.kind} was not given out"
        return claim

    def end(self, claim: Claim, ending: Ending, usage: Usage | None = None) -> bool:
        return self.run_as(WORKER, release, claim.job.id, claim.job.token, ending, usage)

    def plan(self, protocol_id: int, count: int = 2, *, after: dict[int, tuple[int, ...]] | None = None) -> None:
        claim = self.claim(protocol_id, JobKind.PLAN)
        self.end(claim, self.plan_done(claim, count, after=after))

    def plan_done(self, claim: Claim, count: int = 2, *, after: dict[int, tuple[int, ...]] | None = None) -> PlanDone:
        assert claim.protocol is not None
        return PlanDone(
            plan=a_plan(claim.protocol, self.now, count),
            steps=tuple(
                PlannedStep(
                    title=f"step {index}",
                    type=StepType.WORK,
                    instructions="do it",
                    depends_on=(after or {}).get(index, ()),
                )
                for index in range(1, count + 1)
            ),
            start_sha=claim.protocol.start_sha or self.sha(),
            head_sha=self.sha(),
            pushed=True,
        )

    def executed_well(self, **changes: Any) -> ExecutionDone:
        facts: dict[str, Any] = {"summary": "done", "changed": True, "head_sha": self.sha(), "pushed": True}
        return ExecutionDone(**(facts | changes))

    def execute(self, step: StepRun, report: Ending | None = None) -> Claim:
        """Claim the step's execution and end it, well unless told otherwise."""
        (job,) = [
            job for job in self.open_jobs(step.protocol_id, JobKind.EXECUTE) if job.step_id == step.id and not job.stop
        ]
        claim = self.run_as(WORKER, claim_job, job.id, job.dispatch, "w1")
        assert claim is not None
        self.end(claim, report or self.executed_well())
        return claim

    def judge(self, step: StepRun, verdict: Any = "pass", **more: Any) -> Claim:
        """Claim the QA run that is queued and give the verdict."""
        claim = self.claim(step.protocol_id, JobKind.QA)
        self.end(claim, self.verdict(self.fresh(step), verdict, **more))
        return claim

    def verdict(self, step: StepRun, verdict: Any = "pass", **more: Any) -> QaDone:
        return QaDone(sha=step.head_sha or "", verdict=verdict, summary=f"it is a {verdict}", **more)

    def attempts(self, protocol_id: int) -> list[Any]:
        return list(attempts.of_protocol(self.tx, protocol_id, after=0, limit=500))


def a_plan(protocol: Protocol, now: int, count: int) -> Plan:
    lines = [Line(index, f"step {index}", StepType.WORK, "do it", ()) for index in range(1, count + 1)]
    return compose(
        protocol,
        revision=protocol.plan_revision + 1,
        summary="how",
        plan_md="first this, then that",
        context_md="it is Python",
        lines=lines,
        now=now,
    )
