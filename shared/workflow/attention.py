"""What waits for a person, from the rows as they are, and the one way to answer it."""

import re
from collections.abc import Callable, Iterable, Sequence

import msgspec

from shared.errors import Conflict, Invalid, NotFound, PreconditionFailed
from shared.repository import holds, situations, troubles
from shared.repository.database import Tx
from shared.repository.holds import LINE
from shared.schemas.awaited import Kind
from shared.schemas.records import Hold
from shared.states.attention import Item, Way, items, sketches
from shared.states.causes import cause_of
from shared.states.waiting import SHOWN_CHARS, Evidence, Situation
from shared.workflow import deliveries, explaining, find, line, projects, protocols, pulls, steps
from shared.workflow.unit import Rules, Unit

# A hold that ends sooner is no person's business.
LONG_MS = 5 * 60 * 1000
_ID = re.compile(r"(?:(?P<place>[psrdj])(?P<number>[0-9]{1,15})|hold|line)\.?[a-z0-9_.-]{0,100}")
_RESUME = Way("resume", "Resume the line")


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What a person answers with: each action takes some of it."""

    feedback: str | None = None
    reason: str | None = None
    sha: str | None = None
    model: str | None = None
    fresh: bool = False


class Found(msgspec.Struct, frozen=True):
    """One thing on the list: its place there, and itself, or of which protocol run it is."""

    id: str
    place: int
    item: Item | None = None
    protocol_id: int = 0


def waiting(tx: Tx, scope: int | None, rules: Rules, project_id: int | None = None) -> list[Found]:
    """All that waits for a person, the most urgent first, then the oldest.

    What concerns all projects together is there only where neither the scope nor the caller narrows it to one.
    """
    only = scope if project_id is None else find.project(tx, scope, project_id).id
    found = [
        Found(each.id, each.place, protocol_id=situation.protocol.id)
        for situation in _situations(tx, situations.unfinished(tx, only), rules)
        for each in sketches(situation)
    ]
    beside = _beside(tx, only)
    if only is None:
        beside += [item for hold in holds.in_force(tx) if (item := _held(hold)) is not None]
    found += [Found(item.id, item.place, item) for item in beside]
    return sorted(found, key=lambda each: each.place)


def whole(tx: Tx, chosen: Sequence[Found], rules: Rules) -> list[Item]:
    """The things themselves, with all that there is to look at, for those that are shown."""
    ids = sorted({each.protocol_id for each in chosen if each.item is None})
    told = {
        item.id: item
        for situation in situations.with_failures(tx, _situations(tx, ids, rules))
        for item in items(situation)
    }
    return [each.item or told[each.id] for each in chosen]


def of_protocol(tx: Tx, protocol_id: int, rules: Rules) -> list[Item]:
    """What of one protocol run waits for a person."""
    return items(explaining.situation_of(tx, protocol_id, rules))


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
    return all(other.id != item_id for other in _around(unit, item_id))


def _situations(tx: Tx, ids: Iterable[int], rules: Rules) -> list[Situation]:
    return situations.load(tx, ids, credential=rules.credential, project_limit=rules.project_concurrency)


def _beside(tx: Tx, project_id: int | None) -> list[Item]:
    """What went wrong beside the protocol runs."""
    setups = [
        Item(
            id=f"r{row['id']}.{Kind.SETUP_FAILED}",
            kind=Kind.SETUP_FAILED,
            project_id=row["id"],
            title=f"Project {row['name']} could not be set up",
            because=f"Its repository could not be used: {cause_of(row['category']).what}."
            f" {cause_of(row['category']).remedy}",
            since=row["finished_at"],
            evidence=(Evidence(f"Job {row['job_id']} failed: {(row['error'] or '')[:SHOWN_CHARS]}"),),
            ways=(Way("setup", "Set it up again"),),
            version=row["version"],
        )
        for row in troubles.failed_setups(tx, project_id)
    ]
    failed = [
        Item(
            id=f"d{row['id']}.{Kind.DELIVERY_FAILED}",
            kind=Kind.DELIVERY_FAILED,
            project_id=row["project_id"],
            title=f"A delivery of {row['provider']} could not be applied",
            because="What the forge said had no effect. Mend what the reason names, then apply the delivery again.",
            since=row["applied_at"],
            evidence=(Evidence(f"Delivery {row['id']} ({row['event']}): {(row['reason'] or '')[:SHOWN_CHARS]}"),),
            ways=(Way("replay", "Apply it again"),),
        )
        for row in troubles.failed_deliveries(tx, project_id)
    ]
    unkilled = [
        Item(
            id=f"j{row['id']}.{Kind.KILL_UNCONFIRMED}",
            kind=Kind.KILL_UNCONFIRMED,
            project_id=row["project_id"],
            protocol_id=row["protocol_id"],
            protocol_name=row["protocol_name"],
            step_id=row["step_id"],
            title=f"What job {row['id']} had started could not be ended",
            because="Its worker is lost and its processes are still there. Look at that host and end them;"
            " what the job was for goes on by itself then.",
            since=row["started_at"],
            evidence=(Evidence((row["error"] or "")[:SHOWN_CHARS]),),
        )
        for row in troubles.unkilled_jobs(tx, project_id)
    ]
    return [*setups, *failed, *unkilled]


def _held(hold: Hold) -> Item | None:
    """What keeps everything from starting, or one credential for long."""
    if hold.name == LINE:
        return Item(
            id=LINE,
            kind=Kind.LINE,
            project_id=None,
            title="The line is stopped",
            because=f"{hold.actor} stopped the line: no job of any project starts. Resume it to go on.",
            since=hold.created_at,
            evidence=(Evidence(hold.message),),
            ways=(_RESUME,),
        )
    if hold.until is None or hold.until - hold.created_at < LONG_MS:
        return None
    cause = cause_of(hold.reason)
    return Item(
        id=f"hold.{hold.name}",
        kind=Kind.QUOTA,
        project_id=None,
        title=f"Codex's credential {hold.name} cannot be used for a while",
        because=f"No agent starts with it: {cause.what}. {cause.remedy}",
        since=hold.created_at,
        evidence=(Evidence(hold.message),),
        ways=(Way("resume", "Try again now"),),
    )


def _expect(unit: Unit, item_id: str) -> Item:
    found = next((item for item in _around(unit, item_id) if item.id == item_id), None)
    if found is None:
        message = (
            f"Nothing {item_id!r} waits for an answer: it is settled, or never was. GET /attention lists what does."
        )
        raise NotFound(message, type="settled")
    return found


def _around(unit: Unit, item_id: str) -> list[Item]:
    """The things of whatever the id names; what is not there, or not the caller's, has none."""
    parts = _ID.fullmatch(item_id)
    scope, tx = unit.caller.project_id, unit.tx
    if parts is None:
        return []
    number = int(parts["number"] or 0)
    match parts["place"]:
        case "p":
            return of_protocol(tx, find.protocol(tx, scope, number).id, unit.rules)
        case "s":
            return of_protocol(tx, find.step(tx, scope, number).protocol_id, unit.rules)
        case "r":
            return _beside(tx, find.project(tx, scope, number).id)
        case "j":
            return _beside(tx, find.job(tx, scope, number).project_id)
        case "d":
            return _beside(tx, find.delivery(tx, scope, number).project_id)
        case _:
            kept = holds.in_force(tx) if scope is None else ()
            return [item for hold in kept if (item := _held(hold)) is not None]


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
