"""The step's transition table: which trigger moves which status where."""

from enum import StrEnum

from shared.schemas.statuses import Phase
from shared.schemas.statuses import StepStatus as S


class StepTrigger(StrEnum):
    """Everything that can move a step."""

    RUN = "run"
    CLAIM = "claim"
    BACKOFF = "backoff"
    PARK = "park"
    EXECUTED = "executed"
    NO_CHANGES = "no_changes"
    GAVE_UP = "gave_up"
    GATE_UPDATED = "gate_updated"
    GATES_PASSED = "gates_passed"
    GATE_FAILED = "gate_failed"
    REPAIR = "repair"
    INCONCLUSIVE = "inconclusive"
    RUN_QA = "run_qa"
    APPROVE = "approve"
    OVERRIDE = "override"
    REJECT = "reject"
    RETRY = "retry"
    SKIP = "skip"
    CANCEL = "cancel"
    CI_RECOVERED = "ci_recovered"
    PROTOCOL_ENDED = "protocol_ended"


T = StepTrigger
OPEN = (S.PENDING, S.RUNNING, S.NEEDS_QA, S.FAILED)

TABLE: dict[tuple[S, T], S] = {
    (S.PENDING, T.RUN): S.PENDING,
    (S.FAILED, T.RUN): S.PENDING,
    (S.PENDING, T.CLAIM): S.RUNNING,
    (S.RUNNING, T.CLAIM): S.RUNNING,
    (S.RUNNING, T.BACKOFF): S.RUNNING,
    (S.RUNNING, T.PARK): S.RUNNING,
    (S.RUNNING, T.EXECUTED): S.NEEDS_QA,
    (S.RUNNING, T.NO_CHANGES): S.FAILED,
    (S.RUNNING, T.GAVE_UP): S.FAILED,
    (S.PENDING, T.GAVE_UP): S.FAILED,
    (S.NEEDS_QA, T.GATE_UPDATED): S.NEEDS_QA,
    (S.NEEDS_QA, T.GATES_PASSED): S.COMPLETED,
    (S.NEEDS_QA, T.GATE_FAILED): S.FAILED,
    (S.NEEDS_QA, T.REPAIR): S.PENDING,
    (S.NEEDS_QA, T.INCONCLUSIVE): S.NEEDS_QA,
    (S.NEEDS_QA, T.RUN_QA): S.NEEDS_QA,
    (S.NEEDS_QA, T.APPROVE): S.COMPLETED,
    (S.NEEDS_QA, T.OVERRIDE): S.COMPLETED,
    (S.FAILED, T.OVERRIDE): S.COMPLETED,
    (S.NEEDS_QA, T.REJECT): S.PENDING,
    (S.FAILED, T.RETRY): S.PENDING,
    (S.NEEDS_QA, T.RETRY): S.PENDING,
    (S.PENDING, T.SKIP): S.COMPLETED,
    (S.NEEDS_QA, T.SKIP): S.COMPLETED,
    (S.FAILED, T.SKIP): S.COMPLETED,
    (S.FAILED, T.CI_RECOVERED): S.NEEDS_QA,
    **{(status, T.CANCEL): S.CANCELLED for status in OPEN},
    **{(status, T.PROTOCOL_ENDED): S.CANCELLED for status in OPEN},
}

# Which triggers stand behind which action of the public API.
ACTIONS: dict[str, tuple[StepTrigger, ...]] = {
    "run": (T.RUN,),
    "run_qa": (T.RUN_QA,),
    "approve": (T.APPROVE, T.OVERRIDE),
    "reject": (T.REJECT,),
    "retry": (T.RETRY,),
    "skip": (T.SKIP,),
    "cancel": (T.CANCEL,),
}


def target(status: S, trigger: StepTrigger) -> S | None:
    """The status that `trigger` leads to; None when it is refused in `status`."""
    return TABLE.get((status, trigger))


def allowed_actions(status: S, phase: Phase | None = None) -> tuple[str, ...]:
    """The actions of the public API that this status, and work that is queued already, do not rule out."""
    ruled_out = {Phase.QUEUED: "run", Phase.QA_QUEUED: "run_qa", Phase.QA_RUNNING: "run_qa"}.get(phase) if phase else ""
    return tuple(
        name
        for name, triggers in ACTIONS.items()
        if name != ruled_out and any(target(status, trigger) for trigger in triggers)
    )
