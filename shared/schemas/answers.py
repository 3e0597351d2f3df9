"""The answers of the API: what leaves the house, field by field; a secret has a field only where it is made."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from shared.schemas.policy import Policy
from shared.schemas.statuses import (
    AttemptState,
    EventType,
    GateName,
    GateState,
    JobKind,
    JobState,
    Phase,
    ProtocolStatus,
    Provider,
    PullState,
    Reason,
    StepStatus,
    StepType,
    StopRequest,
)

Time = Annotated[datetime, Meta(tz=True, description="UTC, RFC 3339.", examples=["2026-11-22T16:00:00.123Z"])]
Actions = Annotated[tuple[str, ...], Meta(description="The actions that would not be refused now.")]
Version = Annotated[int, Meta(description="Grows by one with each change; the ETag.", examples=[3])]

# The names of the wire, where they are longer than ours.
RUN = {"protocol_id": "protocol_run_id"}
RUN_AND_STEP = RUN | {"step_id": "step_run_id"}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all answers."""


class Usage(Answer, frozen=True):
    """Tokens used so far."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_output_tokens: int = 0


class SetupAnswer(Answer, frozen=True, rename={"state": "status"}):
    """The newest setup of a project: cloning its repository and looking for its base branch."""

    job_id: int
    state: JobState
    category: Annotated[str | None, Meta(description="Why it failed.")]
    error: str | None


class ProjectAnswer(Answer, frozen=True):
    """A repository with its base branch, forge, model defaults and policy."""

    id: int
    name: str
    git_url: str
    base_branch: str
    ci_provider: Provider | None
    repository_id: Annotated[
        str | None, Meta(description="The forge's own id of the repository, once it is known; what is matched by.")
    ]
    default_models: dict[str, str]
    policy: Policy
    setup: SetupAnswer | None
    version: Version
    created_at: Time
    updated_at: Time


class ProtocolAnswer(Answer, frozen=True):
    """A protocol run: one task on one branch."""

    id: int
    project_id: int
    protocol_name: str
    description: str
    branch: str
    base_branch: str
    status: ProtocolStatus
    phase: Annotated[Phase | None, Meta(description="What it does or waits for within its status.")]
    reason: Annotated[Reason | None, Meta(description="Why it has its status.")]
    allowed_actions: Actions
    policy: Policy
    model: str | None
    start_sha: Annotated[str | None, Meta(description="The commit that the branch grew from.")]
    head_sha: Annotated[str | None, Meta(description="The last accepted commit on the branch.")]
    pushed_sha: Annotated[str | None, Meta(description="The last commit that the remote is known to hold.")]
    plan_revision: int
    plan_sha: Annotated[str | None, Meta(description="SHA-256 of the plan's present revision.")]
    feedback: str | None
    pr_number: Annotated[int | None, Meta(description="The number of its pull or merge request.")]
    pr_url: str | None
    pr_state: Annotated[PullState | None, Meta(description="How that stood when the forge was last heard.")]
    usage: Usage
    version: Version
    created_at: Time
    updated_at: Time
    finished_at: Time | None


class PlanAnswer(Answer, frozen=True, rename=RUN):
    """One revision of a plan; `files` are the texts on the branch below `.protocols/<protocol_name>/`."""

    protocol_id: int
    revision: int
    summary: str
    plan_md: str
    context_md: str
    files: dict[str, str]
    sha256: str
    created_at: Time


class StepAnswer(Answer, frozen=True, rename=RUN):
    """One step of a plan."""

    id: int
    protocol_id: int
    step_index: int
    step_name: str
    step_type: StepType
    file_name: str
    instructions: str
    depends_on: tuple[int, ...]
    model: str | None
    status: StepStatus
    phase: Annotated[Phase | None, Meta(description="What it does or waits for within its status.")]
    reason: Annotated[Reason | None, Meta(description="Why it has its status.")]
    allowed_actions: Actions
    summary: str | None
    feedback: str | None
    thread_id: str | None
    start_sha: Annotated[str | None, Meta(description="The commit that the present execution starts from.")]
    head_sha: Annotated[str | None, Meta(description="The commit that it made; gates are bound to it.")]
    executions: Annotated[int, Meta(description="Executions whose work was committed.")]
    continuations: Annotated[int, Meta(description="Attempts that went on after a worker was lost.")]
    repairs: Annotated[int, Meta(description="Automatic repairs after a red gate.")]
    retries: Annotated[int, Meta(description="Retries that somebody asked for.")]
    qa_asks: Annotated[int, Meta(description="How often QA was asked about the present commit.")]
    version: Version
    created_at: Time
    updated_at: Time
    started_at: Time | None
    finished_at: Time | None


class GateAnswer(Answer, frozen=True, rename=RUN_AND_STEP):
    """Evidence for one step and one commit."""

    step_id: int
    sha: str
    name: GateName
    state: GateState
    summary: str
    url: str | None
    actor: str
    attempt_id: int | None
    evidence: dict[str, Any]
    updated_at: Time


class AttemptAnswer(Answer, frozen=True, rename=RUN_AND_STEP | {"kind": "job_type", "state": "status"}):
    """One life of a Codex process; tokens are what this attempt added."""

    id: int
    job_id: int
    protocol_id: int
    step_id: int | None
    kind: JobKind
    number: Annotated[int, Meta(description="Counts the attempts of one job.")]
    state: AttemptState
    model: str | None
    thread_id: str | None
    resumed_from: Annotated[int | None, Meta(description="The attempt whose thread it went on with.")]
    salvage: Annotated[str | None, Meta(description="The git ref of what it had written when it was cut off.")]
    prompt_sha256: str | None
    start_sha: str | None
    head_sha: str | None
    result: dict[str, Any] | None
    category: Annotated[str | None, Meta(description="Why it failed.")]
    error: str | None
    stderr_tail: str | None
    exit_code: int | None
    usage: Usage
    started_at: Time
    finished_at: Time | None


class JobAnswer(Answer, frozen=True, rename=RUN_AND_STEP | {"kind": "job_type", "state": "status"}):
    """A unit of background work."""

    id: int
    kind: JobKind
    state: JobState
    stop: Annotated[StopRequest | None, Meta(description="What a running job was asked to stop for.")]
    allowed_actions: Annotated[
        tuple[str, ...],
        Meta(description="What its state allows. A newer job, or what it was for, may still refuse a retry."),
    ]
    project_id: int | None
    protocol_id: int | None
    step_id: int | None
    delivery_id: int | None
    payload: dict[str, Any]
    priority: int
    run_at: Annotated[Time, Meta(description="Not started before this.")]
    attempt: Annotated[int, Meta(description="Attempts so far, without those that were lost, parked or out of quota.")]
    max_attempts: int
    continuations: Annotated[int, Meta(description="Times that it went on after its worker was lost.")]
    category: Annotated[str | None, Meta(description="Why it failed.")]
    error: str | None
    result: dict[str, Any] | None
    actor: str
    request_id: str | None
    created_at: Time
    started_at: Time | None
    finished_at: Time | None


class SyncAnswer(Answer, frozen=True):
    """The jobs that look at a project's forge, one for each of its open protocol runs that has a commit."""

    jobs: tuple[JobAnswer, ...]


class QueueAnswer(Answer, frozen=True, rename={"kind": "job_type"}):
    """How many jobs of one type there are, by status."""

    kind: JobKind
    queued: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0


class QueuesAnswer(Answer, frozen=True):
    """The queue, by type of job, and what holds it up."""

    backend: str
    stopped: Annotated[bool, Meta(description="Whether the line is stopped: no job starts.")]
    parked_until: Annotated[
        Time | None,
        Meta(description="No job that needs Codex starts before; its quota is used up, or it is to slow down."),
    ]
    queues: tuple[QueueAnswer, ...]


class HoldAnswer(Answer, frozen=True):
    """A credential that no agent is started with for a while."""

    credential: Annotated[str, Meta(description="A name for Codex's login or API key.", examples=["login"])]
    reason: Annotated[Reason, Meta(examples=["quota"])]
    message: str
    created_at: Time
    parked_until: Time


class LineAnswer(Answer, frozen=True):
    """All work together: whether anything starts, what holds it up, and how much runs and waits."""

    status: Annotated[Literal["running", "stopped"], Meta(description="Whether jobs start.")]
    stopped_at: Time | None
    stopped_by: str | None
    parked: tuple[HoldAnswer, ...]
    jobs_running: int
    jobs_queued: int
    allowed_actions: Actions


class EventAnswer(Answer, frozen=True, rename=RUN_AND_STEP):
    """A line of what happened; `from_status` and `to_status` are there when a status changed."""

    id: int
    project_id: int | None
    project_name: str | None
    protocol_id: int | None
    protocol_name: str | None
    step_id: int | None
    attempt_id: int | None
    job_id: int | None
    delivery_id: int | None
    event_type: EventType
    entity: str
    from_status: str | None
    to_status: str | None
    reason: str | None
    actor: str
    request_id: str | None
    metadata: dict[str, Any]
    created_at: Time


class TokenAnswer(Answer, frozen=True):
    """An access token of a project, without the token."""

    id: int
    project_id: int
    name: str
    prefix: Annotated[str, Meta(description="Its first characters, to tell tokens apart.", examples=["dfp_x7Qa"])]
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None
    last_used_at: Time | None


class NewTokenAnswer(TokenAnswer, frozen=True):
    """An access token that was just made."""

    token: Annotated[
        str | None, Meta(description="Shown this once; null when the answer is repeated for the same Idempotency-Key.")
    ]


class SecretAnswer(Answer, frozen=True):
    """A stored secret, without the secret."""

    name: str
    stored_as: Annotated[str, Meta(description="`sealed` or `file`.", examples=["sealed"])]
    file_name: str | None
    updated_at: Time


class CheckAnswer(Answer, frozen=True):
    """The state of one thing that a service depends on."""

    name: Annotated[str, Meta(examples=["database"])]
    ok: bool
    detail: Annotated[str | None, Meta(description="What is wrong and what to do, or a fact worth knowing.")]


class ServiceAnswer(Answer, frozen=True):
    """A service as the API sees it; where it cannot be asked from there it is `unknown`, and `note` says why."""

    name: Annotated[str, Meta(description="`api`, `webhooks` or `worker`.")]
    status: Literal["ready", "unready", "unknown"]
    address: Annotated[str | None, Meta(description="Where it was asked.")]
    note: str
    checks: tuple[CheckAnswer, ...]


class ServicesAnswer(Answer, frozen=True):
    """All three services."""

    services: tuple[ServiceAnswer, ...]


class RootAnswer(Answer, frozen=True):
    """Where to go from here."""

    service: str
    docs: str
    openapi: str
    health: str
