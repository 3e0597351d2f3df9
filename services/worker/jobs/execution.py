"""Executes a step: Codex changes files in the worktree, we check, commit and push what it changed."""

import secrets

from msgspec.structs import replace

from services.worker.agent import Ask
from services.worker.answers import EXECUTION_SCHEMA, ExecutionAnswer, decode_execution
from services.worker.codex.config import Mode
from services.worker.doors import Doors
from services.worker.git.records import Changes
from services.worker.jobs.branch import (
    CONTEXT,
    Ground,
    adopt,
    append_log,
    check_origin,
    folder_of,
    keep_diff,
    push,
    saved_if_cancelled,
    subject_of,
    take_ground,
    trailers,
    write_plan,
)
from services.worker.lease import Lease
from services.worker.prompts import ExecuteFacts, Feedback, Prompt, execute_prompt
from shared.errors import Category, JobError
from shared.failpoints import fp
from shared.schemas.records import StepRun
from shared.schemas.reports import ExecutionDone
from shared.schemas.statuses import StepType
from shared.workflow.plan_files import FOLDER

SHOWN_REFUSALS = 5


async def execute(doors: Doors, lease: Lease) -> ExecutionDone:
    """Run the agent from the step's start commit; exactly one commit comes of an accepted execution."""
    ground = await take_ground(doors, lease)
    report = await adopt(doors, lease, ground, ExecutionDone)
    if report is None:
        await check_origin(doors, ground)
        ground = await write_plan(doors, lease, ground)
    async with saved_if_cancelled(doors, lease, ground):
        report = report or await _new_work(doors, lease, ground)
        if report.head_sha is None:
            return report
        await push(doors, lease, ground, report.head_sha)
        fp("execution_pushed")
        return replace(report, pushed=True)


async def _new_work(doors: Doors, lease: Lease, ground: Ground) -> ExecutionDone:
    step = _step_of(lease)
    footing = ground.stand.footing
    goes_on = footing is not None and footing.keeps_files
    if goes_on:
        await _protect(doors, lease, ground)  # what was cut off may have been our own entry in the log
    ask = Ask(
        mode=Mode.WRITE,
        worktree=ground.tree,
        prompt=await _prompt(doors, ground, step, goes_on=goes_on),
        schema=EXECUTION_SCHEMA,
        resume=ground.stand.resume,
    )
    answer = await doors.agent.ask(lease, ask, decode_execution)
    await lease.confirm()
    if doors.settings.codex_sandbox == "off":
        await doors.git.uncommit(ground.tree, ground.start_sha)
    restored = await _protect(doors, lease, ground)
    changes = await doors.git.changes(ground.tree, ground.start_sha)
    if changes.refused:
        raise JobError(Category.POLICY, _refusal(changes))
    may_be_empty = ground.protocol.policy.allow_no_changes or step.step_type is not StepType.WORK
    own = f"{FOLDER}/"
    if all(change.path.startswith(own) for change in changes.files) and not may_be_empty:
        return ExecutionDone(summary=answer.summary, changed=False, head_sha=None, pushed=False, restored=restored)
    report = await _commit(doors, lease, ground, answer, changes)
    fp("execution_committed")
    report = replace(report, restored=restored)
    await lease.note_commit(report.head_sha or "", report)
    fp("execution_noted")
    return report


async def _commit(
    doors: Doors, lease: Lease, ground: Ground, answer: ExecutionAnswer, changes: Changes
) -> ExecutionDone:
    step = _step_of(lease)
    await append_log(doors, ground, f"{step.step_index:02d} {step.step_name}", f"{answer.summary}\n\n{answer.notes}")
    subject = subject_of(
        answer.commit_type, answer.commit_scope, answer.commit_subject, ground.protocol, step.step_index
    )
    message = f"{subject}\n\n{answer.summary.strip()}\n\n{trailers(lease)}"
    await lease.confirm()
    sha = await doors.git.commit(ground.tree, message, expected_parent=ground.start_sha)
    if sha is None:
        raise JobError(Category.GIT, "The changes were gone when they should have been committed.")
    await keep_diff(doors, ground, doors.agent.folder_of(lease), sha)
    return ExecutionDone(
        summary=answer.summary,
        changed=bool(changes.files),
        head_sha=sha,
        pushed=False,
        files=len(changes.files),
        additions=sum(change.additions or 0 for change in changes.files),
        deletions=sum(change.deletions or 0 for change in changes.files),
    )


async def _protect(doors: Doors, lease: Lease, ground: Ground) -> tuple[str, ...]:
    """Put the plan back as it was; only its context belongs to the agent."""
    folder = folder_of(ground.protocol)
    names = {"plan.md", "log.md", "00-setup.md", *(step.file_name for step in lease.claim.steps)}
    return await doors.git.protect(ground.tree, [f"{folder}/{name}" for name in sorted(names)], ground.start_sha)


async def _prompt(doors: Doors, ground: Ground, step: StepRun, *, goes_on: bool) -> Prompt:
    facts = ExecuteFacts(
        step_index=step.step_index,
        step_name=step.step_name,
        step_type=step.step_type,
        instructions=step.instructions,
        plan_md=await _accepted(doors, ground, "plan.md"),
        context_md=await _accepted(doors, ground, CONTEXT),
        feedback=() if step.feedback is None else (Feedback("review", step.feedback),),
        resumed=goes_on,
    )
    return execute_prompt(facts, secrets.token_hex(8))


async def _accepted(doors: Doors, ground: Ground, name: str) -> str:
    """A file of the protocol as the start commit has it: what lies in the worktree may be an agent's."""
    path = f"{folder_of(ground.protocol)}/{name}"
    return (await doors.git.show_file(ground.project.id, ground.start_sha, path) or b"").decode(errors="replace")


def _refusal(changes: Changes) -> str:
    shown = "; ".join(f"{refused.path}: {refused.why}" for refused in changes.refused[:SHOWN_REFUSALS])
    more = len(changes.refused) - SHOWN_REFUSALS
    rest = f" and {more} more" if more > 0 else ""
    return f"Some files may not enter the repository: {shown}{rest}. Retry with feedback that says what to leave out."


def _step_of(lease: Lease) -> StepRun:
    if lease.claim.step is None:
        raise JobError(Category.CONFIG, f"Job {lease.job_id} lacks its step.")
    return lease.claim.step
