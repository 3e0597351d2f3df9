"""What the worker reports of a job's end: facts that cross from the worker into the workflow."""

from typing import Any, Literal

import msgspec

from shared.errors import Category
from shared.schemas.forge import PullWord, Repository, Said, Word
from shared.schemas.notices import NoticeDone
from shared.schemas.records import Attempt, Job, Plan, Project, Protocol, StepRun
from shared.schemas.statuses import Footing, StepType


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt cost and left behind; token counts are deltas."""

    thread_id: str | None = None
    prompt_sha256: str | None = None
    exit_code: int | None = None
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_output_tokens: int = 0


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a worker needs to run a job that it has claimed; `plan` is the newest revision.

    `model` is the one to ask, `footing` what the rows say that the attempt stands on (None: on nothing earlier),
    `resume` the attempt whose Codex thread goes on if that is still sound, and `used` what that thread has used.
    `earlier` are this job's attempts before, or the one before a retry whose commit is still good, `before` is the
    attempt that had the worktree last. `judged_from` is the commit that the step's work began at, `secret_files` hold
    what no agent may read.
    """

    job: Job
    project: Project | None = None
    protocol: Protocol | None = None
    step: StepRun | None = None
    steps: tuple[StepRun, ...] = ()
    plan: Plan | None = None
    attempt: Attempt | None = None
    earlier: tuple[Attempt, ...] = ()
    before: Attempt | None = None
    footing: Footing | None = None
    resume: Attempt | None = None
    used: Usage = Usage()
    judged_from: str | None = None
    model: str = ""
    secret_files: tuple[str, ...] = ()


class PlannedStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step of an accepted plan."""

    title: str
    type: StepType
    instructions: str
    depends_on: tuple[int, ...]


class SetupDone(msgspec.Struct, frozen=True, kw_only=True):
    """The mirror is there and has the base branch; `note` says why its forge did not tell `repository`."""

    base_sha: str
    default_branch: str | None
    repository: Repository | None = None
    note: str | None = None


class PlanDone(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted plan whose files are committed on the branch; `plan` holds just what was written."""

    plan: Plan
    steps: tuple[PlannedStep, ...]
    start_sha: str
    head_sha: str
    pushed: bool


class ExecutionDone(msgspec.Struct, frozen=True, kw_only=True):
    """An execution that the agent finished; `changed` is False when it left the files as they were."""

    summary: str
    changed: bool
    head_sha: str | None
    pushed: bool
    files: int = 0
    additions: int = 0
    deletions: int = 0
    restored: tuple[str, ...] = ()


class QaDone(msgspec.Struct, frozen=True, kw_only=True):
    """A QA verdict on one commit; `inconclusive` when none could be read in `asks` asks."""

    sha: str
    verdict: Literal["pass", "fail", "inconclusive"]
    summary: str
    findings: tuple[dict[str, Any], ...] = ()
    next_actions: tuple[str, ...] = ()
    asks: int = 1


class PublishDone(msgspec.Struct, frozen=True, kw_only=True):
    """The branch is at the remote; `note` says what was not done.

    `pull` is the PR or MR as it stands now, `comment` the forge's id of our one comment there.
    """

    sha: str
    pushed: bool
    note: str
    url: str | None = None
    pull: PullWord | None = None
    comment: str | None = None


class DeliveryDone(msgspec.Struct, frozen=True, kw_only=True):
    """What a delivery says; `seen` is what the forge or the origin says itself, read again because of it.

    Without `said` the delivery could not be read, and `reason` tells why.
    """

    said: Said | None
    seen: tuple[Word, ...] = ()
    reason: str | None = None


class SyncDone(msgspec.Struct, frozen=True, kw_only=True):
    """What the forge says now of a protocol's PR and commits; `logs` are tails of red jobs, by their context.

    `url` is the CI run that was asked for, where the job was to ask for one and the forge tells.
    """

    seen: tuple[Word, ...] = ()
    repository: Repository | None = None
    logs: dict[str, str] = {}
    url: str | None = None
    note: str | None = None


Report = SetupDone | PlanDone | ExecutionDone | QaDone | PublishDone | DeliveryDone | SyncDone | NoticeDone


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """The job failed; the category decides whether it is tried again.

    `again_at` is when a quota is there again, or before when a call is refused, in milliseconds, if whoever it is that
    does so said it.
    """

    category: Category
    message: str
    stderr_tail: str = ""
    again_at: int | None = None


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever ran the job is dead; said by the reconciler. `salvage` is the git ref of what it had written."""

    message: str
    salvage: str | None = None


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    """The job was stopped on request (pause, shutdown) and can go on later; its processes are confirmed dead."""

    message: str


Ending = Report | Failed | Lost | Stopped
