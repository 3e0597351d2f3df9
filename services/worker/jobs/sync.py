"""Asks the forge and the origin how a protocol run's PR, branch and commits stand: a lost delivery only delays."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import structlog
from msgspec.structs import replace

from services.worker.doors import Doors
from services.worker.forge import Forge
from services.worker.jobs.branch import branch_there, pull_there
from services.worker.lease import Lease
from shared.errors import Category, JobError
from shared.failpoints import fp
from shared.repository import steps
from shared.schemas.forge import CiWord
from shared.schemas.policy import Policy
from shared.schemas.records import Project, Protocol, StepRun
from shared.schemas.reports import SyncDone
from shared.schemas.statuses import Outcome, Reason, StepStatus
from shared.states.ci import ACTIONS_APP, DECIDING

LOG_BYTES: Final = 8000
_LOGS: Final = 4
_COMMITS: Final = 5
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]|[^\t\n\x20-\x7e\x80-\U0010ffff]")
_TIMES: Final = re.compile(r"^\ufeff?\d{4}-\d\d-\d\dT[\d:.]+Z ", re.MULTILINE)

log = structlog.stdlib.get_logger(__name__)


async def sync(doors: Doors, lease: Lease) -> SyncDone:
    """Everything that a delivery could have told, with the tails of red jobs; what cannot be had is left out.

    `trigger` in the payload asks for a CI run as well: at the very end, so that no failure asks twice.
    """
    project, protocol = lease.claim.project, lease.claim.protocol
    if project is None or protocol is None:
        raise JobError(Category.CONFIG, f"Job {lease.job_id} has no protocol.")
    trigger = lease.claim.job.payload.get("trigger")
    found = SyncDone()
    try:
        forge = await _forge(doors, project)
        found = await _asked(doors, lease, forge, protocol)
        if trigger is not None:
            return await _with_run(lease, forge, protocol, trigger, found)
    except JobError as error:
        # What only time decides must be decided, also where the forge says nothing.
        if trigger is not None or lease.may_try_again(error):
            raise
        lease.check()
        log.info("forge_not_asked", protocol=protocol.id, error=error.message)
        found = replace(found, note=error.message)
    if protocol.pushed_sha is None:
        return found
    return replace(found, seen=(await branch_there(doors, project, protocol), *found.seen))


async def _forge(doors: Doors, project: Project) -> Forge:
    forge = await doors.forge_of(project)
    if forge is None:
        raise JobError(Category.CONFIG, doors.without_forge(project))
    return forge


async def _asked(doors: Doors, lease: Lease, forge: Forge, protocol: Protocol) -> SyncDone:
    repository = await forge.repository()
    fp("repository_read")
    pull = await pull_there(forge, protocol)
    present = await doors.database.read(steps.of_protocol, protocol.id)
    words: list[CiWord] = []
    for sha in _commits(protocol, present):
        words += await forge.ci_of(sha)
        fp("ci_read")
    waiting = {step.head_sha for step in present if step.status is StepStatus.NEEDS_QA}
    red = [word for word in words if word.sha in waiting and _decides(protocol.policy, word)]
    seen = words if pull is None else [pull, *words]
    return SyncDone(seen=tuple(seen), repository=repository, logs=await _logs(doors, lease, forge, red))


async def _with_run(
    lease: Lease, forge: Forge, protocol: Protocol, trigger: dict[str, Any], found: SyncDone
) -> SyncDone:
    await lease.confirm()
    url = await forge.trigger_ci(protocol.branch, workflow=trigger["workflow"], inputs=trigger["inputs"])
    fp("ci_triggered")
    return replace(found, url=url)


def _commits(protocol: Protocol, present: Iterable[StepRun]) -> list[str]:
    """Those whose CI can still move something, the newest first."""
    waiting = [
        step.head_sha
        for step in present
        if step.status is StepStatus.NEEDS_QA or (step.status is StepStatus.FAILED and step.reason is Reason.CI_FAILED)
    ]
    return [sha for sha in dict.fromkeys((protocol.head_sha, *reversed(waiting))) if sha is not None][:_COMMITS]


def _decides(policy: Policy, word: CiWord) -> bool:
    """Whether it is one of the words that make the commit red."""
    if word.outcome is not Outcome.FAIL:
        return False
    if policy.required_contexts:
        return word.name in policy.required_contexts
    return word.scope in DECIDING and word.details.get("app") != ACTIONS_APP


async def _logs(doors: Doors, lease: Lease, forge: Forge, red: Sequence[CiWord]) -> dict[str, str]:
    """The ends of the logs of red jobs, by their contexts; redacted, and together no longer than LOG_BYTES."""
    found: dict[str, str] = {}
    for word in red[:_LOGS]:
        try:
            text = doors.redactor.redact(await forge.red_log(word))
            fp("log_read")
        except JobError as error:
            if lease.may_try_again(error):
                raise
            log.info("log_not_read", context=word.context, error=error.message)
            continue
        text = tail(text, LOG_BYTES - sum(len(each.encode()) for each in found.values()))
        if text:
            found[word.context] = text
    return found


def tail(text: str, room: int) -> str:
    """The last whole lines that there is room for, in bytes, without colours and the times of the forge."""
    plain = _TIMES.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n"))).strip()
    kept = plain.encode(errors="replace")[-room:].decode(errors="ignore") if room > 0 else ""
    return kept if len(kept) == len(plain) else kept.partition("\n")[2]
