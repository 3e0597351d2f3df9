"""What waits for a person, from the rows as they are."""

import re
from collections.abc import Iterable, Sequence

import msgspec

from shared.repository import holds, situations, troubles
from shared.repository import notices as notices_table
from shared.repository.database import Tx
from shared.repository.holds import LINE
from shared.schemas.awaited import Kind
from shared.schemas.records import Hold
from shared.states.attention import Item, Way, items, sketches
from shared.states.causes import cause_of
from shared.states.waiting import SHOWN_CHARS, Evidence, Situation
from shared.workflow import explaining, find
from shared.workflow.unit import Rules, Unit

# A hold that ends sooner is no person's business.
LONG_MS = 5 * 60 * 1000
_ID = re.compile(r"(?:(?P<place>[psrdjn])(?P<number>[0-9]{1,15})|hold|line)\.?[a-z0-9_.-]{0,100}")


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
    only = find.narrowed(tx, scope, project_id)
    found = [
        Found(each.id, each.place, protocol_id=situation.protocol.id)
        for situation in _candidates(tx, only, rules)
        for each in sketches(situation)
    ]
    more = beside(tx, only) + ([*held(tx), *_unreachable(tx)] if only is None else [])
    found += [Found(item.id, item.place, item) for item in more]
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


def _candidates(tx: Tx, project_id: int | None, rules: Rules) -> list[Situation]:
    """The situations that may have something for a person, each with as many steps as decide about that."""
    found = situations.candidates(tx, project_id)
    whole = [run for run, idle in found.items() if idle]
    return _situations(tx, found, rules, whole=whole)


def _situations(tx: Tx, ids: Iterable[int], rules: Rules, whole: Iterable[int] | None = None) -> list[Situation]:
    limit = rules.project_concurrency
    return situations.load(tx, ids, credential=rules.credential, project_limit=limit, whole=whole)


def beside(tx: Tx, project_id: int | None) -> list[Item]:
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
            since=row["failed_at"],
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


def held(tx: Tx) -> list[Item]:
    """What keeps work of all projects from starting, for long."""
    return [item for hold in holds.in_force(tx) if (item := _held(hold)) is not None]


def _unreachable(tx: Tx) -> list[Item]:
    return [
        Item(
            id=f"n{each.id}.{Kind.NOTIFIER_FAILING}",
            kind=Kind.NOTIFIER_FAILING,
            project_id=each.project_id,
            title=f"No message reaches {each.host}",
            because=f"The last {each.failures} tries to send it one failed. Mend what its deliveries say, then send a"
            " test; or remove it.",
            since=each.failing_since or 0,
            ways=(Way("test", "Send a test"), Way("remove", "Remove it")),
        )
        for each in notices_table.failing(tx)
    ]


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
            ways=(Way("resume", "Resume the line"),),
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


def around(unit: Unit, item_id: str) -> list[Item]:
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
            return beside(tx, find.project(tx, scope, number).id)
        case "n":
            return _unreachable(tx) if scope is None else []
        case "j":
            return beside(tx, find.job(tx, scope, number).project_id)
        case "d":
            return beside(tx, find.delivery(tx, scope, number).project_id)
        case _:
            return held(tx) if scope is None else []
