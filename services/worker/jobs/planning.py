"""Plans a protocol run: Codex reads the repository, we write its plan onto the branch."""

import secrets

from msgspec.structs import replace

from services.worker.agent import Ask
from services.worker.answers import PLAN_SCHEMA, PlanAnswer, decode_plan
from services.worker.codex.config import Mode
from services.worker.doors import Doors
from services.worker.jobs.branch import (
    Ground,
    adopt,
    check_origin,
    commit_plan,
    facts_of,
    folder_of,
    keep_diff,
    push,
    take_ground,
    trailers,
)
from services.worker.lease import Lease
from services.worker.prompts import Feedback, PlanFacts, Prompt, plan_prompt
from shared.schemas.records import Plan
from shared.schemas.reports import PlanDone, PlannedStep
from shared.schemas.statuses import StepType
from shared.workflow.plan_files import Line, compose


async def plan(doors: Doors, lease: Lease) -> PlanDone:
    """Ask for a plan, write its files, commit and push them."""
    ground = await take_ground(doors, lease)
    report = await adopt(doors, lease, ground, PlanDone)
    if report is None:
        await check_origin(doors, ground)
        report = await _new_plan(doors, lease, ground)
    await push(doors, lease, ground, report.head_sha)
    return replace(report, pushed=True)


async def _new_plan(doors: Doors, lease: Lease, ground: Ground) -> PlanDone:
    ask = Ask(
        mode=Mode.READ,
        worktree=ground.tree,
        prompt=_prompt(ground),
        schema=PLAN_SCHEMA,
        resume=ground.stand.resume,
    )
    answer = await doors.agent.ask(lease, ask, decode_plan)
    await lease.confirm()
    _, _, attempt = facts_of(lease)
    # Nothing that planning may have left in the files goes into the plan's commit.
    await doors.git.reset_worktree(ground.tree, ground.start_sha, attempt.id)
    plan = _compose(ground, answer, attempt.started_at)
    await _remove_earlier_plan(doors, lease, ground)
    sha = await commit_plan(doors, lease, ground, plan, "plan", trailers(lease))
    report = PlanDone(
        plan=plan,
        steps=tuple(
            PlannedStep(
                title=step.title,
                type=StepType(step.type),
                instructions=step.instructions,
                depends_on=step.depends_on,
            )
            for step in answer.steps
        ),
        start_sha=ground.protocol.start_sha or ground.start_sha,
        head_sha=sha,
        pushed=False,
    )
    await keep_diff(doors, ground, doors.agent.folder_of(lease), sha)
    await lease.note_commit(sha, report)
    return report


async def _remove_earlier_plan(doors: Doors, lease: Lease, ground: Ground) -> None:
    """Put the files of a plan that was rejected back to how the base branch has them: absent."""
    earlier, base = lease.claim.plan, ground.protocol.start_sha
    if earlier is not None and base is not None:
        folder = folder_of(ground.protocol)
        await doors.git.protect(ground.tree, [f"{folder}/{name}" for name in earlier.files], base)


def _prompt(ground: Ground) -> Prompt:
    protocol = ground.protocol
    said = () if protocol.feedback is None else (Feedback("reviewer", protocol.feedback),)
    facts = PlanFacts(
        task=protocol.description,
        protocol_name=protocol.protocol_name,
        branch=protocol.branch,
        base_branch=protocol.base_branch,
        feedback=said,
    )
    return plan_prompt(facts, secrets.token_hex(8))


def _compose(ground: Ground, answer: PlanAnswer, now: int) -> Plan:
    return compose(
        ground.protocol,
        revision=ground.protocol.plan_revision + 1,
        summary=answer.summary,
        plan_md=answer.plan_md,
        context_md=answer.context_md,
        lines=[
            Line(index, step.title, StepType(step.type), step.instructions, step.depends_on)
            for index, step in enumerate(answer.steps, start=1)
        ],
        now=now,
    )
