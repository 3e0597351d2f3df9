"""Verbs on protocol runs that people call: open, start, pause, resume, cancel, and what frees a blocked one."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from shared.errors import Conflict, Invalid, NotFound, PreconditionFailed
from shared.repository import jobs, protocols, steps
from shared.schemas import names
from shared.schemas.policy import Policy, merged
from shared.schemas.records import Job, Protocol, StepRun
from shared.schemas.statuses import EventType, JobKind, Phase, ProtocolStatus, Reason, StepStatus, StopRequest
from shared.states.protocol import READY, ProtocolTrigger, targets
from shared.states.rest import next_step
from shared.workflow import find, progress
from shared.workflow import steps as step_verbs
from shared.workflow.moves import conflict, move_protocol, refuse_protocol, stop_job
from shared.workflow.pr import queue_publish
from shared.workflow.unit import Unit

LAST_NUMBER = 9999


def open_protocol(
    unit: Unit,
    project_id: int,
    *,
    protocol_name: str | None,
    description: str,
    base_branch: str | None = None,
    model: str | None = None,
    policy_changes: dict[str, Any] | None = None,
) -> Protocol:
    """Open a run on a branch of its own; without a name it takes the next number and a slug of the description.

    The policy is the project's with the caller's changes, and stays as it is now for the whole run.
    """
    project = find.project(unit.tx, unit.caller.project_id, project_id)
    number = protocols.last_number(unit.tx, project_id) + 1
    if protocol_name is None:
        if number > LAST_NUMBER:
            raise Conflict(f"Project {project.name} has used up its {LAST_NUMBER} numbers.", type="numbers-used-up")
        protocol_name = f"{number:04d}-{names.slug(description, 40)}"
    try:
        names.check_protocol_name(protocol_name)
        names.check_branch(base_branch or project.base_branch)
    except ValueError as error:
        raise Invalid(str(error)) from error
    number = int(protocol_name[:4])
    taken = protocols.named(unit.tx, project_id, protocol_name) or protocols.numbered(unit.tx, project_id, number)
    if taken is not None:
        raise Conflict(f"{taken.protocol_name} already has this name or number.", type="name-taken")
    if number < 1:
        raise Invalid("protocol_name starts with a number from 0001 to 9999")
    wanted = Protocol(
        id=0,
        project_id=project_id,
        number=number,
        protocol_name=protocol_name,
        branch=protocol_name,
        base_branch=base_branch or project.base_branch,
        description=description,
        status=ProtocolStatus.PENDING,
        phase=None,
        reason=None,
        policy=_policy(unit, project.policy, policy_changes or {}),
        model=model,
        start_sha=None,
        head_sha=None,
        pushed_sha=None,
        plan_revision=0,
        written_revision=0,
        plan_sha=None,
        feedback=None,
        pr_number=None,
        pr_url=None,
        pr_state=None,
        pr_at=None,
        pr_comment=None,
        version=1,
        created_at=unit.now,
        updated_at=unit.now,
        finished_at=None,
    )
    protocol = protocols.add(unit.tx, wanted)
    unit.say(EventType.PROTOCOL_OPENED, protocol, protocol_name=protocol_name, base_branch=protocol.base_branch)
    return protocol


def _policy(unit: Unit, policy: Policy, changes: dict[str, Any]) -> Policy:
    try:
        policy = merged(policy, changes)
    except msgspec.ValidationError as error:
        raise Invalid(f"policy: {error}") from error
    rules = unit.rules
    return replace(
        policy,
        auto_qa_after_exec=_either(policy.auto_qa_after_exec, rules.auto_qa_after_exec),
        auto_qa_on_ci=_either(policy.auto_qa_on_ci, rules.auto_qa_on_ci),
        ci_completes_step=_either(policy.ci_completes_step, rules.ci_completes_step),
    )


def _either(own: bool | None, setting: bool) -> bool:  # noqa: FBT001  two of a kind, told apart by place
    return setting if own is None else own


def start_protocol(unit: Unit, protocol_id: int, *, plan: bool = True, version: int | None = None) -> Protocol:
    """Queue the planning, or take the steps that were added by hand as the plan."""
    protocol = _read(unit, protocol_id, version)
    if not targets(protocol.status, ProtocolTrigger.START if plan else ProtocolTrigger.START_WITH_STEPS):
        raise refuse_protocol(protocol, "start" if plan else "start without planning")
    if progress.open_plan_job(unit, protocol) is not None:
        raise conflict(protocol, f"{protocol.protocol_name} is being planned already.", "already-queued", but={"start"})
    present = steps.of_protocol(unit.tx, protocol_id)
    if not plan:
        return _start_with_steps(unit, protocol, present)
    if present and protocol.plan_sha is None:
        message = f'{protocol.protocol_name} has steps that were added by hand: start it with {{"plan": false}}.'
        raise conflict(protocol, message, "steps-present")
    if any(step.status is not StepStatus.PENDING or step.phase is not None for step in present):
        message = f"Steps of {protocol.protocol_name} were already run or settled; a new plan would lose them."
        raise conflict(protocol, message, "already-run", but={"start"})
    steps.delete_untouched(unit.tx, protocol_id)
    job = unit.enqueue(JobKind.PLAN, project_id=protocol.project_id, protocol_id=protocol.id)
    return move_protocol(
        unit,
        replace(protocol, plan_sha=None),
        ProtocolTrigger.START,
        EventType.PLANNING_ENQUEUED,
        phase=Phase.QUEUED,
        job=job,
    )


def _start_with_steps(unit: Unit, protocol: Protocol, present: Sequence[StepRun]) -> Protocol:
    if protocol.plan_sha is not None:
        message = f"{protocol.protocol_name} has its plan already: unblock it, or run its next step."
        raise conflict(protocol, message, "planned-already")
    if not present:
        message = f"{protocol.protocol_name} has no steps: add some, or start it with planning."
        raise conflict(protocol, message, "no-steps")
    plan = protocols.plan(unit.tx, protocol.id, protocol.plan_revision)
    accepted = replace(protocol, plan_sha=plan.sha256 if plan else None)
    moved = move_protocol(
        unit,
        accepted,
        ProtocolTrigger.START_WITH_STEPS,
        EventType.PLANNED,
        steps=len(present),
        plan_sha=accepted.plan_sha,
    )
    progress.settle(unit, moved)
    return protocols.expect(unit.tx, protocol.id)


def approve_plan(unit: Unit, protocol_id: int, *, version: int | None = None) -> Protocol:
    """Open the plan that waits for its approval."""
    protocol = _awaiting_approval(unit, protocol_id, version, "approve the plan")
    moved = move_protocol(
        unit, protocol, ProtocolTrigger.APPROVE_PLAN, EventType.PLAN_APPROVED, plan_sha=protocol.plan_sha
    )
    progress.advance(unit, moved)
    return protocols.expect(unit.tx, protocol_id)


def reject_plan(unit: Unit, protocol_id: int, *, feedback: str, version: int | None = None) -> Protocol:
    """Have it planned again with the feedback; the steps of the rejected plan are gone."""
    protocol = _awaiting_approval(unit, protocol_id, version, "reject the plan")
    if any(step.status is not StepStatus.PENDING for step in steps.of_protocol(unit.tx, protocol_id)):
        message = f"Steps of {protocol.protocol_name} were settled already; approve the plan, then skip what is wrong."
        raise conflict(protocol, message, "already-run", but={"reject_plan"})
    steps.delete_untouched(unit.tx, protocol_id)
    job = unit.enqueue(JobKind.PLAN, project_id=protocol.project_id, protocol_id=protocol.id)
    return move_protocol(
        unit,
        replace(protocol, feedback=feedback, plan_sha=None),
        ProtocolTrigger.REJECT_PLAN,
        EventType.PLAN_REJECTED,
        phase=Phase.QUEUED,
        reason=Reason.PLAN_REJECTED,
        job=job,
        feedback=feedback,
    )


def _awaiting_approval(unit: Unit, protocol_id: int, version: int | None, wanted: str) -> Protocol:
    protocol = _read(unit, protocol_id, version)
    if protocol.status is not ProtocolStatus.PLANNED or protocol.phase is not Phase.AWAITING_PLAN_APPROVAL:
        raise refuse_protocol(protocol, wanted)
    return protocol


def pause_protocol(
    unit: Unit, protocol_id: int, *, mode: Literal["drain", "interrupt"] = "drain", version: int | None = None
) -> Protocol:
    """Start nothing new; what runs finishes and counts, or with `interrupt` is stopped and parked.

    One that was blocked keeps its reason, so that the pause does not make it forgotten.
    """
    protocol = _read(unit, protocol_id, version)
    waiting = protocol.phase if protocol.phase is Phase.AWAITING_PLAN_APPROVAL else None
    reason = protocol.reason if protocol.status is ProtocolStatus.BLOCKED else Reason.OPERATOR
    paused = move_protocol(
        unit, protocol, ProtocolTrigger.PAUSE, EventType.PAUSED, phase=waiting, reason=reason, mode=mode
    )
    if mode == "interrupt":
        for job in jobs.open_of_protocol(unit.tx, protocol_id):
            if job.kind.runs_codex and job.stop is None:
                stop_job(unit, job, StopRequest.PARK)
    return paused


def resume_protocol(unit: Unit, protocol_id: int, *, version: int | None = None) -> Protocol:
    """Go on where the plan and the steps stand now, which need not be where it was paused."""
    protocol = _read(unit, protocol_id, version)
    if protocol.status is not ProtocolStatus.PAUSED:
        raise refuse_protocol(protocol, "resume")
    return progress.to_rest(unit, protocol, ProtocolTrigger.RESUME, EventType.RESUMED, cause=protocol.reason)


def unblock_protocol(unit: Unit, protocol_id: int, *, version: int | None = None) -> Protocol:
    """Go on because a person says that the cause is gone; a failed step is one that only its own actions remove.

    With a failed step behind another cause it stays blocked, now by that step.
    """
    protocol = _read(unit, protocol_id, version)
    if protocol.status is not ProtocolStatus.BLOCKED:
        raise refuse_protocol(protocol, "unblock")
    failed = [step for step in steps.of_protocol(unit.tx, protocol_id) if step.status is StepStatus.FAILED]
    if failed and protocol.reason in progress.STEP_CAUSES:
        message = f"Step {failed[0].step_index} is still failed: retry, approve, skip or cancel it."
        raise conflict(protocol, message, "step-failed", but={"unblock", "start"})
    return progress.to_rest(unit, protocol, ProtocolTrigger.CAUSE_REMOVED, EventType.PROTOCOL_UNBLOCKED, cause=None)


def cancel_protocol(unit: Unit, protocol_id: int, *, version: int | None = None) -> Protocol:
    """End it now: open steps become cancelled, live attempts are stopped, late results change nothing."""
    protocol = _read(unit, protocol_id, version)
    return move_protocol(unit, protocol, ProtocolTrigger.CANCEL, EventType.CANCELLED, reason=Reason.OPERATOR)


def fail_protocol(unit: Unit, protocol_id: int, *, reason: str, version: int | None = None) -> Protocol:
    """Give a blocked run up for good."""
    protocol = _read(unit, protocol_id, version)
    return move_protocol(
        unit, protocol, ProtocolTrigger.FAIL, EventType.PROTOCOL_FAILED, reason=Reason.OPERATOR, why=reason
    )


def run_next_step(unit: Unit, protocol_id: int, *, version: int | None = None) -> StepRun:
    """Run the lowest step that waits for its start."""
    protocol = _read(unit, protocol_id, version)
    if not targets(protocol.status, ProtocolTrigger.RUN):
        raise refuse_protocol(protocol, "run a step")
    present = steps.of_protocol(unit.tx, protocol_id)
    repair = protocol.status is ProtocolStatus.BLOCKED and any(step.status is StepStatus.FAILED for step in present)
    step = next_step(present, repair=repair)
    if step is None:
        message = f"{protocol.protocol_name} has no step that waits for its start."
        raise conflict(protocol, message, "no-step-to-run", but={"run_next_step"})
    return step_verbs.run_step(unit, step.id)


def retry_latest(unit: Unit, protocol_id: int, *, version: int | None = None) -> StepRun:
    """Retry the lowest failed step, the one that the others wait for."""
    protocol = _read(unit, protocol_id, version)
    if not targets(protocol.status, ProtocolTrigger.RUN):
        raise refuse_protocol(protocol, "retry a step")
    failed = next((step for step in steps.of_protocol(unit.tx, protocol_id) if step.status is StepStatus.FAILED), None)
    if failed is None:
        raise NotFound(f"{protocol.protocol_name} has no failed step.", type="no-failed-step")
    return step_verbs.retry_step(unit, failed.id)


def open_pr(unit: Unit, protocol_id: int, *, version: int | None = None) -> Job:
    """Queue the publishing of the branch as it stands."""
    protocol = _read(unit, protocol_id, version)
    if protocol.status not in READY[JobKind.OPEN_PR]:
        raise refuse_protocol(protocol, "open a PR")
    if protocol.head_sha is None:
        message = f"{protocol.protocol_name} has no commit yet: there is nothing to publish."
        raise conflict(protocol, message, "nothing-to-publish", but={"open_pr"})
    under_way = (job for job in jobs.open_of_protocol(unit.tx, protocol_id) if job.stop is not StopRequest.CANCEL)
    if any(job.kind is JobKind.OPEN_PR for job in under_way):
        message = f"{protocol.protocol_name} is being published already."
        raise conflict(protocol, message, "already-queued", but={"open_pr"})
    return queue_publish(unit, protocol)


def _read(unit: Unit, protocol_id: int, version: int | None) -> Protocol:
    protocol = find.protocol(unit.tx, unit.caller.project_id, protocol_id)
    if version is not None and version != protocol.version:
        message = f"{protocol.protocol_name} is at version {protocol.version}, not {version}; read it again."
        raise PreconditionFailed(message, status_now=protocol.status)
    return protocol
