"""Why a protocol run or a step moves or does not, whom it waits for and what comes of it: from records alone (pure)."""

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from shared.schemas.awaited import Awaited
from shared.schemas.records import StepRun
from shared.schemas.statuses import JobKind, Phase, ProtocolStatus, PullState, Reason, StepStatus
from shared.states import doable
from shared.states.causes import cause_of
from shared.states.rest import missing_dependencies, next_step, startable, under_way
from shared.states.waiting import STAYS, Evidence, Finding, Situation, job_waits, judgement_waits, shown, told

_OVER = "Nothing more happens to it."
# What stops a protocol as a whole, by what failed.
_STOPPED_BY = {Reason.PLAN_FAILED: JobKind.PLAN, Reason.PUBLISH_FAILED: JobKind.OPEN_PR, Reason.DIVERGED: None}
_UNHEALED: Mapping[Reason, str] = {
    Reason.CI_REGRESSED: "It goes on by itself once the CI is green there or on a later commit of the branch.",
    Reason.PR_CLOSED: "It goes on by itself when the pull request is reopened, and is over when that is merged.",
    Reason.PUBLISH_FAILED: "It goes on by itself as soon as a push has worked.",
}


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said of a protocol run or a step now; times in milliseconds, `actions` those that guards allow."""

    status: str
    phase: Phase | None
    reason: Reason | None
    because: str
    waiting_for: Awaited
    if_nobody_acts: str
    since: int | None
    until: int | None
    actions: tuple[str, ...]
    evidence: tuple[Evidence, ...]

    @property
    def moving(self) -> bool:
        """Whether it goes on without anybody's help."""
        return self.waiting_for.moves


def explain_protocol(situation: Situation) -> Explanation:
    """The protocol run as it is now."""
    protocol, found = situation.protocol, find_protocol(situation)
    return Explanation(
        status=protocol.status,
        phase=protocol.phase,
        reason=protocol.reason,
        because=found.because,
        waiting_for=found.waiting_for,
        if_nobody_acts=found.if_nobody_acts,
        since=situation.since if found.since is None else found.since,
        until=found.until,
        actions=doable.of_protocol(situation),
        evidence=found.evidence,
    )


def explain_step(situation: Situation, step: StepRun) -> Explanation:
    """One of the situation's steps as it is now."""
    found = find_step(situation, step)
    return Explanation(
        status=step.status,
        phase=step.phase,
        reason=step.reason,
        because=found.because,
        waiting_for=found.waiting_for,
        if_nobody_acts=found.if_nobody_acts,
        since=situation.steps_since.get(step.id, step.updated_at) if found.since is None else found.since,
        until=found.until,
        actions=doable.of_step(situation, step),
        evidence=found.evidence,
    )


def find_protocol(situation: Situation) -> Finding:
    """Why the protocol run is as it is."""
    protocol = situation.protocol
    match protocol.status:
        case ProtocolStatus.PENDING:
            begun = "has steps that were added by hand" if situation.steps else "was opened"
            return _person(f"It {begun} and was not started yet. Start it.")
        case ProtocolStatus.PLANNING:
            return _planning(situation)
        case ProtocolStatus.PLANNED | ProtocolStatus.RUNNING:
            return _open(situation)
        case ProtocolStatus.PAUSED:
            return _paused(situation)
        case ProtocolStatus.BLOCKED:
            return _blocked(situation)
        case ProtocolStatus.FAILED | ProtocolStatus.CANCELLED | ProtocolStatus.COMPLETED:
            why = cause_of(protocol.reason).what if protocol.reason else "it has come to its end"
            return _over(f"It is {protocol.status}: {why}.", pull(situation))


def find_step(situation: Situation, step: StepRun) -> Finding:
    """Why the step is as it is."""
    subject = f"Step {step.step_index}"
    match step.status:
        case StepStatus.PENDING if step.phase is Phase.QUEUED:
            return _job_of(situation, step, JobKind.EXECUTE, f"The execution of step {step.step_index}")
        case StepStatus.PENDING:
            return _not_started(situation, step)
        case StepStatus.RUNNING:
            return _job_of(situation, step, JobKind.EXECUTE, f"The execution of step {step.step_index}")
        case StepStatus.NEEDS_QA if step.phase in {Phase.QA_QUEUED, Phase.QA_RUNNING}:
            return _job_of(situation, step, JobKind.QA, f"QA of step {step.step_index}")
        case StepStatus.NEEDS_QA:
            return judgement_waits(situation, step)
        case StepStatus.FAILED:
            return _failed(situation, step)
        case StepStatus.COMPLETED | StepStatus.CANCELLED:
            found = shown(situation.gates_of(step))
            return _over(f"{subject} is {step.status}: {cause_of(step.reason or Reason.OPERATOR).what}.", found)


def pull(situation: Situation) -> tuple[Evidence, ...]:
    """The pull request, if there is one."""
    protocol = situation.protocol
    if protocol.pr_number is None:
        return ()
    return (Evidence(f"Pull request {protocol.pr_number} is {protocol.pr_state}.", protocol.pr_url),)


def _person(because: str, if_nobody_acts: str = STAYS, evidence: tuple[Evidence, ...] = ()) -> Finding:
    return Finding(
        because=because, waiting_for=Awaited.PERSON, if_nobody_acts=if_nobody_acts, since=None, evidence=evidence
    )


def _over(because: str, evidence: tuple[Evidence, ...]) -> Finding:
    return Finding(because=because, waiting_for=Awaited.NOBODY, if_nobody_acts=_OVER, evidence=evidence)


def _planning(situation: Situation) -> Finding:
    job = situation.job(JobKind.PLAN)
    if job is None:
        return Finding(
            because="Its planning is being ended.", waiting_for=Awaited.WORKER, if_nobody_acts="It ends within seconds."
        )
    return job_waits(situation, job, "The planning")


def _open(situation: Situation) -> Finding:
    """Planned or running: what is under way speaks for all, else the step that comes next."""
    protocol, steps = situation.protocol, situation.steps
    if protocol.phase is Phase.AWAITING_PLAN_APPROVAL:
        return _person("Its plan is ready and waits for an approval. Read it; approve it, or reject it with feedback.")
    if protocol.phase is Phase.AWAITING_MERGE:
        return Finding(
            because="All its steps are done and its pull request waits to be merged. Merge it at the forge.",
            waiting_for=Awaited.MERGE,
            if_nobody_acts="It is completed when the request is merged, and blocked when that is closed.",
            since=protocol.updated_at,
            evidence=pull(situation),
        )
    found = [find_step(situation, step) for step in steps if under_way(step)]
    moving = next((each for each in found if each.waiting_for.moves), None)
    if moving is not None or found:
        return moving or found[0]
    upcoming = next_step(steps) or next((step for step in steps if startable(step)), None)
    if upcoming is not None:
        return find_step(situation, upcoming)
    return _person("It has no step that could be run. Add a step, or cancel it.")


def _paused(situation: Situation) -> Finding:
    protocol = situation.protocol
    because = "It is paused: nothing new starts. Resume it to go on."
    if protocol.reason not in {None, Reason.OPERATOR}:
        because = f"It is paused, and will be blocked when it is resumed: {cause_of(protocol.reason).what}. Resume it."
    busy = [job for job in situation.jobs if job.kind.runs_codex and job.owner is not None]
    if busy and busy[0].stop is None:
        because += " What was under way still ends and counts."
    return _person(because, evidence=pull(situation))


def _blocked(situation: Situation) -> Finding:
    protocol = situation.protocol
    cause = cause_of(protocol.reason)
    mending = situation.job(JobKind.OPEN_PR) if protocol.reason in {Reason.PUBLISH_FAILED, Reason.DIVERGED} else None
    if mending is not None and ("reset" in mending.payload or protocol.reason is Reason.PUBLISH_FAILED):
        return job_waits(situation, mending, "The publishing that mends it")
    if protocol.reason in doable.STEP_CAUSES:
        wanted = StepStatus.FAILED if protocol.reason is Reason.STEP_FAILED else StepStatus.NEEDS_QA
        guilty = next((step for step in situation.steps if step.status is wanted), None)
        if guilty is not None:
            found = find_step(situation, guilty)
            if_nobody_acts = found.if_nobody_acts.replace("The protocol", "It")
            return replace(found, because=f"It is blocked. {found.because}", if_nobody_acts=if_nobody_acts)
    kind = _STOPPED_BY.get(protocol.reason) if protocol.reason else None
    evidence = told(situation.failure(kind)) if kind is not None else ()
    if protocol.reason is Reason.DIVERGED and protocol.diverged_sha is not None:
        evidence = (Evidence(f"{protocol.branch} is at {protocol.diverged_sha} there, not at {protocol.head_sha}."),)
    if_nobody_acts = _UNHEALED.get(protocol.reason or Reason.UNKNOWN, f"Nothing starts. {STAYS}")
    open_pull = pull(situation) if protocol.pr_state is not PullState.MERGED else ()
    return _person(f"It is blocked: {cause.what}. {cause.remedy}", if_nobody_acts, (*evidence, *open_pull))


def _job_of(situation: Situation, step: StepRun, kind: JobKind, what: str) -> Finding:
    job = situation.job(kind, step.id)
    if job is not None:
        return job_waits(situation, job, what)
    return Finding(because=f"{what} is being ended.", waiting_for=Awaited.WORKER, if_nobody_acts="It ends in seconds.")


def _not_started(situation: Situation, step: StepRun) -> Finding:
    protocol, steps, subject = situation.protocol, situation.steps, f"Step {step.step_index}"
    waits = protocol.phase is Phase.AWAITING_PLAN_APPROVAL
    if waits or protocol.status not in {ProtocolStatus.PLANNED, ProtocolStatus.RUNNING}:
        found = find_protocol(situation)
        return replace(found, because=f"{subject} was not started. Its protocol: {found.because}")
    missing = missing_dependencies(step, steps)
    working = [each for each in steps if each.id != step.id and each.status is not StepStatus.NEEDS_QA]
    first = next((each for each in steps if each.step_index in missing), None) or next(
        (each for each in working if under_way(each)), None
    )
    by_itself = protocol.policy.starts_by_itself(step.step_index)
    if first is None and by_itself:
        before = next((each for each in steps if each.step_index < step.step_index and not each.status.settled), None)
        # One that waits for a later step than itself is gone past by a person only.
        by_itself = before is None or not missing_dependencies(before, steps)
        first = before if by_itself else None
    if first is not None:
        found = find_step(situation, first)
        return replace(found, because=f"{subject} waits for step {first.step_index}. {found.because}")
    if by_itself:
        return Finding(
            because=f"{subject} starts by itself.", waiting_for=Awaited.WORKER, if_nobody_acts="It starts shortly."
        )
    return _person(f"{subject} can start, does not do so by itself, and nobody has started it. Run it.")


def _failed(situation: Situation, step: StepRun) -> Finding:
    cause = cause_of(step.reason)
    gates = situation.gates_of(step)
    kind = JobKind.EXECUTE
    by_gate = step.reason in {Reason.CI_FAILED, Reason.QA_FAILED}
    evidence = shown(gates) if by_gate else (*told(situation.failure(kind, step.id)), *shown(gates))
    if_nobody_acts = "The protocol stays blocked for as long as nobody acts."
    if step.reason is Reason.CI_FAILED:
        if_nobody_acts = "The protocol stays blocked; a green CI on the same commit takes the failure back."
    return _person(f"Step {step.step_index} failed: {cause.what}. {cause.remedy}", if_nobody_acts, evidence)
