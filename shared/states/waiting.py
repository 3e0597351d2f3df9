"""What a job or a judgement waits for, from the records alone (pure)."""

from collections.abc import Mapping

import msgspec

from shared.schemas.awaited import Awaited
from shared.schemas.records import Attempt, Gate, Hold, Job, Protocol, StepRun, StepState
from shared.schemas.statuses import (
    GateName,
    GateState,
    JobKind,
    JobState,
    Outcome,
    Phase,
    ProtocolStatus,
    Reason,
    StopRequest,
)
from shared.states.causes import cause_of
from shared.states.gates import judge
from shared.states.protocol import READY

LINE = "line"
SHOWN_CHARS = 600
_WORK = {JobKind.PLAN: "planning", JobKind.EXECUTE: "an execution", JobKind.OPEN_PR: "publishing"}
STAYS = "It stays as it is for as long as nobody acts."


class Evidence(msgspec.Struct, frozen=True):
    """Something to look at."""

    text: str
    url: str | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Why something is as it is: in sentences, with times in milliseconds."""

    because: str
    waiting_for: Awaited
    if_nobody_acts: str
    since: int | None = None
    until: int | None = None
    evidence: tuple[Evidence, ...] = ()


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A protocol with what decides which actions its guards would let through; `jobs` are its open ones."""

    protocol: Protocol
    steps: tuple[StepState, ...] = ()
    jobs: tuple[Job, ...] = ()

    def job(self, kind: JobKind, step_id: int | None = None) -> Job | None:
        """The open job of this kind that is not being cancelled, a running one first."""
        found = [
            job
            for job in self.jobs
            if job.kind is kind and job.stop is not StopRequest.CANCEL and step_id in {None, job.step_id}
        ]
        return min(found, key=lambda job: (job.state is not JobState.RUNNING, job.id), default=None)


class Situation(Standing, frozen=True, kw_only=True):
    """A protocol with all that decides how it goes on; of `steps` their texts and counters need not be there.

    `gates` are those of its steps' present commits, `failed` its failed jobs with the newest first, `holds` those in
    force, `attempts` the live ones. `since` and `steps_since` tell since when the protocol and each step by id have
    their status. `free_place` tells whether the project may run one more agent.
    """

    now: int
    steps: tuple[StepRun, ...] = ()
    gates: tuple[Gate, ...] = ()
    failed: tuple[Job, ...] = ()
    holds: tuple[Hold, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    since: int | None = None
    steps_since: Mapping[int, int] = {}
    credential: str = "login"
    free_place: bool = True

    def failure(self, kind: JobKind, step_id: int | None = None) -> Job | None:
        """The newest job of this kind that failed."""
        return next((job for job in self.failed if job.kind is kind and step_id in {None, job.step_id}), None)

    def gates_of(self, step: StepRun) -> dict[GateName, Gate]:
        """What is known of the step's present commit."""
        return {gate.name: gate for gate in self.gates if gate.step_id == step.id and gate.sha == step.head_sha}


_CALLED = {GateName.CI: "CI", GateName.QA: "QA", GateName.APPROVAL: "Approval"}


def told(job: Job | None) -> tuple[Evidence, ...]:
    """What a failed job says of itself."""
    if job is None:
        return ()
    return (Evidence(f"Job {job.id} failed ({job.category}): {(job.error or '')[:SHOWN_CHARS]}"),)


def shown(gates: Mapping[GateName, Gate]) -> tuple[Evidence, ...]:
    """What gates say."""
    return tuple(
        Evidence(f"{_CALLED[gate.name]} {gate.state}: {gate.summary[:SHOWN_CHARS]}", gate.url)
        for gate in gates.values()
    )


def job_waits(situation: Situation, job: Job, what: str) -> Finding:
    """What an open job waits for; `what` it does begins each sentence, such as "The planning"."""
    if job.state is JobState.RUNNING:
        return _running(situation, job, what)
    return _kept(situation, job, what) or _postponed(situation, job, what) or _waits_for_worker(situation, job, what)


def _running(situation: Situation, job: Job, what: str) -> Finding:
    attempt = next((each for each in situation.attempts if each.job_id == job.id), None)
    since = attempt.started_at if attempt else job.started_at
    if job.error is not None:
        return Finding(
            because=f"{what} lost its worker, and what that had started could not be ended. Look at that host.",
            waiting_for=Awaited.PERSON,
            if_nobody_acts="It is tried again and again; as soon as its processes are gone it goes on by itself.",
            since=since,
            evidence=(Evidence(job.error[:SHOWN_CHARS]),),
        )
    if job.stop is not None:
        then = "It is over then." if job.stop is StopRequest.CANCEL else "It goes on later in the same thread."
        return Finding(
            because=f"{what} was asked to stop and is being ended.",
            waiting_for=Awaited.WORKER,
            if_nobody_acts=f"Its processes are ended within some seconds. {then}",
            since=since,
        )
    if not job.kind.runs_codex:
        ends = "It ends by itself, or is tried again."
        return Finding(
            because=f"{what} is under way.", waiting_for=Awaited.WORKER, if_nobody_acts=ends, since=job.started_at
        )
    number = f" (attempt {job.attempt} of {job.max_attempts})"
    return Finding(
        because=f"{what} is under way{number}: an agent works on it.",
        waiting_for=Awaited.AGENT,
        if_nobody_acts="It ends by itself, at the latest when its time limit or the limit of silence has passed.",
        since=since,
    )


def _kept(situation: Situation, job: Job, what: str) -> Finding | None:
    """What does not let it start at all, whatever the time."""
    protocol = situation.protocol
    if protocol.status is ProtocolStatus.PAUSED:
        return Finding(
            because=f"{what} waits because the protocol is paused. Resume it to go on.",
            waiting_for=Awaited.PERSON,
            if_nobody_acts=STAYS,
            since=situation.since,
        )
    if protocol.status not in READY[job.kind]:
        return Finding(
            because=f"{what} waits because the protocol is {protocol.status}. Remove what stopped the protocol.",
            waiting_for=Awaited.PERSON,
            if_nobody_acts=STAYS,
            since=situation.since,
        )
    held = {hold.name: hold for hold in situation.holds}
    if line := held.get(LINE):
        return Finding(
            because=f"{what} waits because {line.actor} stopped the line. Resume the line to go on.",
            waiting_for=Awaited.LINE,
            if_nobody_acts="No job of any project starts until somebody resumes the line.",
            since=line.created_at,
            evidence=(Evidence(line.message),),
        )
    hold = held.get(situation.credential) if job.kind.runs_codex else None
    if hold is None:
        return None
    cause = cause_of(hold.reason)
    return Finding(
        because=f"{what} waits: {cause.what}. {cause.remedy}",
        waiting_for=Awaited.QUOTA if hold.reason is Reason.QUOTA else Awaited.TIME,
        if_nobody_acts="It goes on by itself at the time that is named; nothing is lost.",
        since=hold.created_at,
        until=hold.until,
        evidence=(Evidence(hold.message),),
    )


def _postponed(situation: Situation, job: Job, what: str) -> Finding | None:
    if job.run_at <= situation.now:
        return None
    because = f"{what} waits for its time."
    if job.category is not None:
        tried = f"Try {job.attempt} of {job.max_attempts}"
        because = f"{tried} of what follows did not work: {cause_of(job.category).what}. {what} is repeated by itself."
    return Finding(
        because=because,
        waiting_for=Awaited.TIME,
        if_nobody_acts="It is tried again at the time that is named, until its tries are used up.",
        until=job.run_at,
        evidence=(Evidence(job.error[:SHOWN_CHARS]),) if job.error else (),
    )


def _waits_for_worker(situation: Situation, job: Job, what: str) -> Finding:
    writer = next((each for each in situation.jobs if each.state is JobState.RUNNING and each.kind.writes_branch), None)
    because = f"{what} is queued and waits for a worker to take it."
    if job.kind.writes_branch and writer is not None and writer.id != job.id:
        because = f"{what} is queued and waits until job {writer.id} ({_WORK[writer.kind]}) has left the branch."
    elif job.kind.runs_codex and not situation.free_place:
        because = f"{what} is queued: the project runs as many agents as DEKSDENFLOW_PROJECT_CONCURRENCY allows."
    return Finding(
        because=because,
        waiting_for=Awaited.WORKER,
        if_nobody_acts="It starts as soon as there is room; when no worker takes it for too long, it fails.",
        since=job.created_at,
    )


def judgement_waits(situation: Situation, step: StepRun) -> Finding:
    """What an executed step waits for that is neither queued for QA nor judged by it now."""
    protocol, gates = situation.protocol, situation.gates_of(step)
    verdict = judge(protocol.policy, {name: gate.state for name, gate in gates.items()})
    subject = f"Step {step.step_index}"
    since, evidence = situation.steps_since.get(step.id, step.updated_at), shown(gates)
    ci = gates.get(GateName.CI)
    if verdict.failed and protocol.status is ProtocolStatus.PAUSED:
        because = f"{subject} has a red gate, and is repaired once the paused protocol is resumed."
        return Finding(
            because=because, waiting_for=Awaited.PERSON, if_nobody_acts=STAYS, since=since, evidence=evidence
        )
    if step.phase is Phase.INCONCLUSIVE:
        return Finding(
            because=f"QA of step {step.step_index} gave no verdict: {cause_of(step.reason).what}."
            " Read its log; then run QA again, approve the step, or reject it with feedback.",
            waiting_for=Awaited.PERSON,
            if_nobody_acts="No verdict is never a pass: it stays as it is.",
            since=gates[GateName.QA].updated_at if GateName.QA in gates else step.updated_at,
            evidence=(*evidence, *told(situation.failure(JobKind.QA, step.id))),
        )
    people = [name for name in verdict.open if name is not GateName.CI]
    needs_ci = GateName.CI in verdict.open
    first_ci = protocol.policy.auto_qa_on_ci and (ci is None or ci.state is not GateState.PASSED)
    if waits_at_forge(ci):
        return Finding(
            because=f"The CI of step {step.step_index} waits for a person at the forge. Start or approve it there.",
            waiting_for=Awaited.PERSON,
            if_nobody_acts="Neither we nor the forge can go on without that.",
            since=ci.updated_at if ci else since,
            evidence=evidence,
        )
    unheard = ci is None or ci.state is GateState.PENDING
    if (needs_ci and not people) or (first_ci and unheard):
        return Finding(
            because=f"{subject} was executed and waits for the CI on its commit.",
            waiting_for=Awaited.CI,
            if_nobody_acts="It goes on when the CI has ended. What the forge does not tell is asked for.",
            since=since,
            evidence=evidence,
        )
    ways = {GateName.QA: "run QA", GateName.APPROVAL: "approve it"}
    wanted = [ways[name] for name in people] or ["approve it"]
    also = " The CI is waited for too." if needs_ci else ""
    return Finding(
        because=f"{subject} was executed and waits to be judged: {' or '.join(wanted)}, or reject it.{also}",
        waiting_for=Awaited.PERSON,
        if_nobody_acts=STAYS,
        since=since,
        evidence=evidence,
    )


def waits_at_forge(ci: Gate | None) -> bool:
    """Whether the CI of a commit goes on only when somebody starts or approves it at the forge."""
    if ci is None or ci.state is not GateState.PENDING:
        return False
    outcomes = [each.get("outcome") for each in ci.evidence.get("contexts", ())]
    return Outcome.WAITING_HUMAN in outcomes and Outcome.RUNNING not in outcomes
