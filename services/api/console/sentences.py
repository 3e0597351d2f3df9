"""The place for what events are called by people: one sentence for each type (pure)."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from services.api.console.text import as_time, duration, words
from shared.schemas.records import Event
from shared.schemas.statuses import EventType

# {step} is the step's number and name; the other names are those of the event's metadata.
_E = EventType
SENTENCES: Final[Mapping[str, str]] = {
    _E.PROJECT_REGISTERED: "The project was registered.",
    _E.PROJECT_CHANGED: "The project's settings were changed.",
    _E.SECRET_SET: "The secret {name} was set.",
    _E.TOKEN_CREATED: "The token {name} was made.",
    _E.TOKEN_REVOKED: "A token was revoked.",
    _E.HOOK_CREATED: "A webhook address for {provider} was made.",
    _E.HOOK_ROTATED: "The webhook for {provider} has a new secret.",
    _E.HOOK_DISABLED: "The webhook for {provider} was ended.",
    _E.SETUP_ENQUEUED: "The repository is to be set up.",
    _E.SETUP_DONE: "The repository was cloned and its base branch found.",
    _E.PROTOCOL_OPENED: "The protocol was opened.",
    _E.PLANNING_ENQUEUED: "Planning is queued.",
    _E.PLANNING_STARTED: "Planning began.",
    _E.PLANNED: "The plan is ready.",
    _E.PLAN_APPROVED: "The plan was approved.",
    _E.PLAN_REJECTED: "The plan was sent back.",
    _E.PLAN_REVISED: "The plan has a new revision, {revision}.",
    _E.PLAN_WRITTEN: "Revision {revision} of the plan is on the branch.",
    _E.PLANNING_FAILED: "Planning failed.",
    _E.PROTOCOL_STARTED: "The protocol is under way.",
    _E.PROTOCOL_BLOCKED: "The protocol is blocked: {reason}.",
    _E.PROTOCOL_UNBLOCKED: "The protocol goes on.",
    _E.PAUSED: "The protocol was paused.",
    _E.RESUMED: "The protocol was resumed.",
    _E.CANCELLED: "The protocol was cancelled.",
    _E.AWAITING_MERGE: "All steps are done; the pull request waits to be merged.",
    _E.PR_MERGED: "The pull request was merged.",
    _E.MR_MERGED: "The merge request was merged.",
    _E.PR_CLOSED: "The pull request was closed without a merge.",
    _E.PR_REOPENED: "The pull request was opened again.",
    _E.CI_REGRESSED: "The CI turned red on a commit that was done.",
    _E.DIVERGED: "Somebody else moved the branch.",
    _E.PROTOCOL_COMPLETED: "The protocol is completed.",
    _E.PROTOCOL_FAILED: "The protocol was given up.",
    _E.STEP_ADDED: "{step} was added.",
    _E.STEP_ENQUEUED: "{step} is queued.",
    _E.STEP_STARTED: "{step} began.",
    _E.STEP_COMPLETED: "{step} was executed and committed.",
    _E.STEP_DONE: "{step} is done.",
    _E.STEP_FAILED: "{step} failed: {reason}.",
    _E.STEP_REJECTED: "{step} was sent back.",
    _E.STEP_RETRY_ENQUEUED: "{step} is tried again.",
    _E.STEP_REPAIR_ENQUEUED: "{step} is repaired by itself.",
    _E.STEP_SKIPPED: "{step} was skipped.",
    _E.STEP_CANCELLED: "{step} was cancelled.",
    _E.NO_CHANGES: "{step} changed no file.",
    _E.GATE_UPDATED: "{step}: the gate {gate} is {state}.",
    _E.QA_ENQUEUED: "QA of {step} is queued.",
    _E.QA_STARTED: "QA of {step} began.",
    _E.QA_PASSED: "QA passed {step}.",
    _E.QA_FAILED: "QA refused {step}.",
    _E.QA_INCONCLUSIVE: "QA of {step} gave no verdict.",
    _E.MANUAL_APPROVAL: "{step} was approved by a person.",
    _E.CI_FAILED: "The CI is red on the commit of {step}.",
    _E.CI_RECOVERED: "The CI is green again on the commit of {step}.",
    _E.JOB_RETRY_SCHEDULED: "An attempt failed ({reason}); it is tried again in {delay}.",
    _E.JOB_FAILED: "A job failed for good: {reason}.",
    _E.JOB_LOST: "The worker of a job was lost.",
    _E.JOB_PARKED: "A job was parked; it goes on later.",
    _E.JOB_CANCELLED: "A job was cancelled.",
    _E.QUOTA_PARKED: "The quota of {credential} is used up; it goes on by itself.",
    _E.QUOTA_LIFTED: "There is quota of {credential} again.",
    _E.LINE_STOPPED: "The line was stopped.",
    _E.LINE_RESUMED: "The line was resumed.",
    _E.LATE_RESULT: "A result came too late and changed nothing.",
    _E.ATTEMPT_KILLED: "An agent was stopped.",
    _E.KILL_UNCONFIRMED: "An agent was to be stopped, and it is not certain that it was.",
    _E.NOTIFIER_CREATED: "A notifier was made.",
    _E.NOTIFIER_REMOVED: "A notifier was removed.",
    _E.NOTIFIER_FAILING: "A notifier does not get through.",
    _E.NOTIFIER_RECOVERED: "A notifier gets through again.",
    _E.ATTEMPT_CONTINUED: "An attempt took over from an earlier one ({how}: {reason}).",
    _E.OPEN_PR_ENQUEUED: "Publishing is queued.",
    _E.BRANCH_PUSHED: "The branch was published.",
    _E.BRANCH_ADOPTED: "Somebody else's commit was taken over.",
    _E.BRANCH_RESET: "The branch goes back to our last commit.",
    _E.PR_OPENED: "A pull request was opened.",
    _E.PR_READY: "The pull request is ready for review.",
    _E.CI_TRIGGERED: "A CI run was asked for.",
    _E.REPOSITORY_LEARNED: "The forge's id of the repository is known now.",
    _E.SYNC_ENQUEUED: "A look at the forge is queued.",
    _E.SYNCED: "The forge was looked at.",
    _E.DELIVERY_RECEIVED: "A delivery of {provider} came: {event}.",
    _E.DELIVERY_REPLAYED: "A delivery is applied again.",
    _E.DELIVERY_APPLIED: "A delivery was applied: {effect}.",
    _E.DELIVERY_IGNORED: "A delivery was left aside: {reason}.",
}
# What a second line tells, the first of these that is there.
_TELLING: Final = ("feedback", "why", "message", "summary", "note")
# Whose values are words of ours; the others are names that somebody gave.
_OURS: Final = frozenset({"gate", "state", "how", "effect"})
_GOOD: Final = frozenset(
    {_E.PROTOCOL_COMPLETED, _E.STEP_DONE, _E.QA_PASSED, _E.PR_MERGED, _E.MR_MERGED, _E.CI_RECOVERED, _E.MANUAL_APPROVAL}
)
_BAD: Final = frozenset(
    {
        _E.PLANNING_FAILED,
        _E.PROTOCOL_BLOCKED,
        _E.PROTOCOL_FAILED,
        _E.STEP_FAILED,
        _E.QA_FAILED,
        _E.QA_INCONCLUSIVE,
        _E.CI_FAILED,
        _E.CI_REGRESSED,
        _E.DIVERGED,
        _E.JOB_FAILED,
        _E.JOB_LOST,
        _E.PR_CLOSED,
    }
)


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An event for people: its sentence, one line more, and all the rest as JSON."""

    id: int
    sentence: str
    more: str
    tone: str
    actor: str
    created_at: int
    step_id: int | None
    attempt_id: int | None
    raw: str


class _Known(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "?"


def tell(event: Event, steps: Mapping[int, str]) -> Told:
    """The event in words; `steps` are the names of steps by their id."""
    facts = event.metadata
    more = next((text for key in _TELLING if isinstance(text := facts.get(key), str) and text), "")
    rest = {
        "event": event.event_type,
        "at": as_time(event.created_at).isoformat(timespec="seconds"),
        "from": event.from_status,
        "to": event.to_status,
        "reason": event.reason,
        "job": event.job_id,
        "delivery": event.delivery_id,
        "request": event.request_id,
        **facts,
    }
    return Told(
        id=event.id,
        sentence=SENTENCES.get(event.event_type, words(event.event_type)).format_map(_words(event, steps)),
        more=more,
        tone="good" if event.event_type in _GOOD else "bad" if event.event_type in _BAD else "",
        actor=event.actor,
        created_at=event.created_at,
        step_id=event.step_id if event.step_id in steps else None,
        attempt_id=event.attempt_id,
        raw=pretty({name: value for name, value in rest.items() if value is not None}),
    )


def pretty(value: Any) -> str:
    """Data as JSON for people."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _words(event: Event, steps: Mapping[int, str]) -> _Known:
    told = {key: words(value) if key in _OURS else str(value) for key, value in event.metadata.items()}
    delay = event.metadata.get("delay_s")
    if isinstance(delay, int | float):
        told["delay"] = duration(delay)
    return _Known(
        told
        | {
            "reason": words(event.reason or "unknown").removesuffix("."),
            "step": steps.get(event.step_id or 0, "A step"),
        }
    )
