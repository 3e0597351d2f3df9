"""The gates of a step: set them, read what they say together, and tell the next execution what is red."""

from collections.abc import Sequence
from typing import Any

from shared.repository import steps
from shared.schemas.records import Gate, Protocol, StepRun
from shared.schemas.statuses import EventType, GateName, GateState
from shared.states.gates import Verdict, judge
from shared.workflow.unit import Unit

GREEN_ENOUGH = frozenset({"pass", "soft_pass"})


def set_gate(
    unit: Unit,
    protocol: Protocol,
    step: StepRun,
    name: GateName,
    state: GateState,
    *,
    sha: str,
    summary: str,
    evidence: dict[str, Any] | None = None,
    url: str | None = None,
    attempt_id: int | None = None,
) -> Gate | None:
    """Keep what one gate says of one commit; gives what it said before."""
    before = next((gate for gate in steps.gates(unit.tx, step.id, sha) if gate.name is name), None)
    gate = Gate(
        step_id=step.id,
        sha=sha,
        name=name,
        state=state,
        summary=summary,
        url=url,
        actor=unit.caller.actor,
        attempt_id=attempt_id,
        evidence=evidence or {},
        updated_at=unit.now,
    )
    if before is not None and _same(before, gate):
        return before
    steps.put_gate(unit.tx, gate)
    # What the CI does from minute to minute is in the gate; the timeline tells its verdicts.
    if name is not GateName.CI or before is None or before.state is not state:
        unit.say(
            EventType.GATE_UPDATED,
            step,
            project_id=protocol.project_id,
            attempt_id=attempt_id,
            gate=name,
            state=state,
            sha=sha,
            summary=summary,
        )
    return before


def _same(one: Gate, other: Gate) -> bool:
    # Only the CI says the same again by itself; who judges twice has judged twice.
    if one.name is not GateName.CI:
        return False
    return (one.state, one.summary, one.url, one.evidence) == (other.state, other.summary, other.url, other.evidence)


def _of_head(unit: Unit, step: StepRun) -> Sequence[Gate]:
    """The gates of the step's commit; without a commit there are none, whatever earlier commits have."""
    return steps.gates(unit.tx, step.id, step.head_sha) if step.head_sha else ()


def gate_of(unit: Unit, step: StepRun, name: GateName) -> Gate | None:
    """One gate of the step's commit."""
    return next((gate for gate in _of_head(unit, step) if gate.name is name), None)


def verdict_of(unit: Unit, protocol: Protocol, step: StepRun) -> Verdict:
    """What the gates of the step's commit say together."""
    return judge(protocol.policy, {gate.name: gate.state for gate in _of_head(unit, step)})


def findings(unit: Unit, step: StepRun) -> str:
    """What the red gates of the step's commit say, as feedback for its next execution."""
    lines: list[str] = []
    for gate in _of_head(unit, step):
        if gate.state is not GateState.FAILED:
            continue
        lines.append(f"The gate {gate.name} is red on commit {gate.sha}: {gate.summary}")
        found = gate.evidence.get("findings", ())
        lines += [f"- {item.get('severity')}: {item.get('file')}: {item.get('message')}" for item in found]
        lines += [f"- next: {action}" for action in gate.evidence.get("next_actions", ())]
        logs = gate.evidence.get("logs", {})
        for context in gate.evidence.get("contexts", ()):
            if context["outcome"] not in GREEN_ENOUGH:
                where = f" ({context['url']})" if context["url"] else ""
                lines.append(f"- {context['name']}: {context['outcome']}{where}")
            if log := logs.get(context["context"]):
                lines.append(f"The end of the log of {context['name']}:\n{log}")
    return "\n".join(lines)
