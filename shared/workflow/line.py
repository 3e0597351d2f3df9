"""Verbs on the line, which is all work together: stop it, resume it, and park what needs a credential for a while."""

from datetime import UTC, datetime
from typing import Literal

from msgspec.structs import replace

from shared.repository import holds, jobs
from shared.repository.holds import LINE
from shared.schemas.records import Hold, Job
from shared.schemas.statuses import EventType, JobKind, Reason, StopRequest
from shared.workflow.moves import stop_job
from shared.workflow.unit import Unit

# How long a credential is parked whose quota is used up, when nobody says until when.
QUOTA_MS = 15 * 60 * 1000
SHORTEST_MS = 60 * 1000
LONGEST_MS = 31 * 24 * 3600 * 1000
# What is rung for at once when work goes on; the pump does the rest.
RINGS = 64


def stop_line(unit: Unit, *, interrupt: bool = False) -> None:
    """Start nothing any more until somebody resumes; what runs may finish, or with `interrupt` its agents are parked.

    Stopping twice is the same as once, but a second stop may interrupt what the first let run.
    """
    present = holds.get(unit.tx, LINE)
    parked = [job for job in jobs.running(unit.tx) if interrupt and job.kind.runs_codex and job.stop is None]
    for job in parked:
        stop_job(unit, job, StopRequest.PARK)
    if present is not None and not parked:
        return
    stopped = present or _hold(unit, LINE, Reason.OPERATOR, "The line was stopped.", None)
    holds.put(unit.tx, stopped)
    unit.say(EventType.LINE_STOPPED, stopped, reason=Reason.OPERATOR, interrupt=interrupt, parked=len(parked))


def resume_line(unit: Unit) -> None:
    """Let everything start again, also what waits for a quota; on a line that goes it does nothing."""
    held = holds.in_force(unit.tx)
    for hold in held:
        _lift(unit, hold)
    if held:
        _let_go(unit)


def lift_ended(unit: Unit) -> int:
    """Forget the holds whose time has come, and ring for what they kept; gives how many."""
    ended = holds.over(unit.tx)
    for hold in ended:
        _lift(unit, hold)
    if ended:
        _let_go(unit)
    return len(ended)


def may_start(unit: Unit, job: Job) -> bool:
    """Whether neither the line nor the credential of the job is held; messages go out all the same."""
    if job.kind is JobKind.NOTIFY:
        return True
    held = {hold.name for hold in holds.in_force(unit.tx)}
    return LINE not in held and not (job.kind.runs_codex and unit.rules.credential in held)


def waited_ms(unit: Unit, job: Job) -> int:
    """How long the job waits for a worker; the time in which its credential was parked is none of it."""
    hold = holds.get(unit.tx, unit.rules.credential) if job.kind.runs_codex else None
    began = job.run_at if hold is None or hold.until is None else max(job.run_at, hold.until)
    return unit.now - began


def park_credential(
    unit: Unit, reason: Literal[Reason.QUOTA, Reason.RATE_LIMITED], message: str, until: int | None
) -> int:
    """Start nothing with the credential of this worker until then, or for 15 minutes; gives the time.

    A time that is already named and comes later stays.
    """
    if reason is Reason.QUOTA:
        wanted = unit.now + QUOTA_MS if until is None else until
        until = min(max(wanted, unit.now + SHORTEST_MS), unit.now + LONGEST_MS)
    until = until or unit.now
    name = unit.rules.credential
    present = next((hold for hold in holds.in_force(unit.tx) if hold.name == name), None)
    if present is not None and present.until is not None and present.until >= until:
        return present.until
    holds.put(unit.tx, _hold(unit, name, reason, message, until))
    return until


def at(ms: int) -> str:
    """A time for people and events, as the wire has it."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _hold(unit: Unit, name: str, reason: Reason, message: str, until: int | None) -> Hold:
    return Hold(name=name, reason=reason, message=message, until=until, actor=unit.caller.actor, created_at=unit.now)


def _lift(unit: Unit, hold: Hold) -> None:
    holds.drop(unit.tx, hold.name)
    if hold.name == LINE:
        unit.say(EventType.LINE_RESUMED, hold, reason=Reason.OPERATOR)
    elif hold.reason is Reason.QUOTA:
        unit.say(EventType.QUOTA_LIFTED, hold, reason=hold.reason, credential=hold.name, until=at(hold.until or 0))


def _let_go(unit: Unit) -> None:
    jobs.let_go(unit.tx)
    due = jobs.to_ring(
        unit.tx,
        project_limit=unit.rules.project_concurrency,
        rung_before=unit.now,
        limit=RINGS,
        credential=unit.rules.credential,
    )
    jobs.mark_dispatched(unit.tx, [(job.id, job.dispatch) for job in due], unit.now)
    unit.to_ring.extend(replace(job, dispatched_at=unit.now) for job in due)
