"""What a protocol's status is when nothing but its plan and steps decides, and which step comes next."""

from collections.abc import Iterable
from typing import TypeVar

from shared.schemas.records import StepState
from shared.schemas.statuses import Phase, ProtocolStatus, Reason, StepStatus

S = TypeVar("S", bound=StepState)

# What only its own remedy or a person's word removes, whatever the steps say.
HELD = frozenset({Reason.PUBLISH_FAILED, Reason.CI_REGRESSED, Reason.DIVERGED, Reason.PR_CLOSED})


def standing_cause(reason: Reason | None, steps: Iterable[StepState], *, planned: bool) -> Reason | None:
    """What blocks a protocol that was stopped for `reason`, as its steps are now; None when nothing does any more."""
    steps = tuple(steps)
    if reason in HELD or (reason is Reason.PLAN_FAILED and not planned):
        return reason
    if any(step.status is StepStatus.FAILED for step in steps):
        return Reason.STEP_FAILED
    if reason is Reason.QA_UNAVAILABLE and any(step.phase is Phase.INCONCLUSIVE for step in steps):
        return reason
    return None


def resting_status(
    steps: Iterable[StepState], *, planned: bool, planning: bool, cause: Reason | None = None
) -> ProtocolStatus:
    """The status that follows from the steps; `planned` tells of a finished plan, `planning` of an open plan job."""
    steps = tuple(steps)
    if cause is not None or any(step.status is StepStatus.FAILED for step in steps):
        return ProtocolStatus.BLOCKED
    if planning:
        return ProtocolStatus.PLANNING
    if not planned:
        return ProtocolStatus.PENDING
    if steps and all(step.status.settled for step in steps):
        done = any(step.status is StepStatus.COMPLETED for step in steps)
        return ProtocolStatus.COMPLETED if done else ProtocolStatus.CANCELLED
    if any(step.status is not StepStatus.PENDING or step.phase is Phase.QUEUED for step in steps):
        return ProtocolStatus.RUNNING
    return ProtocolStatus.PLANNED


def next_step(steps: Iterable[S], *, repair: bool = False) -> S | None:
    """The lowest step that could be run now: pending or failed, not queued, with its dependencies settled.

    With `repair` only failed ones count: the others wait until those are mended.
    """
    steps = sorted(steps, key=lambda step: step.step_index)
    settled = {step.step_index for step in steps if step.status.settled}
    return next(
        (
            step
            for step in steps
            if startable(step)
            and settled.issuperset(step.depends_on)
            and (not repair or step.status is StepStatus.FAILED)
        ),
        None,
    )


def startable(step: StepState) -> bool:
    """Whether the step waits for somebody to start it."""
    return step.status is StepStatus.FAILED or (step.status is StepStatus.PENDING and step.phase is not Phase.QUEUED)


def under_way(step: StepState) -> bool:
    """Whether something works on the step, or it waits to be judged."""
    return step.status in {StepStatus.RUNNING, StepStatus.NEEDS_QA} or step.phase is Phase.QUEUED


def missing_dependencies(step: StepState, steps: Iterable[StepState]) -> tuple[int, ...]:
    """The indices that `step` depends on and that are not settled."""
    if not step.depends_on:
        return ()
    settled = {other.step_index for other in steps if other.status.settled}
    return tuple(index for index in step.depends_on if index not in settled)
