"""What of a protocol run waits for a person, each thing once, with the answers that it accepts (pure)."""

from zlib import crc32

import msgspec

from shared.schemas.awaited import Awaited, Kind, Urgency
from shared.schemas.records import StepRun
from shared.schemas.statuses import (
    GateName,
    Phase,
    ProtocolStatus,
    Reason,
    StepStatus,
)
from shared.states import doable
from shared.states.explain import find_protocol, find_step
from shared.states.gates import judge
from shared.states.rest import under_way
from shared.states.waiting import Evidence, Finding, Situation, waits_at_forge

_ORDER = {urgency: place for place, urgency in enumerate(Urgency)}


class Way(msgspec.Struct, frozen=True):
    """One answer that a thing accepts; `needs` are the fields without which it is refused."""

    action: str
    label: str
    needs: tuple[str, ...] = ()


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that waits for a person; `version` is that of the step or protocol run that it is about."""

    id: str
    kind: Kind
    project_id: int | None
    protocol_id: int | None = None
    protocol_name: str | None = None
    step_id: int | None = None
    title: str
    because: str
    since: int
    evidence: tuple[Evidence, ...] = ()
    ways: tuple[Way, ...] = ()
    version: int | None = None

    @property
    def place(self) -> int:
        """Its place in the list: the most urgent first, then what waits longest."""
        return place(self.kind.urgency, self.since, self.id)


def place(urgency: Urgency, since: int, name: str) -> int:
    """A number that grows with the list; the name keeps those of one moment apart."""
    return (_ORDER[urgency] << 59) | (since << 17) | (crc32(name.encode()) & 0x1FFFF)


_APPROVE, _SKIP = Way("approve", "Approve it"), Way("skip", "Go on without it", ("reason",))
_APPROVE_ALL_THE_SAME = Way("approve", "Approve it all the same", ("reason",))
_REJECT = Way("reject", "Send it back with feedback", ("feedback",))
_RUN_QA, _RETRY = Way("run_qa", "Run QA"), Way("retry", "Do it again")
_CANCEL, _FAIL = Way("cancel", "Cancel the run"), Way("fail", "Give the run up", ("reason",))
_UNBLOCK = Way("unblock", "Go on all the same")

# In the order in which they are offered; only those that the guards let through now are.
ON_STEPS: dict[Kind, tuple[Way, ...]] = {
    Kind.REVIEW: (_APPROVE, _RUN_QA, _REJECT, _SKIP),
    Kind.CI_WAITS: (_APPROVE_ALL_THE_SAME, _REJECT, _SKIP),
    Kind.QA_INCONCLUSIVE: (_RUN_QA, _APPROVE, _REJECT, _SKIP),
    Kind.QA_UNAVAILABLE: (_RUN_QA, _APPROVE, _REJECT, _SKIP),
    Kind.GATE: (_RETRY, _APPROVE_ALL_THE_SAME, _SKIP),
    Kind.STEP_FAILED: (_RETRY, _APPROVE_ALL_THE_SAME, _SKIP),
}
ON_PROTOCOLS: dict[Kind, tuple[Way, ...]] = {
    Kind.PLAN_APPROVAL: (
        Way("approve_plan", "Approve the plan"),
        Way("reject_plan", "Have it planned anew", ("feedback",)),
        _CANCEL,
    ),
    Kind.PLANNING_FAILED: (Way("start", "Plan again"), _CANCEL, _FAIL),
    Kind.PUBLISH_FAILED: (Way("open_pr", "Publish again"), Way("unblock", "Go on without"), _CANCEL, _FAIL),
    Kind.PR_CLOSED: (_UNBLOCK, _CANCEL, _FAIL),
    Kind.CI_REGRESSED: (_UNBLOCK, _CANCEL, _FAIL),
    Kind.DIVERGED: (
        Way("adopt", "Go on from what is there", ("sha",)),
        Way("reset", "Put the branch back to ours"),
        _UNBLOCK,
        _CANCEL,
        _FAIL,
    ),
    Kind.NEXT_STEP: (Way("run_next_step", "Run it"), _CANCEL),
    Kind.AWAITING_MERGE: (_CANCEL,),
}
_BLOCKED_BY = {
    Reason.PLAN_FAILED: Kind.PLANNING_FAILED,
    Reason.PUBLISH_FAILED: Kind.PUBLISH_FAILED,
    Reason.PR_CLOSED: Kind.PR_CLOSED,
    Reason.CI_REGRESSED: Kind.CI_REGRESSED,
    Reason.DIVERGED: Kind.DIVERGED,
}
_TITLES = {
    Kind.PLAN_APPROVAL: "The plan of {run} waits for an approval",
    Kind.PLANNING_FAILED: "{run} could not be planned",
    Kind.PUBLISH_FAILED: "{run} could not be published",
    Kind.PR_CLOSED: "The pull request of {run} was closed",
    Kind.CI_REGRESSED: "The CI of {run} turned red on what was done",
    Kind.DIVERGED: "Somebody else moved the branch of {run}",
    Kind.NEXT_STEP: "The next step of {run} can start",
    Kind.AWAITING_MERGE: "{run} waits to be merged",
    Kind.REVIEW: "Step {step} of {run} waits to be judged",
    Kind.CI_WAITS: "The CI of step {step} of {run} waits for a person",
    Kind.QA_INCONCLUSIVE: "QA of step {step} of {run} gave no verdict",
    Kind.QA_UNAVAILABLE: "QA of step {step} of {run} could not be run",
    Kind.GATE: "Step {step} of {run} has a red gate",
    Kind.STEP_FAILED: "Step {step} of {run} failed",
}


class Sketch(msgspec.Struct, frozen=True):
    """That something waits, and where its place in the list is: of a step, or of the protocol run as a whole."""

    kind: Kind
    id: str
    since: int
    found: Finding
    step: StepRun | None = None

    @property
    def place(self) -> int:
        """Its place in the list."""
        return place(self.kind.urgency, self.since, self.id)


def items(situation: Situation) -> list[Item]:
    """Everything of the protocol run that waits for a person, whole."""
    return [_item(situation, each) for each in sketches(situation)]


def sketches(situation: Situation) -> list[Sketch]:
    """Everything of the protocol run that waits for a person; what a person has put off himself does not."""
    match situation.protocol.status:
        case ProtocolStatus.BLOCKED:
            return _blocked(situation)
        case ProtocolStatus.PLANNED | ProtocolStatus.RUNNING:
            return _open(situation)
        case _:
            return []


def _blocked(situation: Situation) -> list[Sketch]:
    protocol = situation.protocol
    kind = _BLOCKED_BY.get(protocol.reason) if protocol.reason else None
    if kind is not None:
        return _of_protocol(situation, kind)
    return _of_steps(situation, unavailable=protocol.reason is Reason.QA_UNAVAILABLE)


def _open(situation: Situation) -> list[Sketch]:
    protocol = situation.protocol
    if protocol.phase is Phase.AWAITING_PLAN_APPROVAL:
        return _of_protocol(situation, Kind.PLAN_APPROVAL)
    if protocol.phase is Phase.AWAITING_MERGE:
        return _of_protocol(situation, Kind.AWAITING_MERGE)
    if any(under_way(step) for step in situation.steps):
        return _of_steps(situation)
    return _of_protocol(situation, Kind.NEXT_STEP)


def _of_protocol(situation: Situation, kind: Kind) -> list[Sketch]:
    protocol, found = situation.protocol, find_protocol(situation)
    if found.waiting_for not in {Awaited.PERSON, Awaited.MERGE}:
        return []
    since = found.since or situation.since or protocol.updated_at
    if kind is Kind.NEXT_STEP:
        since = max(since, *(step.finished_at or 0 for step in situation.steps), 0)
    return [Sketch(kind, f"p{protocol.id}.{kind}", since, found)]


def _of_steps(situation: Situation, *, unavailable: bool = False) -> list[Sketch]:
    """What of its steps waits for a person; `unavailable` tells that QA could not be run."""
    known: list[Sketch] = []
    for step in situation.steps:
        if step.status not in {StepStatus.FAILED, StepStatus.NEEDS_QA}:
            continue
        found = find_step(situation, step)
        kind = _kind_of(situation, step, unavailable=unavailable)
        if found.waiting_for is Awaited.PERSON and kind is not None:
            qa = situation.gates_of(step).get(GateName.QA)
            since = found.since or situation.steps_since.get(step.id, step.updated_at)
            known.append(Sketch(kind, f"s{step.id}.{kind}", max(since, qa.updated_at if qa else 0), found, step))
    return known


def _kind_of(situation: Situation, step: StepRun, *, unavailable: bool) -> Kind | None:
    """What kind of thing of this step waits, if it waits for a person."""
    if step.status is StepStatus.FAILED:
        return Kind.GATE if step.reason in {Reason.CI_FAILED, Reason.QA_FAILED} else Kind.STEP_FAILED
    if step.phase is Phase.INCONCLUSIVE:
        return Kind.QA_UNAVAILABLE if unavailable else Kind.QA_INCONCLUSIVE
    if step.phase is not Phase.AWAITING_GATES:
        return None
    return Kind.CI_WAITS if waits_at_forge(situation.gates_of(step).get(GateName.CI)) else Kind.REVIEW


def _item(situation: Situation, sketch: Sketch) -> Item:
    protocol, step = situation.protocol, sketch.step
    if step is None:
        allowed = doable.of_protocol(situation)
        ways = [way for way in ON_PROTOCOLS[sketch.kind] if way.action in allowed]
    else:
        ways = _step_ways(situation, step, sketch.kind)
    return Item(
        id=sketch.id,
        kind=sketch.kind,
        project_id=protocol.project_id,
        protocol_id=protocol.id,
        protocol_name=protocol.protocol_name,
        step_id=step.id if step else None,
        title=_TITLES[sketch.kind].format(run=protocol.protocol_name, step=step.step_index if step else None),
        because=sketch.found.because,
        since=sketch.since,
        evidence=sketch.found.evidence,
        ways=tuple(ways),
        version=step.version if step else protocol.version,
    )


def _step_ways(situation: Situation, step: StepRun, kind: Kind) -> list[Way]:
    allowed = doable.of_step(situation, step)
    ways = [way for way in ON_STEPS[kind] if way.action in allowed]
    gates = {name: gate.state for name, gate in situation.gates_of(step).items()}
    verdict = judge(situation.protocol.policy, gates)
    if GateName.CI in {*verdict.open, *verdict.failed}:
        return [_APPROVE_ALL_THE_SAME if way is _APPROVE else way for way in ways]
    return ways
