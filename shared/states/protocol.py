"""The protocol's transition table: which trigger moves which status where."""

from enum import StrEnum

from shared.schemas.statuses import JobKind, Phase, Reason
from shared.schemas.statuses import ProtocolStatus as S


class ProtocolTrigger(StrEnum):
    """Everything that can move a protocol run."""

    START = "start"
    START_WITH_STEPS = "start_with_steps"
    PLAN_OK = "plan_ok"
    PLAN_FAILED = "plan_failed"
    APPROVE_PLAN = "approve_plan"
    REJECT_PLAN = "reject_plan"
    RUN = "run"
    STEP_FAILED = "step_failed"
    JOB_FAILED = "job_failed"
    CAUSE_REMOVED = "cause_removed"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    FAIL = "fail"
    STEPS_DONE = "steps_done"
    STEPS_CANCELLED = "steps_cancelled"
    PR_MERGED = "pr_merged"
    PR_CLOSED = "pr_closed"
    PR_REOPENED = "pr_reopened"
    CI_REGRESSED = "ci_regressed"
    DIVERGED = "diverged"


T = ProtocolTrigger
OPEN = (S.PENDING, S.PLANNING, S.PLANNED, S.RUNNING, S.PAUSED, S.BLOCKED)
RESTING = (S.PENDING, S.PLANNING, S.PLANNED, S.RUNNING, S.BLOCKED, S.COMPLETED, S.CANCELLED)

TABLE: dict[tuple[S, T], tuple[S, ...]] = {
    (S.PENDING, T.START): (S.PLANNING,),
    (S.PLANNED, T.START): (S.PLANNING,),
    (S.BLOCKED, T.START): (S.PLANNING,),
    (S.PENDING, T.START_WITH_STEPS): (S.PLANNED,),
    (S.BLOCKED, T.START_WITH_STEPS): (S.PLANNED,),
    (S.PLANNING, T.PLAN_OK): (S.PLANNED,),
    (S.PLANNING, T.PLAN_FAILED): (S.BLOCKED,),
    (S.PLANNED, T.APPROVE_PLAN): (S.PLANNED,),
    (S.PLANNED, T.REJECT_PLAN): (S.PLANNING,),
    (S.PLANNED, T.RUN): (S.RUNNING,),
    (S.RUNNING, T.RUN): (S.RUNNING,),
    (S.BLOCKED, T.RUN): (S.RUNNING,),
    (S.RUNNING, T.STEP_FAILED): (S.BLOCKED,),
    (S.RUNNING, T.JOB_FAILED): (S.BLOCKED,),
    (S.PLANNED, T.JOB_FAILED): (S.BLOCKED,),
    (S.BLOCKED, T.CAUSE_REMOVED): RESTING,
    (S.PAUSED, T.RESUME): RESTING,
    (S.BLOCKED, T.FAIL): (S.FAILED,),
    (S.PLANNED, T.STEPS_DONE): (S.COMPLETED,),
    (S.RUNNING, T.STEPS_DONE): (S.COMPLETED,),
    (S.BLOCKED, T.STEPS_DONE): (S.COMPLETED,),
    (S.PLANNED, T.STEPS_CANCELLED): (S.CANCELLED,),
    (S.RUNNING, T.STEPS_CANCELLED): (S.CANCELLED,),
    (S.BLOCKED, T.STEPS_CANCELLED): (S.CANCELLED,),
    (S.BLOCKED, T.PR_REOPENED): RESTING,
    (S.RUNNING, T.CI_REGRESSED): (S.BLOCKED,),
    **{(status, T.PAUSE): (S.PAUSED,) for status in (S.PLANNING, S.PLANNED, S.RUNNING, S.BLOCKED)},
    **{(status, T.CANCEL): (S.CANCELLED,) for status in OPEN},
    **{(status, T.PR_MERGED): (S.COMPLETED,) for status in OPEN},
    **{(status, T.PR_CLOSED): (S.BLOCKED,) for status in OPEN},
    **{(status, T.DIVERGED): (S.BLOCKED,) for status in OPEN},
}

# Which trigger stands behind which action of the public API.
ACTIONS: dict[str, ProtocolTrigger] = {
    "start": T.START,
    "approve_plan": T.APPROVE_PLAN,
    "reject_plan": T.REJECT_PLAN,
    "run_next_step": T.RUN,
    "pause": T.PAUSE,
    "resume": T.RESUME,
    "cancel": T.CANCEL,
    "unblock": T.CAUSE_REMOVED,
    "fail": T.FAIL,
    "retry_latest": T.RUN,
    "adopt": T.CAUSE_REMOVED,
    "reset": T.CAUSE_REMOVED,
}

# In which statuses the jobs of a protocol may start.
READY: dict[JobKind, frozenset[S]] = {
    JobKind.PLAN: frozenset({S.PLANNING}),
    JobKind.EXECUTE: frozenset({S.RUNNING}),
    JobKind.QA: frozenset({S.RUNNING}),
    JobKind.SYNC: frozenset(OPEN),
    JobKind.OPEN_PR: frozenset({S.PLANNED, S.RUNNING, S.BLOCKED, S.COMPLETED}),
}


def targets(status: S, trigger: ProtocolTrigger) -> tuple[S, ...]:
    """The statuses that `trigger` may lead to; empty when it is refused in `status`."""
    return TABLE.get((status, trigger), ())


def allowed_actions(status: S, phase: Phase | None = None, reason: Reason | None = None) -> tuple[str, ...]:
    """The actions of the public API that this status, its reason, and a plan to be approved, do not rule out."""
    awaiting = phase is Phase.AWAITING_PLAN_APPROVAL
    ruled_out = {"run_next_step"} if awaiting else {"approve_plan", "reject_plan"}
    if status is S.PLANNED:
        ruled_out.add("retry_latest")
    if reason is not Reason.DIVERGED:
        ruled_out |= {"adopt", "reset"}
    names = [name for name, trigger in ACTIONS.items() if targets(status, trigger) and name not in ruled_out]
    return (*names, "open_pr") if status in READY[JobKind.OPEN_PR] else tuple(names)
