"""Publishes a branch: pushes it, and keeps its draft PR or MR, the checklist there and our one comment up to date."""

from collections.abc import Callable

from msgspec.structs import replace

from services.worker.doors import Doors
from services.worker.forge import Forge
from services.worker.git.records import Remote
from services.worker.jobs.branch import pull_there, reach
from services.worker.lease import Lease
from services.worker.pull_text import Story, body_of, comment_of, marker_of, title_of
from shared.errors import Category, JobError
from shared.failpoints import fp
from shared.repository import attempts, meta, protocols, steps
from shared.repository.database import Tx
from shared.schemas.forge import PullWord
from shared.schemas.records import Protocol
from shared.schemas.reports import PublishDone
from shared.schemas.statuses import PullState, StepStatus


async def publish(doors: Doors, lease: Lease) -> PublishDone:
    """Push the branch as it stands and show it at the forge; whatever was done before a crash is found, not repeated.

    `reset` in the payload is the foreign commit at the origin that a person gave up: the push may replace it.
    """
    project, protocol = lease.claim.project, lease.claim.protocol
    if project is None or protocol is None or protocol.head_sha is None:
        raise JobError(Category.CONFIG, f"Job {lease.job_id} has no branch to publish.")
    remote = await reach(doors, project, protocol)
    await lease.confirm()
    sha = protocol.head_sha
    there = await _brought(doors, remote, protocol, sha, over=lease.claim.job.payload.get("reset"))
    fp("branch_published")
    note = f"{protocol.branch} is at {there} at the origin."
    forge = await doors.forge_of(project)
    if forge is None:
        return PublishDone(sha=sha, pushed=True, note=f"{note} No PR was opened. {doors.without_forge(project)}")
    story = _without_secrets(await doors.database.read(_story, protocol.id), doors.redactor.redact)
    pull = await _shown(lease, forge, story, sha)
    await lease.confirm()
    comment = await forge.comment(pull.number, comment=protocol.pr_comment, marker=story.marker, body=comment_of(story))
    fp("pull_commented")
    return PublishDone(
        sha=sha,
        pushed=True,
        note=f"{note} #{pull.number} is {pull.state}{', a draft' if pull.draft else ''}.",
        url=pull.url,
        pull=pull,
        comment=comment,
    )


async def _brought(doors: Doors, remote: Remote, protocol: Protocol, sha: str, *, over: str | None) -> str:
    """Push; gives where the branch is at the origin then: at `sha`, or at what an attempt of ours had put on top of it.

    Such an attempt was cut off before it could tell. The step's next one takes its commit over: it is no stranger's.
    """
    try:
        await doors.git.push(protocol.project_id, remote, protocol.branch, sha, protocol.pushed_sha, over=over)
    except JobError as error:
        there = await doors.git.remote_head(remote, protocol.branch) if error.category is Category.DIVERGED else None
        ours = there is not None and await doors.database.read(attempts.is_unsettled, protocol.id, there)
        if there is None or not ours or not await doors.git.is_ancestor(protocol.project_id, sha, there):
            raise
        return there
    return sha


async def _shown(lease: Lease, forge: Forge, story: Story, sha: str) -> PullWord:
    """The PR as it stands afterwards; one that was closed or merged is told of as it is."""
    protocol = story.protocol
    title, body, ready = title_of(story), body_of(story), _is_ready(story)
    pull = await pull_there(forge, protocol)
    if pull is not None and pull.state is not PullState.OPEN and (protocol.pr_number is not None or pull.sha == sha):
        return pull
    await lease.confirm()
    if pull is None or pull.state is not PullState.OPEN:
        pull = await forge.open_pull(branch=protocol.branch, base=protocol.base_branch, title=title, body=body)
        fp("pull_opened")
        if not ready:
            return pull
    pull = await forge.edit_pull(pull.number, title=title, body=body, ready=ready)
    fp("pull_edited")
    return pull


def _is_ready(story: Story) -> bool:
    """Nothing is left to do, and something was done."""
    settled = all(step.status.settled for step in story.steps)
    return settled and any(step.status is StepStatus.COMPLETED for step in story.steps)


def _story(tx: Tx, protocol_id: int) -> Story:
    """The protocol run as it stands now, which may be further than when the job was claimed."""
    protocol = protocols.expect(tx, protocol_id)
    present = tuple(steps.of_protocol(tx, protocol_id))
    return Story(
        protocol=protocol,
        plan=protocols.plan(tx, protocol_id, protocol.plan_revision),
        steps=present,
        gates=tuple(gate for step in present if step.head_sha for gate in steps.gates(tx, step.id, step.head_sha)),
        marker=marker_of(meta.instance(tx), protocol_id),
    )


def _without_secrets(story: Story, redact: Callable[[str], str]) -> Story:
    """Taken out before the words are escaped, which would hide a secret from who looks for it."""
    plan = None if story.plan is None else replace(story.plan, summary=redact(story.plan.summary))
    return replace(
        story,
        protocol=replace(story.protocol, description=redact(story.protocol.description)),
        plan=plan,
        steps=tuple(replace(step, step_name=redact(step.step_name)) for step in story.steps),
        gates=tuple(replace(gate, summary=redact(gate.summary)) for gate in story.gates),
    )
