"""The closed sets of words: statuses, phases, reasons, job kinds, gate states and event types."""

from enum import StrEnum


class ProtocolStatus(StrEnum):
    """Where a protocol run stands; the last three are terminal."""

    PENDING = "pending"
    PLANNING = "planning"
    PLANNED = "planned"
    RUNNING = "running"
    PAUSED = "paused"
    BLOCKED = "blocked"
    FAILED = "failed"
    CANCELLED = "cancelled"
    COMPLETED = "completed"

    @property
    def terminal(self) -> bool:
        """Whether nothing can change it any more."""
        return self in {ProtocolStatus.FAILED, ProtocolStatus.CANCELLED, ProtocolStatus.COMPLETED}


class StepStatus(StrEnum):
    """Where a step stands; a failed step is open (it can be retried), a completed or cancelled one is settled."""

    PENDING = "pending"
    RUNNING = "running"
    NEEDS_QA = "needs_qa"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def settled(self) -> bool:
        """Whether the protocol needs nothing more of this step."""
        return self in {StepStatus.COMPLETED, StepStatus.CANCELLED}


class StepType(StrEnum):
    """What a step is for; only a `work` step must change files."""

    SETUP = "setup"
    WORK = "work"
    QA = "qa"


class JobKind(StrEnum):
    """A unit of background work, by its name on the wire."""

    SETUP = "setup"
    PLAN = "plan_protocol_job"
    EXECUTE = "execute_step_job"
    QA = "run_quality_job"
    OPEN_PR = "open_pr_job"
    DELIVERY = "process_delivery"
    SYNC = "sync"
    NOTIFY = "notify"

    @property
    def writes_branch(self) -> bool:
        """Whether it needs the protocol's worktree or branch for itself."""
        return self in {JobKind.PLAN, JobKind.EXECUTE, JobKind.OPEN_PR}

    @property
    def runs_codex(self) -> bool:
        """Whether each of its attempts is one life of a Codex process."""
        return self in {JobKind.PLAN, JobKind.EXECUTE, JobKind.QA}


class JobState(StrEnum):
    """Where a job stands; retrying is `queued` with an attempt behind it and a `run_at` ahead."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StopRequest(StrEnum):
    """What a running job is asked to stop for."""

    CANCEL = "cancel"
    PARK = "park"


class AttemptState(StrEnum):
    """How one life of a Codex process ended; `running` while it has not."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"
    CANCELLED = "cancelled"
    PARKED = "parked"


class Footing(StrEnum):
    """What an attempt stands on that takes over from an earlier one, and why."""

    # It goes on in the earlier one's thread, with its files but for the last of these, which has its commit.
    PARKED = "parked"
    LOST = "lost"
    REWORK = "rework"
    # It adopts the earlier one's commit.
    COMMITTED = "committed"
    # It starts clean.
    FAILED = "failed"
    READS_ONLY = "reads_only"
    TOO_OFTEN = "too_often"
    NO_THREAD = "no_thread"
    THREAD_GONE = "thread_gone"
    THREAD_TORN = "thread_torn"
    OTHER_MODEL = "other_model"
    BRANCH_MOVED = "branch_moved"
    WORKTREE_USED = "worktree_used"
    WORKTREE_MOVED = "worktree_moved"

    @property
    def keeps_files(self) -> bool:
        """Whether it goes on with the files as the earlier one left them."""
        return self in {Footing.PARKED, Footing.LOST}

    @property
    def how(self) -> str:
        """In one word for the timeline: `resumed`, `adopted` or `clean`."""
        if self is Footing.COMMITTED:
            return "adopted"
        return "resumed" if self.keeps_files or self is Footing.REWORK else "clean"


class Phase(StrEnum):
    """What a protocol or step is doing or waiting for within its status."""

    QUEUED = "queued"
    EXECUTING = "executing"
    BACKOFF = "backoff"
    PARKED = "parked"
    QA_QUEUED = "qa_queued"
    QA_RUNNING = "qa_running"
    AWAITING_GATES = "awaiting_gates"
    INCONCLUSIVE = "inconclusive"
    AWAITING_PLAN_APPROVAL = "awaiting_plan_approval"
    AWAITING_MERGE = "awaiting_merge"


class Reason(StrEnum):
    """Why something has its status: the closed set of reason codes; it holds every error category too."""

    # protocol
    PLAN_FAILED = "plan_failed"
    PLAN_REJECTED = "plan_rejected"
    STEP_FAILED = "step_failed"
    QA_UNAVAILABLE = "qa_unavailable"
    PUBLISH_FAILED = "publish_failed"
    CI_REGRESSED = "ci_regressed"
    DIVERGED = "diverged"
    PR_CLOSED = "pr_closed"
    STEPS_DONE = "steps_done"
    STEPS_CANCELLED = "steps_cancelled"
    MERGED = "merged"
    OPERATOR = "operator"
    # step
    NO_CHANGES = "no_changes"
    CI_FAILED = "ci_failed"
    QA_FAILED = "qa_failed"
    GATES_PASSED = "gates_passed"
    APPROVED = "approved"
    OVERRIDDEN = "overridden"
    SKIPPED = "skipped"
    REJECTED = "rejected"
    REPAIR = "repair"
    RETRIED = "retried"
    PROTOCOL_ENDED = "protocol_ended"
    # a job's error category, carried over
    AUTH = "auth"
    CONFIG = "config"
    BAD_REQUEST = "bad_request"
    PROMPT_TOO_LARGE = "prompt_too_large"
    TOO_LONG = "too_long"
    QUOTA = "quota"
    CODEX_MISSING = "codex_missing"
    SANDBOX_MISSING = "sandbox_missing"
    BAD_OUTPUT = "bad_output"
    PLAN_INVALID = "plan_invalid"
    REPOSITORY = "repository"
    POLICY = "policy"
    CANCELLED = "cancelled"
    NO_ANSWER = "no_answer"
    RATE_LIMITED = "rate_limited"
    UPSTREAM = "upstream"
    NETWORK = "network"
    THREAD_BUSY = "thread_busy"
    SESSION_LOST = "session_lost"
    TIMEOUT = "timeout"
    SILENCE = "silence"
    QUEUE_TIMEOUT = "queue_timeout"
    KILLED = "killed"
    CRASH = "crash"
    LOST = "lost"
    BUSY = "busy"
    GIT = "git"
    UNKNOWN = "unknown"


class GateName(StrEnum):
    """The evidence that a step can need."""

    CI = "ci"
    QA = "qa"
    APPROVAL = "approval"


class GateState(StrEnum):
    """What the evidence for one commit says."""

    PENDING = "pending"
    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


class Outcome(StrEnum):
    """What one forge fact says of a commit."""

    PASS = "pass"  # noqa: S105  an outcome, not a password
    SOFT_PASS = "soft_pass"  # noqa: S105  an outcome, not a password
    FAIL = "fail"
    WAITING_HUMAN = "waiting_human"
    NO_VERDICT = "no_verdict"
    RUNNING = "running"
    UNKNOWN = "unknown"


class Provider(StrEnum):
    """A forge, or a CI job that reports by itself."""

    GITHUB = "github"
    GITLAB = "gitlab"
    CI = "ci"


class PullState(StrEnum):
    """Where a pull or merge request stands."""

    OPEN = "open"
    CLOSED = "closed"
    MERGED = "merged"


class DeliveryStatus(StrEnum):
    """What became of an inbound webhook."""

    RECEIVED = "received"
    APPLIED = "applied"
    IGNORED = "ignored"
    DUPLICATE = "duplicate"
    FAILED = "failed"


class EventType(StrEnum):
    """What happened; the word in `event_type`."""

    PROJECT_REGISTERED = "project_registered"
    PROJECT_CHANGED = "project_changed"
    SECRET_SET = "secret_set"  # noqa: S105  a name of an event
    TOKEN_CREATED = "token_created"  # noqa: S105  a name of an event
    TOKEN_REVOKED = "token_revoked"  # noqa: S105  a name of an event
    HOOK_CREATED = "hook_created"
    HOOK_ROTATED = "hook_rotated"
    HOOK_DISABLED = "hook_disabled"
    NOTIFIER_CREATED = "notifier_created"
    NOTIFIER_REMOVED = "notifier_removed"
    NOTIFIER_FAILING = "notifier_failing"
    NOTIFIER_RECOVERED = "notifier_recovered"
    SETUP_ENQUEUED = "setup_enqueued"
    SETUP_DONE = "setup_done"
    PROTOCOL_OPENED = "protocol_opened"
    PLANNING_ENQUEUED = "planning_enqueued"
    PLANNING_STARTED = "planning_started"
    PLANNED = "planned"
    PLAN_APPROVED = "plan_approved"
    PLAN_REJECTED = "plan_rejected"
    PLAN_REVISED = "plan_revised"
    PLAN_WRITTEN = "plan_written"
    PLANNING_FAILED = "planning_failed"
    PROTOCOL_STARTED = "protocol_started"
    PROTOCOL_BLOCKED = "protocol_blocked"
    PROTOCOL_UNBLOCKED = "protocol_unblocked"
    PAUSED = "paused"
    RESUMED = "resumed"
    CANCELLED = "cancelled"
    AWAITING_MERGE = "awaiting_merge"
    PR_MERGED = "pr_merged"
    MR_MERGED = "mr_merged"
    PR_CLOSED = "pr_closed"
    PR_REOPENED = "pr_reopened"
    CI_REGRESSED = "ci_regressed"
    DIVERGED = "diverged"
    PROTOCOL_COMPLETED = "protocol_completed"
    PROTOCOL_FAILED = "protocol_failed"
    STEP_ADDED = "step_added"
    STEP_ENQUEUED = "step_enqueued"
    STEP_STARTED = "step_started"
    STEP_COMPLETED = "step_completed"
    STEP_DONE = "step_done"
    STEP_FAILED = "step_failed"
    STEP_REJECTED = "step_rejected"
    STEP_RETRY_ENQUEUED = "step_retry_enqueued"
    STEP_REPAIR_ENQUEUED = "step_repair_enqueued"
    STEP_SKIPPED = "step_skipped"
    STEP_CANCELLED = "step_cancelled"
    NO_CHANGES = "no_changes"
    GATE_UPDATED = "gate_updated"
    QA_ENQUEUED = "qa_enqueued"
    QA_STARTED = "qa_started"
    QA_PASSED = "qa_passed"
    QA_FAILED = "qa_failed"
    QA_INCONCLUSIVE = "qa_inconclusive"
    MANUAL_APPROVAL = "manual_approval"
    CI_FAILED = "ci_failed"
    CI_RECOVERED = "ci_recovered"
    JOB_RETRY_SCHEDULED = "job_retry_scheduled"
    JOB_FAILED = "job_failed"
    JOB_LOST = "job_lost"
    JOB_PARKED = "job_parked"
    JOB_CANCELLED = "job_cancelled"
    QUOTA_PARKED = "quota_parked"
    QUOTA_LIFTED = "quota_lifted"
    LINE_STOPPED = "line_stopped"
    LINE_RESUMED = "line_resumed"
    LATE_RESULT = "late_result"
    ATTEMPT_KILLED = "attempt_killed"
    KILL_UNCONFIRMED = "kill_unconfirmed"
    ATTEMPT_CONTINUED = "attempt_continued"
    OPEN_PR_ENQUEUED = "open_pr_enqueued"
    BRANCH_PUSHED = "branch_pushed"
    BRANCH_ADOPTED = "branch_adopted"
    BRANCH_RESET = "branch_reset"
    PR_OPENED = "pr_opened"
    PR_READY = "pr_ready"
    CI_TRIGGERED = "ci_triggered"
    REPOSITORY_LEARNED = "repository_learned"
    SYNC_ENQUEUED = "sync_enqueued"
    SYNCED = "synced"
    DELIVERY_RECEIVED = "delivery_received"
    DELIVERY_REPLAYED = "delivery_replayed"
    DELIVERY_APPLIED = "delivery_applied"
    DELIVERY_IGNORED = "delivery_ignored"
