"""Looks things up for a caller: what does not exist or belongs to another project is the same NotFound."""

from shared.errors import NotFound
from shared.repository import attempts, deliveries, jobs, notices, projects, protocols, steps
from shared.repository.database import Tx
from shared.schemas.notices import Notifier
from shared.schemas.records import Attempt, Delivery, Hook, Job, Project, Protocol, StepRun

LAST_ID = 2**63 - 1


def project(tx: Tx, scope: int | None, project_id: int) -> Project:
    """The project, if it is in the caller's scope."""
    found = projects.get(tx, project_id) if scope in {None, project_id} and abs(project_id) <= LAST_ID else None
    if found is None:
        raise NotFound(f"There is no project {project_id}.")
    return found


def protocol(tx: Tx, scope: int | None, protocol_id: int) -> Protocol:
    """The protocol run, if it is in the caller's scope."""
    found = protocols.get(tx, protocol_id) if abs(protocol_id) <= LAST_ID else None
    if found is None or scope not in {None, found.project_id}:
        raise NotFound(f"There is no protocol {protocol_id}.")
    return found


def narrowed(tx: Tx, scope: int | None, project_id: int | None, protocol_id: int | None = None) -> int | None:
    """The project that a list is narrowed to: the one asked for, else the caller's; None for all.

    What is asked for must be in the caller's scope, the protocol run too.
    """
    if project_id is not None:
        project(tx, scope, project_id)
    if protocol_id is not None:
        protocol(tx, scope, protocol_id)
    return scope if project_id is None else project_id


def step(tx: Tx, scope: int | None, step_id: int) -> StepRun:
    """The step, if it is in the caller's scope."""
    found = steps.get(tx, step_id) if abs(step_id) <= LAST_ID else None
    if found is None or scope not in {None, protocols.expect(tx, found.protocol_id).project_id}:
        raise NotFound(f"There is no step {step_id}.")
    return found


def attempt(tx: Tx, scope: int | None, attempt_id: int) -> Attempt:
    """The attempt, if it is in the caller's scope."""
    found = attempts.get(tx, attempt_id) if abs(attempt_id) <= LAST_ID else None
    if found is None or scope not in {None, protocols.expect(tx, found.protocol_id).project_id}:
        raise NotFound(f"There is no attempt {attempt_id}.")
    return found


def job(tx: Tx, scope: int | None, job_id: int) -> Job:
    """The job, if it is in the caller's scope."""
    found = jobs.get(tx, job_id) if abs(job_id) <= LAST_ID else None
    if found is None or scope not in {None, found.project_id}:
        raise NotFound(f"There is no job {job_id}.")
    return found


def delivery(tx: Tx, scope: int | None, delivery_id: int) -> Delivery:
    """The delivery, if it is in the caller's scope."""
    found = deliveries.get(tx, delivery_id) if abs(delivery_id) <= LAST_ID else None
    if found is None or scope not in {None, found.project_id}:
        raise NotFound(f"There is no delivery {delivery_id}.")
    return found


def notifier(tx: Tx, scope: int | None, notifier_id: int) -> Notifier:
    """The notifier, if it is in the caller's scope."""
    found = notices.get_notifier(tx, notifier_id) if abs(notifier_id) <= LAST_ID else None
    if found is None or scope not in {None, found.project_id}:
        raise NotFound(f"There is no notifier {notifier_id}.")
    return found


def live_hook(tx: Tx, owner: Project, hook_id: int) -> Hook:
    """The hook of this project, unless it was ended."""
    found = deliveries.get_hook(tx, hook_id) if abs(hook_id) <= LAST_ID else None
    if found is None or found.project_id != owner.id or found.disabled_at is not None:
        raise NotFound(f"Project {owner.id} has no live hook {hook_id}.")
    return found
