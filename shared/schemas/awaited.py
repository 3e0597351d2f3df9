"""The closed sets of words about who waits for whom: what is waited for, what waits for a person, and how urgently."""

from enum import StrEnum


class Awaited(StrEnum):
    """Whom or what something waits for; with the first four it moves."""

    WORKER = "worker"
    AGENT = "agent"
    CI = "ci"
    TIME = "time"
    NOBODY = "nobody"
    PERSON = "person"
    QUOTA = "quota"
    LINE = "line"
    MERGE = "merge"

    @property
    def moves(self) -> bool:
        """Whether work on it is under way or comes by itself, without anybody's help."""
        return self in {Awaited.WORKER, Awaited.AGENT, Awaited.CI, Awaited.TIME}


class Urgency(StrEnum):
    """How soon somebody should look; the most urgent first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Kind(StrEnum):
    """What kind of thing waits for a person."""

    # Nothing goes on until somebody has mended or decided something.
    GATE = "gate"
    STEP_FAILED = "step_failed"
    QA_UNAVAILABLE = "qa_unavailable"
    PLANNING_FAILED = "planning_failed"
    PUBLISH_FAILED = "publish_failed"
    PR_CLOSED = "pr_closed"
    CI_REGRESSED = "ci_regressed"
    DIVERGED = "diverged"
    KILL_UNCONFIRMED = "kill_unconfirmed"
    SETUP_FAILED = "setup_failed"
    QUOTA = "quota"
    LINE = "line"
    # It goes well and wants a decision, or something beside the work does not go well.
    PLAN_APPROVAL = "plan_approval"
    REVIEW = "review"
    QA_INCONCLUSIVE = "qa_inconclusive"
    CI_WAITS = "ci_waits"
    DELIVERY_FAILED = "delivery_failed"
    NOTIFIER_FAILING = "notifier_failing"
    # It can wait.
    NEXT_STEP = "next_step"
    AWAITING_MERGE = "awaiting_merge"

    @property
    def urgency(self) -> Urgency:
        """How soon somebody should look."""
        if self in {Kind.NEXT_STEP, Kind.AWAITING_MERGE}:
            return Urgency.LOW
        return Urgency.NORMAL if self in _NORMAL else Urgency.HIGH


_NORMAL = frozenset(
    {
        Kind.PLAN_APPROVAL,
        Kind.REVIEW,
        Kind.QA_INCONCLUSIVE,
        Kind.CI_WAITS,
        Kind.DELIVERY_FAILED,
        Kind.NOTIFIER_FAILING,
    }
)
