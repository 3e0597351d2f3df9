"""The unit of work that every verb runs in: one write transaction, its caller, the rules and the jobs to ring for."""

from collections.abc import Callable
from typing import Any

import msgspec

from shared.repository import events, jobs
from shared.repository.database import Tx
from shared.repository.holds import LOGIN
from shared.schemas.notices import Notifier
from shared.schemas.records import Delivery, Event, Hold, Job, Project, Protocol, StepRun
from shared.schemas.statuses import EventType, JobKind, JobState


class Caller(msgspec.Struct, frozen=True):
    """Who asks: the name that events carry, the request, and the one project that is visible (None: all)."""

    actor: str
    request_id: str | None = None
    project_id: int | None = None


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that decide about work; times in seconds. `credential` names whom Codex works for."""

    max_attempts: int = 3
    max_continuations: int = 5
    backoff_max_s: float = 60
    queue_timeout_s: float = 86400
    project_concurrency: int = 2
    credential: str = LOGIN
    auto_qa_after_exec: bool = False
    auto_qa_on_ci: bool = False
    ci_completes_step: bool = False
    models: dict[str, str] = {}


class Unit:
    """One write transaction on its way; `chance` gives the jitter's random number in [0, 1).

    `said` are the events of it so far, each with the kind of the job that it came of.
    """

    def __init__(self, tx: Tx, caller: Caller, rules: Rules, chance: Callable[[], float]) -> None:
        self.tx = tx
        self.caller = caller
        self.rules = rules
        self.chance = chance
        self.to_ring: list[Job] = []
        self.stopping: list[int] = []
        self.said: list[tuple[Event, JobKind | None]] = []

    @property
    def now(self) -> int:
        """The transaction's time in milliseconds."""
        return self.tx.now

    def say(
        self,
        event_type: EventType,
        about: Hold | Project | Protocol | StepRun | Job | Delivery | Notifier,
        *,
        project_id: int | None = None,
        step: StepRun | None = None,
        job: Job | None = None,
        attempt_id: int | None = None,
        moved: tuple[str, str] | None = None,
        reason: str | None = None,
        **metadata: Any,
    ) -> None:
        """Append one event about a record; `moved` is (from, to) where its status changed."""
        protocol_id: int | None = None
        step_id = step.id if step else None
        delivery_id: int | None = None
        match about:
            case Hold():
                entity = "line"
            case Project():
                entity, project_id = "project", about.id
            case Protocol():
                entity, project_id, protocol_id = "protocol", about.project_id, about.id
            case StepRun():
                entity, protocol_id, step_id = "step", about.protocol_id, about.id
            case Job():
                entity, project_id, protocol_id, job = "job", about.project_id, about.protocol_id, about
                step_id, delivery_id = about.step_id, about.delivery_id
            case Notifier():
                entity, project_id = "notifier", about.project_id
            case Delivery():
                entity, project_id, protocol_id = "delivery", about.project_id, about.protocol_id
                step_id, delivery_id = about.step_id, about.id
        said = Event(
            id=0,
            project_id=project_id,
            protocol_id=protocol_id,
            step_id=step_id,
            attempt_id=attempt_id,
            job_id=job.id if job else None,
            delivery_id=delivery_id,
            event_type=event_type,
            entity=entity,
            from_status=moved[0] if moved else None,
            to_status=moved[1] if moved else None,
            reason=reason,
            actor=self.caller.actor,
            request_id=self.caller.request_id,
            metadata=metadata,
            created_at=self.now,
        )
        event_id = events.append(self.tx, said)
        self.said.append((msgspec.structs.replace(said, id=event_id), job.kind if job else None))

    def enqueue(
        self,
        kind: JobKind,
        *,
        project_id: int | None,
        protocol_id: int | None = None,
        step_id: int | None = None,
        delivery_id: int | None = None,
        payload: dict[str, Any] | None = None,
        priority: int = 0,
        run_at: int | None = None,
        max_attempts: int | None = None,
    ) -> Job:
        """Put a job into the outbox; its bell is rung after the commit, or by the pump once `run_at` has come."""
        due = run_at is None or run_at <= self.now
        job = jobs.add(
            self.tx,
            Job(
                id=0,
                kind=kind,
                project_id=project_id,
                protocol_id=protocol_id,
                step_id=step_id,
                delivery_id=delivery_id,
                payload=payload or {},
                state=JobState.QUEUED,
                priority=priority,
                run_at=self.now if run_at is None else run_at,
                attempt=0,
                max_attempts=max_attempts or self.rules.max_attempts,
                continuations=0,
                token=0,
                heartbeat=0,
                dispatch=1,
                dispatched_at=self.now if due else None,
                owner=None,
                stop=None,
                category=None,
                error=None,
                result=None,
                actor=self.caller.actor,
                request_id=self.caller.request_id,
                created_at=self.now,
                started_at=None,
                finished_at=None,
            ),
        )
        if due:
            self.to_ring.append(job)
        return job

    def ring_again(self, job: Job) -> None:
        """Give a queued job that had to rest a new dispatch; its bell is rung after the commit, if it is due.

        The rest is no waiting for a worker: the queue's timeout counts from now.
        """
        due = job.run_at <= self.now
        rested = msgspec.structs.replace(job, run_at=max(job.run_at, self.now), dispatched_at=self.now if due else None)
        again = jobs.requeue(self.tx, rested)
        if due:
            self.to_ring.append(again)
