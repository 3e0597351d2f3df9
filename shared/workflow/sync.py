"""Verbs that have the forge looked at again: what a lost delivery would have told, and what only time decides."""

from collections.abc import Sequence

from msgspec.structs import replace

from shared.errors import Invalid
from shared.repository import jobs, projects, protocols
from shared.schemas.names import url_host
from shared.schemas.records import Job, Protocol
from shared.schemas.statuses import EventType, JobKind, Provider
from shared.states.protocol import READY
from shared.workflow import find
from shared.workflow.moves import conflict, refuse_protocol
from shared.workflow.unit import Unit


def queue_sync(unit: Unit, protocol: Protocol, *, run_at: int | None = None) -> Job:
    """Have the forge looked at by `run_at` at the latest; one that waits already is only made to come sooner."""
    wanted = unit.now if run_at is None else run_at
    queued = jobs.queued_of_protocol(unit.tx, protocol.id, JobKind.SYNC)
    if queued is None:
        return unit.enqueue(JobKind.SYNC, project_id=protocol.project_id, protocol_id=protocol.id, run_at=wanted)
    if wanted < queued.run_at:
        unit.ring_again(replace(queued, run_at=wanted))
    return jobs.expect(unit.tx, queued.id)


def sync_protocol(unit: Unit, protocol_id: int) -> Job:
    """Look at the forge now, because somebody asks."""
    protocol = find.protocol(unit.tx, unit.caller.project_id, protocol_id)
    if protocol.status not in READY[JobKind.SYNC]:
        raise refuse_protocol(protocol, "look at its forge")
    if protocol.head_sha is None:
        message = f"{protocol.protocol_name} has no commit yet: its forge knows nothing of it."
        raise conflict(protocol, message, "nothing-to-sync")
    return _asked(unit, protocol)


def sync_project(unit: Unit, project_id: int) -> Sequence[Job]:
    """Look at the forge now for each open protocol of the project that has a commit."""
    project = find.project(unit.tx, unit.caller.project_id, project_id)
    return [_asked(unit, protocol) for protocol in protocols.to_sync(unit.tx, project.id)]


def sync_due(unit: Unit, older_than_ms: int) -> int:
    """Queue a sync for what waits for its forge and was not looked at for so long; gives how many."""
    due = protocols.unsynced(unit.tx, unit.now - older_than_ms)
    for protocol in due:
        queue_sync(unit, protocol)
    return len(due)


def trigger_ci(unit: Unit, protocol_id: int, *, workflow: str | None, inputs: dict[str, str]) -> Job:
    """Ask the forge for a CI run of the branch as it was pushed."""
    protocol = find.protocol(unit.tx, unit.caller.project_id, protocol_id)
    if protocol.status not in READY[JobKind.SYNC]:
        raise refuse_protocol(protocol, "trigger CI")
    if protocol.pushed_sha is None:
        message = f"{protocol.protocol_name} was not pushed yet: there is nothing to run CI on."
        raise conflict(protocol, message, "nothing-to-run")
    project = projects.expect(unit.tx, protocol.project_id)
    if project.ci_provider not in {Provider.GITHUB, Provider.GITLAB}:
        local = url_host(project.git_url) is None
        what = "its repository is on this machine" if local else "set its ci_provider to github or gitlab"
        message = f"Project {project.name} has no forge: {what}."
        raise conflict(protocol, message, "no-forge")
    if project.ci_provider is Provider.GITHUB and workflow is None:
        raise Invalid("workflow: GitHub runs a workflow by its file name, such as ci.yml, or by its id.")
    return unit.enqueue(
        JobKind.SYNC,
        project_id=project.id,
        protocol_id=protocol.id,
        payload={"trigger": {"workflow": workflow, "inputs": inputs}},
    )


def _asked(unit: Unit, protocol: Protocol) -> Job:
    job = queue_sync(unit, protocol)
    unit.say(EventType.SYNC_ENQUEUED, protocol, job=job)
    return job
