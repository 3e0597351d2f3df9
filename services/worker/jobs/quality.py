"""Judges a step's commit: Codex reads it in a throw-away worktree and gives a verdict that our decoder accepts."""

import secrets

import msgspec

from services.worker.agent import Ask
from services.worker.answers import QA_SCHEMA, BadAnswer, decode_qa
from services.worker.codex.config import Mode
from services.worker.doors import Doors
from services.worker.jobs.branch import facts_of, reach
from services.worker.jobs.footing import stand_of, tell
from services.worker.lease import Lease
from services.worker.prompts import Prompt, QaFacts, qa_prompt
from shared.errors import Category, JobError
from shared.failpoints import fp
from shared.schemas.records import StepRun
from shared.schemas.reports import QaDone

DIFF_BYTES = 200_000
ASKS = 2


async def judge(doors: Doors, lease: Lease) -> QaDone:
    """Ask for a verdict on the step's commit; one that cannot be read, twice, is inconclusive and never a pass."""
    project, protocol, attempt = facts_of(lease)
    step = lease.claim.step
    if step is None or step.head_sha is None:
        raise JobError(Category.CONFIG, f"Job {lease.job_id} has no commit to judge.")
    await reach(doors, project, protocol)
    start = lease.claim.judged_from or step.start_sha or step.head_sha
    diff = await doors.git.diff(project.id, start, step.head_sha, max_bytes=DIFF_BYTES)
    prompt = _prompt(lease, step, start, diff)
    stand = await stand_of(doors, lease)
    await tell(lease, stand)
    async with doors.git.throwaway(project.id, step.head_sha, attempt.id) as tree:
        fp("throwaway_made")
        ask = Ask(mode=Mode.WRITE, worktree=tree, prompt=prompt, schema=QA_SCHEMA, resume=stand.resume)
        try:
            answer = await doors.agent.ask(lease, ask, decode_qa)
        except BadAnswer as bad:
            return QaDone(sha=step.head_sha, verdict="inconclusive", summary=bad.message, asks=ASKS)
    return QaDone(
        sha=step.head_sha,
        verdict=answer.verdict,
        summary=answer.summary,
        findings=tuple(msgspec.to_builtins(finding) for finding in answer.findings),
        next_actions=answer.next_actions,
    )


def _prompt(lease: Lease, step: StepRun, start: str, diff: str) -> Prompt:
    plan = lease.claim.plan
    facts = QaFacts(
        step_index=step.step_index,
        step_name=step.step_name,
        instructions=step.instructions,
        plan_md="" if plan is None else plan.files.get("plan.md", plan.plan_md),
        start_sha=start,
        head_sha=step.head_sha or "",
        diff=diff,
        diff_cut=len(diff.encode()) >= DIFF_BYTES,
        report=step.summary or "",
    )
    return qa_prompt(facts, secrets.token_hex(8))
