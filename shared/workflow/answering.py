"""The one way to answer what waits for a person: by the verb that stands behind the answer, with all its guards."""

import re
from collections.abc import Callable

import msgspec

from shared.errors import Conflict, Invalid, NotFound, PreconditionFailed
from shared.schemas.awaited import Kind
from shared.states.attention import Item, Way
from shared.workflow import deliveries, explaining, line, notices, projects, protocols, pulls, steps
from shared.workflow.attention import around
from shared.workflow.unit import Unit


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What a person answers with: each action takes some of it."""

    feedback: str | None = None
    reason: str | None = None
    sha: str | None = None
    model: str | None = None
    fresh: bool = False


def resolve(unit: Unit, item_id: str, action: str, given: Given, *, version: int | None = None) -> bool:
    """Answer one thing by the verb that stands behind the action, with all its guards; whether it is settled now."""
    item = _expect(unit, item_id)
    if version is not None and item.version not in {None, version}:
        message = f"What it is about is at version {item.version}, not {version}; read it again."
        raise PreconditionFailed(message, status_now=item.kind)
    names = [way.action for way in item.ways]
    way = next((way for way in item.ways if way.action == action), None)
    if way is None:
        message = f"{item.title}: it does not accept {action!r}. It accepts {', '.join(names) or 'no answer'}."
        raise Conflict(message, type="no-such-answer", status_now=item.kind, allowed_actions=names)
    _check(way, given)
    _perform(unit, item, action, given)
    return all(other.id != item_id for other in around(unit, item_id))


def _expect(unit: Unit, item_id: str) -> Item:
    found = next((item for item in around(unit, item_id) if item.id == item_id), None)
    if found is None:
        message = (
            f"Nothing {item_id!r} waits for an answer: it is settled, or never was. GET /attention lists what does."
        )
        raise NotFound(message, type="settled")
    return found


_TAKES = {
    "approve": {"reason", "sha"},
    "reject": {"feedback"},
    "retry": {"feedback", "model", "fresh"},
    "skip": {"reason"},
    "reject_plan": {"feedback"},
    "adopt": {"sha"},
    "fail": {"reason"},
}


def _check(way: Way, given: Given) -> None:
    named = {name for name in given.__struct_fields__ if getattr(given, name)}
    if missing := [name for name in way.needs if name not in named]:
        raise Invalid(f"{missing[0]}: {way.action} needs it here.")
    if strange := sorted(named - _TAKES.get(way.action, set())):
        raise Invalid(f"{strange[0]}: {way.action} does not take it.")


def _perform(unit: Unit, item: Item, action: str, given: Given) -> None:
    number = int(re.sub(r"\D", "", item.id.partition(".")[0]) or 0)
    if item.step_id is not None:
        _on_step(unit, item.step_id, action, given)
    elif item.protocol_id is not None:
        _on_protocol(unit, item.protocol_id, action, given)
    elif action == "setup":
        projects.set_up_project(unit, number)
    elif item.kind is Kind.NOTIFIER_FAILING:
        (notices.remove_notifier if action == "remove" else notices.probe_notifier)(unit, number)
    elif action == "replay":
        deliveries.replay_delivery(unit, number)
    else:
        line.resume_line(unit)


def _on_step(unit: Unit, step_id: int, action: str, given: Given) -> None:
    match action:
        case "approve":
            steps.approve_step(unit, step_id, sha=given.sha, reason=given.reason)
        case "reject":
            steps.reject_step(unit, step_id, feedback=given.feedback or "")
        case "retry":
            steps.retry_step(unit, step_id, model=given.model, feedback=given.feedback, fresh=given.fresh)
        case "skip":
            steps.skip_step(unit, step_id, reason=given.reason or "")
        case _:
            steps.run_qa(unit, step_id)


def _on_protocol(unit: Unit, protocol_id: int, action: str, given: Given) -> None:
    plain: dict[str, Callable[[Unit, int], object]] = {
        "approve_plan": protocols.approve_plan,
        "open_pr": protocols.open_pr,
        "unblock": protocols.unblock_protocol,
        "run_next_step": protocols.run_next_step,
        "cancel": protocols.cancel_protocol,
        "reset": pulls.reset_branch,
    }
    match action:
        case "reject_plan":
            protocols.reject_plan(unit, protocol_id, feedback=given.feedback or "")
        case "fail":
            protocols.fail_protocol(unit, protocol_id, reason=given.reason or "")
        case "start":
            found = explaining.situation_of(unit.tx, protocol_id, unit.rules)
            by_hand = bool(found.steps) and found.protocol.plan_sha is None
            protocols.start_protocol(unit, protocol_id, plan=not by_hand)
        case "adopt":
            pulls.adopt_branch(unit, protocol_id, given.sha or "")
        case _:
            plain[action](unit, protocol_id)
