"""The place where records become answers: only what an answer has a field for leaves the house."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

import msgspec

from shared.redaction import Redactor
from shared.repository import attempts, deliveries, holds, jobs, projects, protocols, standings
from shared.repository.database import Row, Tx
from shared.repository.holds import LINE
from shared.schemas import answers, hook_answers
from shared.schemas.answers import Answer
from shared.schemas.records import (
    Attempt,
    Delivery,
    Event,
    Gate,
    Hold,
    Hook,
    Job,
    Plan,
    Project,
    Protocol,
    Record,
    Secret,
    StepRun,
    Token,
)
from shared.schemas.statuses import DeliveryStatus, JobState
from shared.states import doable
from shared.states import job as job_table

A = TypeVar("A", bound=Answer)

_job_actions = cache(job_table.allowed_actions)

# A longer body is not shown; the whole is in the database.
MAX_SHOWN_BODY = 262_144

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 253_402_300_799_999  # the end of the year 9999, which is as far as RFC 3339 reaches


def project(tx: Tx, record: Project) -> answers.ProjectAnswer:
    """A project with the state of its setup."""
    row = jobs.last_setup(tx, record.id)
    setup = None
    if row is not None:
        setup = answers.SetupAnswer(row["id"], JobState(row["state"]), row["category"], row["error"])
    return shown(answers.ProjectAnswer, record, setup=setup)


def protocol(tx: Tx, record: Protocol) -> answers.ProtocolAnswer:
    """A protocol run with the tokens that it has used, and what can be done with it now."""
    (found,) = some_protocols(tx, [record])
    return found


def some_protocols(tx: Tx, records: Sequence[Protocol]) -> list[answers.ProtocolAnswer]:
    """The same of many: three statements for all of them."""
    used = attempts.usage_of_protocols(tx, [each.id for each in records])
    return [
        shown(
            answers.ProtocolAnswer,
            each.protocol,
            usage=answers.Usage(**used.get(each.protocol.id, {})),
            allowed_actions=doable.of_protocol(each),
        )
        for each in standings.of(tx, records)
    ]


def plan(record: Plan) -> answers.PlanAnswer:
    """A plan."""
    return shown(answers.PlanAnswer, record)


def step(tx: Tx, record: StepRun) -> answers.StepAnswer:
    """A step with what can be done with it now."""
    (found,) = some_steps(tx, protocols.expect(tx, record.protocol_id), [record])
    return found


def some_steps(tx: Tx, owner: Protocol, records: Sequence[StepRun]) -> list[answers.StepAnswer]:
    """The same of many steps of one protocol run."""
    (standing,) = standings.of(tx, [owner])
    return [shown(answers.StepAnswer, each, allowed_actions=doable.of_step(standing, each)) for each in records]


def gate(record: Gate) -> answers.GateAnswer:
    """A gate."""
    return shown(answers.GateAnswer, record)


def attempt(record: Attempt) -> answers.AttemptAnswer:
    """An attempt."""
    usage = answers.Usage(
        input_tokens=record.input_tokens,
        cached_input_tokens=record.cached_input_tokens,
        output_tokens=record.output_tokens,
        reasoning_output_tokens=record.reasoning_output_tokens,
    )
    return shown(answers.AttemptAnswer, record, usage=usage)


def job(record: Job) -> answers.JobAnswer:
    """A job."""
    return shown(answers.JobAnswer, record, allowed_actions=_job_actions(record.state, record.stop))


def queues(rows: Sequence[Row], held: Sequence[Hold]) -> answers.QueuesAnswer:
    """The counts of jobs, from rows of kind, state and count, and what holds them up."""
    by_kind: dict[str, dict[str, int]] = {}
    for row in rows:
        by_kind.setdefault(row["kind"], {})[JobState(row["state"]).value] = row["count"]
    found = tuple(
        msgspec.convert({"job_type": kind, **counts}, answers.QueueAnswer) for kind, counts in by_kind.items()
    )
    parked = max((hold.until for hold in held if hold.until is not None), default=None)
    return answers.QueuesAnswer(
        backend="arq",
        stopped=any(hold.name == LINE for hold in held),
        parked_until=None if parked is None else time(parked),
        queues=found,
    )


def line(tx: Tx) -> answers.LineAnswer:
    """The line as it is now."""
    held = holds.in_force(tx)
    stopped = next((hold for hold in held if hold.name == LINE), None)
    counted = Counter[str]()
    for row in jobs.counts(tx, None):
        counted[row["state"]] += row["count"]
    return answers.LineAnswer(
        status="running" if stopped is None else "stopped",
        stopped_at=None if stopped is None else time(stopped.created_at),
        stopped_by=None if stopped is None else stopped.actor,
        parked=tuple(
            shown(answers.HoldAnswer, hold, credential=hold.name, parked_until=time(hold.until))
            for hold in held
            if hold.until is not None
        ),
        jobs_running=counted[JobState.RUNNING],
        jobs_queued=counted[JobState.QUEUED],
        allowed_actions=("stop", "resume") if held else ("stop",),
    )


def event_names(tx: Tx) -> Callable[[Event], answers.EventAnswer]:
    """A function that shows events with the names of their project and protocol, each looked up once."""

    @cache
    def project_name(project_id: int) -> str | None:
        found = projects.get(tx, project_id)
        return found.name if found else None

    @cache
    def protocol_name(protocol_id: int) -> str | None:
        found = protocols.get(tx, protocol_id)
        return found.protocol_name if found else None

    def show(record: Event) -> answers.EventAnswer:
        return shown(
            answers.EventAnswer,
            record,
            project_name=None if record.project_id is None else project_name(record.project_id),
            protocol_name=None if record.protocol_id is None else protocol_name(record.protocol_id),
        )

    return show


def token(record: Token) -> answers.TokenAnswer:
    """A token, without the token."""
    return shown(answers.TokenAnswer, record)


def new_token(record: Token, text: str) -> answers.NewTokenAnswer:
    """A token that was just made."""
    return shown(answers.NewTokenAnswer, record, token=text)


def secret(record: Secret) -> answers.SecretAnswer:
    """A secret, without the secret."""
    return shown(answers.SecretAnswer, record, stored_as="sealed" if record.file_name is None else "file")


def hook(tx: Tx, record: Hook, public_url: str | None) -> hook_answers.HookAnswer:
    """A hook, without its secrets."""
    return shown(hook_answers.HookAnswer, record, url=hook_url(record, public_url), secrets=_hook_secrets(tx, record))


def new_hook(tx: Tx, record: Hook, public_url: str | None, scheme: str, text: str) -> hook_answers.NewHookAnswer:
    """A hook with the secret that was just made for it."""
    url, known = hook_url(record, public_url), _hook_secrets(tx, record)
    return shown(hook_answers.NewHookAnswer, record, url=url, secrets=known, scheme=scheme, secret=text)


def delivery(record: Delivery) -> hook_answers.DeliveryAnswer:
    """A delivery, without what it said."""
    return shown(hook_answers.DeliveryAnswer, record, allowed_actions=_delivery_actions(record))


def delivery_detail(record: Delivery, redactor: Redactor) -> hook_answers.DeliveryDetailAnswer:
    """A delivery with what it said, as far as that may be shown."""
    return shown(
        hook_answers.DeliveryDetailAnswer,
        record,
        allowed_actions=_delivery_actions(record),
        headers={name: redactor.redact(text) for name, text in record.headers.items()},
        body=redactor.clean(msgspec.json.decode(record.body)) if len(record.body) <= MAX_SHOWN_BODY else None,
        body_bytes=len(record.body),
    )


def hook_url(record: Hook, public_url: str | None) -> str:
    """Where the deliveries of a hook go: a path only where the public address is not known."""
    return f"{(public_url or '').rstrip('/')}/webhooks/{record.provider}/{record.key}"


def _hook_secrets(tx: Tx, record: Hook) -> tuple[hook_answers.HookSecretAnswer, ...]:
    return tuple(
        shown(
            hook_answers.HookSecretAnswer,
            each,
            valid_until=None if each.valid_until is None else time(each.valid_until),
        )
        for each in deliveries.hook_secrets(tx, record.id)
    )


def _delivery_actions(record: Delivery) -> tuple[str, ...]:
    return () if record.status is DeliveryStatus.RECEIVED else ("replay",)


def time(ms: int) -> datetime:
    """Milliseconds since 1970 as a time."""
    return _EPOCH + timedelta(milliseconds=min(ms, _LAST_MS))


class _Copy(msgspec.Struct, frozen=True):
    """How the fields that an answer shares with a record are read from it: the lists of 50 pay for every step here."""

    names: tuple[str, ...]
    values: Callable[[Record], tuple[Any, ...]]
    times: tuple[str, ...]


@cache
def _copy(into: type[Answer], record: type[Record]) -> _Copy:
    both = set(record.__struct_fields__)
    names = tuple(name for name in into.__struct_fields__ if name in both)
    return _Copy(names, attrgetter(*names), tuple(name for name in names if name.endswith(("_at", "_since"))))


def shown(into: type[A], record: Record, **more: Any) -> A:
    """The answer, with the fields that it shares with the record; `more` are the others, or take their place."""
    copy = _copy(into, type(record))
    fields = dict(zip(copy.names, copy.values(record), strict=True))
    for name in copy.times:
        if fields[name] is not None:
            fields[name] = time(fields[name])
    return into(**fields | more)
