"""The rows of the database as frozen structs; times are integer milliseconds since 1970 in UTC."""

from typing import Any

import msgspec

from shared.schemas.policy import Policy
from shared.schemas.statuses import (
    AttemptState,
    DeliveryStatus,
    EventType,
    GateName,
    GateState,
    JobKind,
    JobState,
    Outcome,
    Phase,
    ProtocolStatus,
    Provider,
    PullState,
    Reason,
    StepStatus,
    StepType,
    StopRequest,
)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all rows."""


class Project(Record, frozen=True):
    """A repository with its base branch, forge, model defaults and policy.

    `repository_id` is the forge's own id of the repository, the key that facts are matched by.
    """

    id: int
    name: str
    git_url: str
    base_branch: str
    ci_provider: Provider | None
    repository_id: str | None
    default_models: dict[str, str]
    policy: Policy
    version: int
    created_at: int
    updated_at: int


class Protocol(Record, frozen=True, kw_only=True):
    """One task on one branch.

    `start_sha` is the base commit that the branch grew from, `head_sha` the last commit that we accepted on it,
    `pushed_sha` the last one that the remote is known to hold. `plan_revision` counts the revisions of the plan,
    `written_revision` the last one that is on the branch. `pr_at` is the forge's time of what `pr_state` tells,
    `pr_comment` the forge's id of our one comment there. `diverged_sha` is the commit to which
    somebody else moved the branch, if it was seen.
    """

    id: int
    project_id: int
    number: int
    protocol_name: str
    branch: str
    base_branch: str
    description: str
    status: ProtocolStatus
    phase: Phase | None
    reason: Reason | None
    policy: Policy
    model: str | None
    start_sha: str | None
    head_sha: str | None
    pushed_sha: str | None
    diverged_sha: str | None = None
    plan_revision: int
    written_revision: int
    plan_sha: str | None
    feedback: str | None
    pr_number: int | None
    pr_url: str | None
    pr_state: PullState | None
    pr_at: int | None
    pr_comment: str | None
    version: int
    created_at: int
    updated_at: int
    finished_at: int | None


class Plan(Record, frozen=True):
    """One revision of a protocol's plan; `files` are the texts on the branch by name below `.protocols/<name>/`."""

    protocol_id: int
    revision: int
    summary: str
    plan_md: str
    context_md: str
    files: dict[str, str]
    sha256: str
    created_at: int


class StepState(Record, frozen=True, kw_only=True):
    """What of a step decides what may be done about it."""

    id: int
    step_index: int
    depends_on: tuple[int, ...]
    status: StepStatus = StepStatus.PENDING
    phase: Phase | None = None


class StepRun(StepState, frozen=True, kw_only=True):
    """One step of the plan.

    `start_sha` is the known point that the current execution starts from, `head_sha` the commit that it made.
    The counters are separate on purpose: `executions` accepted, `continuations` after a lost lease, `repairs` that
    were automatic, `retries` that a person asked for, `qa_asks` on the present commit. `repaired_sha` is the red commit
    that the last repair was for.
    """

    protocol_id: int
    step_name: str
    step_type: StepType
    file_name: str
    instructions: str
    model: str | None = None
    reason: Reason | None = None
    summary: str | None = None
    feedback: str | None = None
    thread_id: str | None = None
    start_sha: str | None = None
    head_sha: str | None = None
    executions: int = 0
    continuations: int = 0
    repairs: int = 0
    retries: int = 0
    qa_asks: int = 0
    repaired_sha: str | None = None
    version: int = 1
    created_at: int
    updated_at: int
    started_at: int | None = None
    finished_at: int | None = None


class Job(Record, frozen=True):
    """A unit of background work; the row is its own outbox.

    `attempt` and `token` grow by one with each claim, `heartbeat` while somebody works on it, `dispatch` with each
    time that it goes back to the outbox; `dispatched_at` is empty until a bell was rung for that dispatch. The lowest
    `priority` goes first.
    """

    id: int
    kind: JobKind
    project_id: int | None
    protocol_id: int | None
    step_id: int | None
    delivery_id: int | None
    payload: dict[str, Any]
    state: JobState
    priority: int
    run_at: int
    attempt: int
    max_attempts: int
    continuations: int
    token: int
    heartbeat: int
    dispatch: int
    dispatched_at: int | None
    owner: str | None
    stop: StopRequest | None
    category: str | None
    error: str | None
    result: dict[str, Any] | None
    actor: str
    request_id: str | None
    created_at: int
    started_at: int | None
    finished_at: int | None


class Hold(Record, frozen=True):
    """What keeps jobs from starting: the line as a whole, until somebody resumes it, or one credential, until a time.

    `name` is `line`, or the credential, whose jobs are those that run Codex with it.
    """

    name: str
    reason: Reason
    message: str
    until: int | None
    actor: str
    created_at: int


class Attempt(Record, frozen=True):
    """One life of a Codex process for a job; `head_sha` and `result` are set once its work is committed.

    Token counts are what this attempt added, never the running total of a resumed thread. `salvage` is the git ref of
    what it had written when it was cut off.
    """

    id: int
    job_id: int
    protocol_id: int
    step_id: int | None
    kind: JobKind
    number: int
    token: int
    state: AttemptState
    model: str | None
    thread_id: str | None
    resumed_from: int | None
    salvage: str | None
    prompt_sha256: str | None
    start_sha: str | None
    head_sha: str | None
    result: dict[str, Any] | None
    category: str | None
    error: str | None
    stderr_tail: str | None
    exit_code: int | None
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_output_tokens: int
    directory: str | None
    started_at: int
    finished_at: int | None


class Gate(Record, frozen=True):
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
    updated_at: int


class Fact(Record, frozen=True):
    """What a forge said of a commit, as a level: the newest word on one context (`shared.schemas.forge.CiWord`).

    `observed_at` is the forge's time, 0 when it told none; `received_at` is ours.
    """

    id: int
    project_id: int
    repository_id: str
    sha: str
    context: str
    scope: str
    name: str
    provider: Provider
    outcome: Outcome
    run_id: int
    run_attempt: int
    observed_at: int
    received_at: int
    url: str | None
    delivery_id: int | None
    details: dict[str, Any]


class Event(Record, frozen=True):
    """An append-only line of what happened."""

    id: int
    project_id: int | None
    protocol_id: int | None
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
    created_at: int


class Token(Record, frozen=True):
    """A project's access token; only its hash is kept. `project_id` is the one project it opens."""

    id: int
    project_id: int
    name: str
    prefix: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None


class Hook(Record, frozen=True):
    """An inbound webhook's address: the random key in its URL selects the project and the secrets."""

    id: int
    project_id: int
    provider: Provider
    key: str
    created_at: int
    disabled_at: int | None


class HookSecret(Record, frozen=True):
    """One secret of a hook, sealed; `scheme` is `hmac`, `token` or `signing`, `valid_until` its end or None."""

    id: int
    hook_id: int
    scheme: str
    sealed: bytes
    valid_until: int | None
    created_at: int


class Delivery(Record, frozen=True):
    """One inbound webhook, stored before it is acted upon."""

    id: int
    provider: Provider
    hook_id: int | None
    delivery_key: str
    event: str
    headers: dict[str, str]
    body: bytes
    body_sha256: str
    project_id: int | None
    protocol_id: int | None
    step_id: int | None
    status: DeliveryStatus
    reason: str | None
    effect: str | None
    received_at: int
    applied_at: int | None


class Secret(Record, frozen=True):
    """A project's stored secret: sealed under SECRET_KEY, or the name of a file that holds it."""

    project_id: int
    name: str
    sealed: bytes | None
    file_name: str | None
    updated_at: int
