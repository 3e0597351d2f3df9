"""What a protocol's status is when nothing but its plan and steps decides: after a resume or an unblock."""

from collections.abc import Iterable

from shared.schemas.records import StepRun
from shared.schemas.statuses import Phase, ProtocolStatus, StepStatus


def resting_status(steps: Iterable[StepRun], *, planned: bool, planning: bool) -> ProtocolStatus:
    """The status that follows from the steps; `planned` tells of a finished plan, `planning` of an open plan job."""
    steps = tuple(steps)
    if planning:
        return ProtocolStatus.PLANNING
    if not planned:
        return ProtocolStatus.PENDING
    if steps and all(step.status.settled for step in steps):
        done = any(step.status is StepStatus.COMPLETED for step in steps)
        return ProtocolStatus.COMPLETED if done else ProtocolStatus.CANCELLED
    if any(step.status is StepStatus.FAILED for step in steps):
        return ProtocolStatus.BLOCKED
    if any(step.status is not StepStatus.PENDING or step.phase is Phase.QUEUED for step in steps):
        return ProtocolStatus.RUNNING
    return ProtocolStatus.PLANNED


def next_step(steps: Iterable[StepRun]) -> StepRun | None:
    """The lowest step that could be run now: pending or failed, not queued, with its dependencies completed."""
    steps = sorted(steps, key=lambda step: step.step_index)
    return next((step for step in steps if startable(step) and not missing_dependencies(step, steps)), None)


def startable(step: StepRun) -> bool:
    """Whether the step waits for somebody to start it."""
    return step.status is StepStatus.FAILED or (step.status is StepStatus.PENDING and step.phase is not Phase.QUEUED)


def missing_dependencies(step: StepRun, steps: Iterable[StepRun]) -> tuple[int, ...]:
    """The indices that `step` depends on and that are not settled."""
    settled = {other.step_index for other in steps if other.status.settled}
    return tuple(index for index in step.depends_on if index not in settled)
