"""What a forge says becomes facts, facts become gates, gates move statuses: from deliveries, polls and CI reports."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec.structs import replace

from shared.repository import deliveries, projects, protocols, steps
from shared.repository import facts as table
from shared.schemas.forge import BranchWord, CiWord, PullWord, Repository, Word
from shared.schemas.records import Delivery, Fact, Job, Project, Protocol, StepRun
from shared.schemas.reports import DeliveryDone, SyncDone
from shared.schemas.statuses import (
    DeliveryStatus,
    EventType,
    GateName,
    GateState,
    Outcome,
    Phase,
    ProtocolStatus,
    Provider,
    Reason,
    StepStatus,
)
from shared.states.ci import judge_ci
from shared.states.protocol import ProtocolTrigger
from shared.states.step import StepTrigger
from shared.workflow import matching, progress, pulls, sync
from shared.workflow.gates import gate_of, set_gate
from shared.workflow.moves import move_protocol, move_step, save_protocol
from shared.workflow.unit import Unit

LOG_CHARS = 8192
# Who looked at the CI and went on all the same is not stopped by it afterwards.
_BY_A_PERSON = frozenset({Reason.OVERRIDDEN, Reason.SKIPPED})


def apply_delivery(unit: Unit, job: Job, report: DeliveryDone) -> None:
    """Let a delivery have its effect, once; what it is not about it does not touch."""
    delivery = deliveries.expect(unit.tx, job.delivery_id or 0)
    if delivery.status in {DeliveryStatus.APPLIED, DeliveryStatus.IGNORED}:
        return
    if report.said is None:
        _settle(unit, job, delivery, DeliveryStatus.IGNORED, reason=report.reason)
        return
    target = matching.target(unit.tx, delivery, report.said)
    told = report.said.repository
    if delivery.hook_id is not None and target.project is not None and told is not None:
        learn_repository(unit, target.project, told, job=job)
    about = {
        "project_id": target.project.id if target.project else None,
        "protocol_id": target.protocol.id if target.protocol else None,
        "step_id": target.step.id if target.step else None,
    }
    if target.reason is not None or target.project is None or target.protocol is None:
        _settle(unit, job, delivery, DeliveryStatus.IGNORED, reason=target.reason, about=about)
        return
    over = {"after_terminal": True} if target.protocol.status.terminal else {}
    project = projects.expect(unit.tx, target.project.id)
    effect = _hear(unit, job, project, target.protocol, report, delivery)
    _settle(unit, job, delivery, DeliveryStatus.APPLIED, effect=effect, about=about, more=over)


def synced(unit: Unit, job: Job, report: SyncDone) -> None:
    """The forge was looked at: what it says counts like what it delivers, and what only time decides is decided."""
    protocol = protocols.expect(unit.tx, job.protocol_id or 0)
    project = projects.expect(unit.tx, protocol.project_id)
    if report.repository is not None:
        project = learn_repository(unit, project, report.repository, job=job)
    news = 0
    for word in report.seen:
        match word:
            case CiWord():
                known = protocols.of_commit(unit.tx, project.id, word.sha)
                news += bool(known) and _keep(unit, project, word, project.ci_provider or Provider.CI, None)
            case PullWord() if matching.is_ours(unit.tx, protocol, word):
                news += pulls.hear_pull(unit, job, project, protocol.id, word)
            case BranchWord() if word.branch == protocol.branch:
                news += pulls.hear_branch(unit, job, protocol.id, word)
            case _:
                pass
    heads = {step.head_sha for step in steps.of_protocol(unit.tx, protocol.id) if step.head_sha}
    for sha in sorted(heads):
        judge_commit(unit, project, sha, logs=report.logs)
    now = protocols.expect(unit.tx, protocol.id)
    if news:
        unit.say(EventType.SYNCED, now, job=job, news=int(news))
    if "trigger" in job.payload:
        workflow = job.payload["trigger"]["workflow"]
        unit.say(EventType.CI_TRIGGERED, now, job=job, branch=now.branch, workflow=workflow, url=report.url)


def learn_repository(unit: Unit, project: Project, repository: Repository, *, job: Job | None = None) -> Project:
    """Keep the forge's own id of the repository, by which everything is matched from now on."""
    if project.repository_id is not None or repository.id is None:
        return project
    if not matching.is_named(project, repository):
        return project
    learned = projects.save(unit.tx, replace(project, repository_id=repository.id))
    if learned is None:
        return project
    table.name_repository(unit.tx, project.id, repository.id)
    unit.say(EventType.REPOSITORY_LEARNED, learned, job=job, repository_id=repository.id, name=repository.full_name)
    return learned


def judge_commit(unit: Unit, project: Project, sha: str, *, logs: Mapping[str, str] | None = None) -> None:
    """Set the CI gate of each step that ends in this commit, and let it decide; what time decides is looked at then."""
    for each in steps.at_commit(unit.tx, project.id, sha):
        step = steps.expect(unit.tx, each.id)
        protocol = protocols.expect(unit.tx, step.protocol_id)
        if not protocol.status.terminal and step.status is not StepStatus.CANCELLED:
            _judge(unit, project, protocol, step, logs or {})


def _hear(
    unit: Unit,
    job: Job,
    project: Project,
    protocol: Protocol,
    report: DeliveryDone,
    delivery: Delivery,
) -> str:
    """Apply what was said, or what was seen because of it; gives what came of it in a few words."""
    seen = report.seen
    match report.said.word if report.said else None:
        case CiWord() as word:
            news = _keep(unit, project, word, delivery.provider, delivery.id)
            judge_commit(unit, project, word.sha)
            return f"{word.name}: {word.outcome}" if news else "nothing new"
        case PullWord() as word:
            told = [each for each in seen if isinstance(each, PullWord) and each.number == word.number] or [word]
            news = [pulls.hear_pull(unit, job, project, protocol.id, each) for each in told]
            moved = _hear_origin(unit, job, protocol, seen)
            return f"request {word.number}: {told[-1].state}" if moved or any(news) else "nothing new"
        case BranchWord():
            return "diverged" if _hear_origin(unit, job, protocol, seen) else "nothing new"
        case _:
            return "nothing new"


def _hear_origin(unit: Unit, job: Job, protocol: Protocol, seen: Sequence[Word]) -> bool:
    """What the origin's branch holds, where it was looked at; whether it is not ours."""
    found = [word for word in seen if isinstance(word, BranchWord) and word.branch == protocol.branch]
    return bool(found) and pulls.hear_branch(unit, job, protocol.id, found[-1])


def _settle(
    unit: Unit,
    job: Job,
    delivery: Delivery,
    status: Literal[DeliveryStatus.APPLIED, DeliveryStatus.IGNORED],
    *,
    reason: str | None = None,
    effect: str | None = None,
    about: Mapping[str, int | None] | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    deliveries.settle(unit.tx, delivery.id, status, reason, effect=effect, **(about or {}))
    applied = status is DeliveryStatus.APPLIED
    event = EventType.DELIVERY_APPLIED if applied else EventType.DELIVERY_IGNORED
    settled = replace(delivery, **{name: value for name, value in (about or {}).items() if value is not None})
    unit.say(event, settled, job=job, reason=reason, effect=effect, **(more or {}))


def _keep(unit: Unit, project: Project, word: CiWord, provider: Provider, delivery_id: int | None) -> bool:
    fact = Fact(
        id=0,
        project_id=project.id,
        repository_id=project.repository_id or "",
        sha=word.sha,
        context=word.context,
        scope=word.scope,
        name=word.name,
        provider=provider,
        outcome=word.outcome,
        run_id=word.run_id,
        run_attempt=word.run_attempt,
        observed_at=word.at,
        received_at=unit.now,
        url=word.url,
        delivery_id=delivery_id,
        details=word.details,
    )
    return table.put(unit.tx, fact)


def _judge(unit: Unit, project: Project, protocol: Protocol, step: StepRun, logs: Mapping[str, str]) -> None:
    sha = step.head_sha or ""
    known = table.of_commit(unit.tx, project.id, project.repository_id or "", sha)
    verdict = judge_ci(protocol.policy, known, unit.now)
    if verdict is None:
        return
    if verdict.due is not None:
        sync.queue_sync(unit, protocol, run_at=verdict.due)
    before = gate_of(unit, step, GateName.CI)
    earlier: dict[str, str] = before.evidence.get("logs", {}) if before else {}
    told = {**earlier, **logs}
    red = [each["context"] for each in verdict.contexts if each["outcome"] == Outcome.FAIL]
    evidence: dict[str, Any] = {"contexts": list(verdict.contexts)}
    evidence |= _cut({context: told[context] for context in red if told.get(context)})
    set_gate(
        unit,
        protocol,
        step,
        GateName.CI,
        verdict.state,
        sha=sha,
        summary=verdict.summary,
        evidence=evidence,
        url=verdict.url,
    )
    turned = before is None or before.state is not verdict.state
    _decide(unit, protocol, step, verdict.state, turned=turned)


def _cut(logs: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The ends of the logs, together no longer than a gate may hold."""
    share = LOG_CHARS // max(len(logs), 1)
    return {"logs": {context: log[-share:] for context, log in logs.items()}} if logs else {}


def _decide(unit: Unit, protocol: Protocol, step: StepRun, state: GateState, *, turned: bool) -> None:
    match step.status:
        case StepStatus.NEEDS_QA:
            if turned and state is GateState.FAILED:
                unit.say(EventType.CI_FAILED, step, project_id=protocol.project_id, sha=step.head_sha)
            progress.evaluate(unit, protocol, step)
            progress.advance(unit, protocols.expect(unit.tx, protocol.id))
        case StepStatus.FAILED if step.reason is Reason.CI_FAILED and state is GateState.PASSED:
            _recover(unit, protocol, step)
        case StepStatus.COMPLETED if turned and state is GateState.FAILED and step.reason not in _BY_A_PERSON:
            _regress(unit, protocol, step)
        case _:
            pass
    if turned and state is GateState.PASSED:
        _heal(unit, protocols.expect(unit.tx, protocol.id))


def _recover(unit: Unit, protocol: Protocol, step: StepRun) -> None:
    """The CI is green on the commit that it had failed: the step waits for its other gates again."""
    move_step(
        unit,
        protocol,
        step,
        StepTrigger.CI_RECOVERED,
        EventType.CI_RECOVERED,
        phase=Phase.AWAITING_GATES,
        sha=step.head_sha,
    )
    progress.settle(unit, protocols.expect(unit.tx, protocol.id))
    progress.evaluate(unit, protocols.expect(unit.tx, protocol.id), steps.expect(unit.tx, step.id))
    progress.advance(unit, protocols.expect(unit.tx, protocol.id))


def _regress(unit: Unit, protocol: Protocol, step: StepRun) -> None:
    """The CI turned red on what was done already; it is no regress where the branch has gone on and is green."""
    if not _regressed(unit, protocol):
        return
    if protocol.status is ProtocolStatus.RUNNING:
        move_protocol(
            unit,
            protocol,
            ProtocolTrigger.CI_REGRESSED,
            EventType.CI_REGRESSED,
            reason=Reason.CI_REGRESSED,
            step_index=step.step_index,
            sha=step.head_sha,
        )
        return
    noted = progress.remember_cause(unit, protocol, Reason.CI_REGRESSED)
    unit.say(EventType.CI_REGRESSED, noted, step=step, reason=Reason.CI_REGRESSED, sha=step.head_sha)


def _heal(unit: Unit, protocol: Protocol) -> None:
    if protocol.reason is not Reason.CI_REGRESSED or _regressed(unit, protocol):
        return
    if protocol.status is ProtocolStatus.BLOCKED:
        progress.to_rest(unit, protocol, ProtocolTrigger.CAUSE_REMOVED, EventType.PROTOCOL_UNBLOCKED, cause=None)
    elif protocol.status is ProtocolStatus.PAUSED:
        save_protocol(unit, replace(protocol, reason=Reason.OPERATOR))


def _regressed(unit: Unit, protocol: Protocol) -> bool:
    """Whether the CI is red on the commit of a completed step, and not green on the branch's head."""
    red = False
    for step in steps.of_protocol(unit.tx, protocol.id):
        gate = gate_of(unit, step, GateName.CI)
        if gate is None:
            continue
        if gate.state is GateState.PASSED and gate.sha == protocol.head_sha:
            return False
        done = step.status is StepStatus.COMPLETED and step.reason not in _BY_A_PERSON
        red = red or (done and gate.state is GateState.FAILED)
    return red
