"""What a claim opens: the attempt, the move of the step or protocol, and everything that the worker needs to know."""

from shared.repository import attempts, projects, protocols, steps
from shared.schemas.records import Attempt, Job, Project, Protocol, StepRun
from shared.schemas.reports import Claim, Usage
from shared.schemas.statuses import AttemptState, Footing, JobKind
from shared.workflow import execution, planning, quality
from shared.workflow.unit import Unit

_ROLES = {JobKind.PLAN: "planning", JobKind.EXECUTE: "exec", JobKind.QA: "qa"}


def begin(unit: Unit, job: Job, protocol: Protocol | None) -> Claim:
    """Open what was just claimed."""
    project = None if job.project_id is None else projects.get(unit.tx, job.project_id)
    if project is None or protocol is None or not job.kind.runs_codex:
        plan = None if protocol is None else protocols.plan(unit.tx, protocol.id, protocol.plan_revision)
        present = () if protocol is None else tuple(steps.of_protocol(unit.tx, protocol.id))
        return Claim(job=job, project=project, protocol=protocol, steps=present, plan=plan)
    step = None if job.step_id is None else steps.expect(unit.tx, job.step_id)
    earlier = tuple(attempts.of_job(unit.tx, job.id))
    model = _model(unit, job, project, protocol, step)
    start = step.head_sha if job.kind is JobKind.QA and step else protocol.head_sha
    attempt = attempts.open_for(unit.tx, job, start_sha=start, model=model)
    match job.kind:
        case JobKind.EXECUTE:
            step = execution.begin(unit, job, attempt.id)
        case JobKind.QA:
            step = quality.begin(unit, job, attempt.id)
        case _:
            planning.begin(unit, job, attempt.id)
    before = attempts.at_branch_before(unit.tx, attempt)
    usable = earlier or _untaken(unit, attempt, protocol, step)
    footing = _footing(unit, job, attempt, before, usable)
    resume = _to_resume(unit, attempt, step, earlier, footing)
    return Claim(
        job=job,
        project=project,
        protocol=protocols.expect(unit.tx, protocol.id),
        step=step,
        steps=tuple(steps.of_protocol(unit.tx, protocol.id)),
        plan=protocols.plan(unit.tx, protocol.id, protocol.plan_revision),
        attempt=attempt,
        earlier=usable,
        before=before,
        footing=footing or (Footing.REWORK if resume else None),
        resume=resume,
        used=_used(unit, resume),
        judged_from=_judged_from(unit, step) if job.kind is JobKind.QA else None,
        model=model,
        secret_files=projects.secret_files(unit.tx),
    )


def _model(unit: Unit, job: Job, project: Project, protocol: Protocol, step: StepRun | None) -> str:
    """Whom to ask: the step's model, then the protocol's, the project's default for this role, and the setting."""
    role = _ROLES[job.kind]
    asked = step.model if step is not None and job.kind is JobKind.EXECUTE else None
    return asked or protocol.model or project.default_models.get(role) or unit.rules.models.get(role, "")


def _footing(
    unit: Unit, job: Job, now: Attempt, before: Attempt | None, earlier: tuple[Attempt, ...]
) -> Footing | None:
    """What the attempt stands on as far as the rows tell; the worker also looks at the thread's record and the files.

    A thread and files that were cut off are gone on with when they belong together, to the same work and to nobody
    else since. The last time that a job may kill its worker it gets a clean start: the thread may be what kills it.
    """
    if not earlier:
        return None
    last = earlier[-1]
    lost = last.state is AttemptState.LOST
    reasons = {
        Footing.COMMITTED: any(each.head_sha and each.result for each in earlier),
        Footing.FAILED: not lost and last.state is not AttemptState.PARKED,
        Footing.READS_ONLY: lost and job.kind is not JobKind.EXECUTE,
        Footing.TOO_OFTEN: lost and job.continuations >= unit.rules.max_continuations,
        Footing.NO_THREAD: _talked(unit, last).thread_id is None,
        Footing.OTHER_MODEL: last.model != now.model,
        Footing.BRANCH_MOVED: last.start_sha != now.start_sha,
        Footing.WORKTREE_USED: job.kind.writes_branch and before is not None and before.job_id != job.id,
    }
    otherwise = Footing.LOST if lost else Footing.PARKED
    return next((footing for footing, applies in reasons.items() if applies), otherwise)


def _to_resume(
    unit: Unit, now: Attempt, step: StepRun | None, earlier: tuple[Attempt, ...], footing: Footing | None
) -> Attempt | None:
    """The attempt whose Codex thread goes on: the one that was cut off, or the one that made the last commit."""
    if footing is not None:
        return _talked(unit, earlier[-1]) if footing.keeps_files else None
    if now.kind is not JobKind.EXECUTE or step is None or step.thread_id is None or step.executions == 0:
        return None
    for attempt in attempts.of_thread(unit.tx, step.thread_id):
        fits = attempt.state is AttemptState.SUCCEEDED and attempt.head_sha == now.start_sha
        if fits and attempt.model == now.model and attempt.kind is JobKind.EXECUTE:
            return attempt
    return None


def _talked(unit: Unit, last: Attempt) -> Attempt:
    """The attempt that has the thread's record: one that died before its agent spoke left it where it was."""
    while last.thread_id is None and last.resumed_from is not None:
        last = attempts.expect(unit.tx, last.resumed_from)
    return last


def _untaken(unit: Unit, now: Attempt, protocol: Protocol, step: StepRun | None) -> tuple[Attempt, ...]:
    """The attempt before a retry that had made its commit, which the origin then did not take, or a cancel kept back.

    A cancelled one may have pushed it already: nothing else would fit on the branch then. Its work is adopted, by
    whichever attempt comes to the end of that, unless something else was asked for since: another model, a new thread,
    feedback.
    """
    made = attempts.before(unit.tx, now, committed=True)
    if made is None or made.state is AttemptState.SUCCEEDED:
        return ()
    same_ground = made.start_sha == now.start_sha and made.model == now.model
    same_thread = step is None or step.thread_id == made.thread_id
    feedback = protocol.feedback if step is None else step.feedback
    return (made,) if same_ground and same_thread and feedback is None else ()


def _used(unit: Unit, resume: Attempt | None) -> Usage:
    """What a thread has used so far: Codex counts on from there."""
    if resume is None or resume.thread_id is None:
        return Usage()
    talked = attempts.of_thread(unit.tx, resume.thread_id)
    return Usage(
        thread_id=resume.thread_id,
        input_tokens=sum(attempt.input_tokens for attempt in talked),
        cached_input_tokens=sum(attempt.cached_input_tokens for attempt in talked),
        output_tokens=sum(attempt.output_tokens for attempt in talked),
        reasoning_output_tokens=sum(attempt.reasoning_output_tokens for attempt in talked),
    )


def _judged_from(unit: Unit, step: StepRun | None) -> str | None:
    """The commit that the step's first accepted execution began at, so that QA sees all of its work."""
    if step is None:
        return None
    accepted = attempts.first_accepted(unit.tx, step.id)
    return accepted.start_sha if accepted else step.start_sha
