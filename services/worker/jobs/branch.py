"""The branch of a protocol run: its worktree, the plan's files on it, commit messages, and the push."""

import contextlib
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from services.worker.doors import Doors
from services.worker.forge import Forge
from services.worker.git.records import Remote, Salvage, Worktree
from services.worker.jobs.footing import Stand, stand_of, tell
from services.worker.lease import Lease
from shared.errors import Category, JobError
from shared.failpoints import fp
from shared.schemas.forge import BranchWord, PullWord
from shared.schemas.records import Attempt, Plan, Project, Protocol
from shared.schemas.reports import ExecutionDone, PlanDone, Usage
from shared.schemas.statuses import Footing, StopRequest
from shared.workflow.plan_files import FOLDER

R = TypeVar("R", ExecutionDone, PlanDone)

SUBJECT_CHARS = 100
DIFF_BYTES = 5_000_000
CONTEXT = "context.md"

log = structlog.stdlib.get_logger(__name__)


class Ground(msgspec.Struct, frozen=True):
    """Where a job works: the worktree at the last commit that was accepted, `start_sha`; and what it stands on."""

    project: Project
    protocol: Protocol
    remote: Remote
    tree: Worktree
    start_sha: str
    stand: Stand


def folder_of(protocol: Protocol) -> str:
    """The protocol's folder on its branch."""
    return f"{FOLDER}/{protocol.protocol_name}"


def facts_of(lease: Lease) -> tuple[Project, Protocol, Attempt]:
    """What every job of a protocol has."""
    claim = lease.claim
    if claim.project is None or claim.protocol is None or claim.attempt is None:
        raise JobError(Category.CONFIG, f"Job {claim.job.id} lacks its project, protocol or attempt.")
    return claim.project, claim.protocol, claim.attempt


async def reach(doors: Doors, project: Project, protocol: Protocol) -> Remote:
    """The project's origin; its mirror is there afterwards, with our head, also where that was lost or adopted."""
    remote = await doors.remote_of(project)
    head = protocol.head_sha
    if not doors.git.has_mirror(project.id):
        await doors.git.setup_mirror(project.id, remote, protocol.base_branch)
    elif head is not None and not await doors.git.has_commit(project.id, head):
        await doors.git.fetch(project.id, remote)
    return remote


async def take_ground(doors: Doors, lease: Lease) -> Ground:
    """The worktree at the branch's last accepted commit, with nothing else in it unless an earlier attempt goes on.

    A branch that is not there yet grows from the base branch. Whatever was left in the worktree is saved in any case,
    under the name of the attempt that had it last.
    """
    project, protocol, attempt = facts_of(lease)
    last = lease.claim.before or attempt
    remote = await reach(doors, project, protocol)
    start = protocol.head_sha
    if start is None:
        start = (await doors.git.setup_mirror(project.id, remote, protocol.base_branch)).base_sha
    # Who slept for longer than his lease must not put the worktree back under the agent of his successor.
    await lease.confirm()
    tree = doors.git.worktree(project.id, protocol.protocol_name, protocol.branch)
    stand = await _stand_in(doors, lease, tree, start)
    tree = await doors.git.create_worktree(
        project.id, protocol.protocol_name, protocol.branch, start, known_head=protocol.head_sha
    )
    if stand.footing is not None and stand.footing.keeps_files:
        saved = await doors.git.salvage(tree, start, last.id)
    else:
        saved = await doors.git.reset_worktree(tree, start, last.id)
    fp("ground_saved")
    await _note(lease, last.id, saved)
    await tell(lease, stand)
    return Ground(project, protocol, remote, tree, start, stand)


async def _stand_in(doors: Doors, lease: Lease, tree: Worktree, start: str) -> Stand:
    """What the attempt stands on, once git was asked too."""
    stand = await stand_of(doors, lease)
    if stand.footing is Footing.COMMITTED and await _to_adopt(doors, lease, tree.project_id, start) is None:
        return Stand(Footing.BRANCH_MOVED)
    if stand.footing is not None and stand.footing.keeps_files and not await doors.git.is_at(tree, start):
        return Stand(Footing.WORKTREE_MOVED)
    return stand


async def branch_there(doors: Doors, project: Project, protocol: Protocol) -> BranchWord:
    """Where the branch is at the origin now, as a word like those of deliveries."""
    head = await doors.git.remote_head(await doors.remote_of(project), protocol.branch)
    return BranchWord(branch=protocol.branch, before=None, after=head)


async def pull_there(forge: Forge, protocol: Protocol) -> PullWord | None:
    """The protocol's PR or MR as it stands now: the one that is known to be its own, else one of its branch."""
    number = protocol.pr_number
    pull = await (forge.pull_of(protocol.branch) if number is None else forge.pull(number))
    fp("pull_looked_for")
    return pull


@contextlib.asynccontextmanager
async def saved_if_cancelled(doors: Doors, lease: Lease, ground: Ground) -> AsyncGenerator[None]:
    """Save what a cancelled job leaves in the worktree: there may be no next attempt that finds it."""
    try:
        yield
    except JobError:
        if lease.why is StopRequest.CANCEL:
            _, _, attempt = facts_of(lease)
            saved = await doors.git.salvage(ground.tree, ground.start_sha, attempt.id)
            await _note(lease, attempt.id, saved)
        raise


async def _note(lease: Lease, attempt_id: int, saved: Salvage) -> None:
    """Keep where the leftovers of an attempt are, and say what of them is in no commit."""
    if saved.left_out or saved.kept_at:
        files = [f"{file.path}: {file.why}" for file in saved.left_out]
        log.warning("salvaged_in_part", of_attempt=attempt_id, left_out=files, kept_at=saved.kept_at)
    if saved.ref is not None:
        await lease.note_salvage(attempt_id, saved.ref)


async def check_origin(doors: Doors, ground: Ground) -> None:
    """Nobody else may have moved the branch: better found before the agent runs than by the push after it."""
    pushed, branch = ground.protocol.pushed_sha, ground.protocol.branch
    if pushed is None:
        return
    there = await doors.git.remote_head(ground.remote, branch)
    if there == pushed or (there and await doors.git.is_ancestor(ground.project.id, there, ground.start_sha)):
        return
    found = f"at {there[:12]}" if there else "gone"
    raise JobError(
        Category.DIVERGED,
        f"Branch {branch} is {found} at the origin, where we left it at {pushed[:12]}. Adopt it, reset it or cancel.",
    )


async def write_plan(doors: Doors, lease: Lease, ground: Ground) -> Ground:
    """Bring the plan's newest revision onto the branch, if it is not there, in a commit of its own."""
    plan = lease.claim.plan
    if plan is None or plan.revision <= ground.protocol.written_revision:
        return ground
    context = f"{folder_of(ground.protocol)}/context.md"
    if await doors.git.show_file(ground.project.id, ground.start_sha, context) is not None:
        # Steps have added to it since; a revision is about the steps that there are.
        plan = msgspec.structs.replace(plan, files={name: text for name, text in plan.files.items() if name != CONTEXT})
    # Whose attempt it precedes does not matter: it is no part of that step's work.
    last_lines = f"Deksdenflow-Run: {ground.protocol.id}\n"
    sha = await commit_plan(doors, lease, ground, plan, f"plan revision {plan.revision}", last_lines)
    protocol = await lease.note_branch(ground.start_sha, sha, plan)
    return msgspec.structs.replace(ground, protocol=protocol, start_sha=sha)


async def commit_plan(doors: Doors, lease: Lease, ground: Ground, plan: Plan, subject: str, last_lines: str) -> str:
    """Write the plan's files and commit them; the commit that the branch is at when they are there already."""
    folder = folder_of(ground.protocol)
    texts = {f"{folder}/{name}": text for name, text in plan.files.items()}
    if await doors.git.read_file(ground.tree, f"{folder}/log.md") is None:
        texts[f"{folder}/log.md"] = f"# Log of {ground.protocol.protocol_name}\n"
    await doors.git.write_files(ground.tree, texts)
    message = f"{subject_of('docs', 'protocol', subject, ground.protocol, 0)}\n\n{last_lines}"
    await lease.confirm()
    sha = await doors.git.commit(ground.tree, message, expected_parent=ground.start_sha, only=[folder])
    return sha or ground.start_sha


async def append_log(doors: Doors, ground: Ground, heading: str, text: str) -> None:
    """Add one entry to the protocol's log."""
    path = f"{folder_of(ground.protocol)}/log.md"
    before = await doors.git.read_file(ground.tree, path) or b""
    day = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    entry = f"\n## {heading}\n\n{day}\n\n{text.strip()}\n"
    await doors.git.write_files(ground.tree, {path: before.decode(errors="replace") + entry})


def trailers(lease: Lease) -> str:
    """The last lines of a commit: whose work it is."""
    claim = lease.claim
    lines = {
        "Deksdenflow-Run": claim.protocol.id if claim.protocol else None,
        "Deksdenflow-Step": claim.step.id if claim.step else None,
        "Deksdenflow-Attempt": claim.attempt.id if claim.attempt else None,
        "Codex-Thread": lease.thread_id,
    }
    return "".join(f"{name}: {value}\n" for name, value in lines.items() if value is not None)


def subject_of(kind: str, scope: str, subject: str, protocol: Protocol, step_index: int) -> str:
    """`type(scope): subject [protocol-NNNN/XX]`, cut where it would grow too long."""
    place = f" [protocol-{protocol.number:04d}/{step_index:02d}]"
    head = f"{kind}({scope}): " if scope else f"{kind}: "
    room = SUBJECT_CHARS - len(head) - len(place)
    words = " ".join(subject.split()).rstrip(".")
    return head + (words if len(words) <= room else words[: room - 1].rstrip() + "…") + place


async def push(doors: Doors, lease: Lease, ground: Ground, sha: str) -> None:
    """Bring the branch at the origin to the commit; it is never forced over somebody else's."""
    await lease.confirm()
    await doors.git.push(ground.project.id, ground.remote, ground.protocol.branch, sha, ground.protocol.pushed_sha)


async def adopt(doors: Doors, lease: Lease, ground: Ground, report: type[R]) -> R | None:
    """What an earlier attempt had committed when it was lost, if the branch can still be put there.

    Its thread, its files and its commit become this attempt's as well, which ends its work.
    """
    earlier = await _to_adopt(doors, lease, ground.project.id, ground.start_sha)
    if earlier is None or earlier.head_sha is None:
        return None
    _, _, attempt = facts_of(lease)
    await doors.git.reset_worktree(ground.tree, earlier.head_sha, attempt.id)
    adopted = msgspec.convert(earlier.result, report)
    if earlier.directory is not None:
        await lease.note_usage(Usage(thread_id=earlier.thread_id), earlier.directory)
    await lease.note_commit(earlier.head_sha, adopted)
    return adopted


async def _to_adopt(doors: Doors, lease: Lease, project_id: int, start: str) -> Attempt | None:
    earlier = next((each for each in reversed(lease.claim.earlier) if each.head_sha and each.result), None)
    if earlier is None or earlier.head_sha is None:
        return None
    return earlier if await doors.git.is_ancestor(project_id, start, earlier.head_sha) else None


async def keep_diff(doors: Doors, ground: Ground, folder: Path, sha: str) -> None:
    """Keep the change, and the whole branch's, redacted, as files of the attempt: the API does not run git."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    base = ground.protocol.start_sha or ground.start_sha
    for name, start in (("diff.patch", ground.start_sha), ("branch.patch", base)):
        text = await doors.git.diff(ground.project.id, start, sha, max_bytes=DIFF_BYTES)
        (folder / name).write_text(doors.redactor.redact(text), encoding="utf-8")
