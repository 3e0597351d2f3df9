"""One protocol run: how it stands and why, its plan, its steps, what its agent does now, and what happened."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from services.api import showing, telling
from services.api.auth import ApiRequest
from services.api.console import sentences, transcripts
from services.api.console.pages import ROOT, Page, Pages, live
from services.api.console.routes.changes import DiffFile, DiffLine, show_changes
from services.api.console.sentences import Told
from services.api.desk import LAST_ID, Desk
from services.api.params import ProtocolId
from shared.errors import NotFound
from shared.repository import events, protocols, runs
from shared.repository.database import Tx
from shared.schemas.records import Attempt, Protocol, StepRun
from shared.schemas.statuses import Phase, StepStatus
from shared.states import doable
from shared.states.explain import explain_protocol
from shared.states.rest import next_step
from shared.states.waiting import Situation
from shared.workflow import explaining, find

EVENTS_SHOWN: Final = 25
EVENTS_PAGE: Final = 100
TRANSCRIPT_SHOWN: Final = 40
# A longer plan is read on a page of its own.
PLAN_CHARS: Final = 6_000
# More steps than these are folded where nothing happens to them.
STEPS_OPEN: Final = 30
NEIGHBOURS: Final = 3

Before = Annotated[int, QueryParameter(ge=0, le=LAST_ID, description="Only what happened before this event.")]
Revision = Annotated[int | None, QueryParameter(ge=1, le=LAST_ID, description="Which revision; default: the present.")]


@get("/protocols/{protocol_id:int}")
async def show_protocol(
    request: ApiRequest, desk: NamedDependency[Desk], pages: NamedDependency[Pages], protocol_id: ProtocolId
) -> Page:
    """Everything about one protocol run."""
    scope = request.user.project_id

    def read(tx: Tx) -> dict[str, Any]:
        record = find.protocol(tx, scope, protocol_id)
        situation = explaining.situation_of(tx, protocol_id, desk.flow.rules)
        plan = protocols.plan(tx, protocol_id, record.plan_revision)
        running = situation.attempts[-1] if situation.attempts else None
        return {
            "live": live(tx, protocol_run_id=protocol_id),
            "protocol": showing.protocol(tx, record),
            "project": find.project(tx, scope, record.project_id),
            "diverged_sha": record.diverged_sha,
            "explained": (explained := telling.explanation(explain_protocol(situation))),
            "actions": [_start(situation) if name == "start" else name for name in explained.actions],
            "plan": plan,
            "plan_cut": plan is not None and len(plan.plan_md) > PLAN_CHARS,
            "awaits": record.phase is Phase.AWAITING_PLAN_APPROVAL,
            **_timeline(tx, situation),
            "events": _events(tx, situation, LAST_ID, EVENTS_SHOWN),
            "running": running,
        }

    found = await desk.database.read(read)
    running = found["running"]
    shown = transcripts.Window()
    if running is not None:
        shown = await asyncio.to_thread(
            transcripts.last, desk.settings.workspaces_dir, running.directory, limit=TRANSCRIPT_SHOWN
        )
    return pages.show(request, "protocol.html", transcript=shown, plan_chars=PLAN_CHARS, **found)


@get("/protocols/{protocol_id:int}/plan")
async def show_plan(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    pages: NamedDependency[Pages],
    protocol_id: ProtocolId,
    revision: Revision = None,
) -> Page:
    """One revision of the plan, with its files."""
    scope = request.user.project_id

    def read(tx: Tx) -> dict[str, Any]:
        record = find.protocol(tx, scope, protocol_id)
        plan = protocols.plan(tx, protocol_id, revision or record.plan_revision)
        if plan is None:
            raise NotFound(f"Protocol {record.protocol_name} has no such plan.", status_now=record.status)
        return {
            "protocol": record,
            "plan": plan,
            "plans": runs.plans(tx, protocol_id),
            "live": live(tx, protocol_run_id=protocol_id),
        }

    return pages.show(request, "plan.html", **await desk.database.read(read))


@get("/protocols/{protocol_id:int}/events")
async def show_events(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    pages: NamedDependency[Pages],
    protocol_id: ProtocolId,
    before: Before = LAST_ID,
) -> Page:
    """What happened, page by page."""
    scope = request.user.project_id

    def read(tx: Tx) -> dict[str, Any]:
        record = find.protocol(tx, scope, protocol_id)
        situation = explaining.situation_of(tx, protocol_id, desk.flow.rules)
        newest = before == LAST_ID
        return {
            "protocol": record,
            "newest": newest,
            "events": _events(tx, situation, before, EVENTS_PAGE),
            "live": live(tx, protocol_run_id=protocol_id) if newest else "",
        }

    return pages.show(request, "events.html", **await desk.database.read(read))


@get("/protocols/{protocol_id:int}/diff")
async def show_branch(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    pages: NamedDependency[Pages],
    protocol_id: ProtocolId,
    file: DiffFile = 0,
    line: DiffLine = 0,
) -> Page:
    """What the branch changes as a whole."""
    scope = request.user.project_id

    def read(tx: Tx) -> tuple[Protocol, Attempt | None]:
        return find.protocol(tx, scope, protocol_id), runs.newest_commit(tx, protocol_id)

    protocol, attempt = await desk.database.read(read)
    return await show_changes(
        request,
        desk,
        pages,
        attempt,
        whole=True,
        file=file,
        line=line,
        title=f"All changes of {protocol.branch}",
        home=f"{ROOT}/protocols/{protocol_id}",
        home_title=protocol.protocol_name,
        stale=attempt is not None and attempt.head_sha != protocol.head_sha,
    )


def _timeline(tx: Tx, situation: Situation) -> dict[str, Any]:
    """The steps with what was done for each, and which of them a person can do something about."""
    steps = situation.steps
    work = {row["step_id"]: row for row in runs.work(tx, situation.protocol.id)}
    said = {row["id"]: row for row in runs.changes(tx, situation.protocol.id)}
    upcoming = next_step(steps)
    near = {step.id for step in steps if _concerns(step) or step is upcoming}
    over = situation.protocol.status.terminal
    gates: dict[int, list[Any]] = {}
    for gate in situation.gates:
        gates.setdefault(gate.step_id, []).append(gate)

    def row(step: StepRun) -> dict[str, Any]:
        return {
            "step": step,
            "work": work.get(step.id),
            "said": said.get(step.id),
            "gates": gates.get(step.id, ()),
            "actions": () if over or step.id not in near else _offered(situation, step),
        }

    return {
        "planning": work.get(None),
        "groups": _groups(steps, near, row),
        "progress": {
            "steps": len(steps),
            "settled": sum(step.status.settled for step in steps),
            "failed": sum(step.status is StepStatus.FAILED for step in steps),
        },
    }


def _concerns(step: StepRun) -> bool:
    """Whether something happens to the step, or waits to."""
    return not step.status.settled and (step.status is not StepStatus.PENDING or step.phase is not None)


def _start(situation: Situation) -> str:
    """What it means to start: steps that were added by hand are their own plan, and what has a plan is planned anew."""
    if not situation.steps:
        return "start"
    return "start_with_steps" if situation.protocol.plan_sha is None else "plan_again"


def _offered(situation: Situation, step: StepRun) -> list[str]:
    """What is offered beside the step: to judge or mend it, or to start it; the rest is on its page."""
    if step.status in {StepStatus.NEEDS_QA, StepStatus.FAILED}:
        return [name for name in doable.of_step(situation, step) if name != "cancel"]
    return [name for name in doable.of_step(situation, step) if name == "run"]


def _groups(
    steps: Sequence[StepRun], near_to: set[int], row: Callable[[StepRun], dict[str, Any]]
) -> list[dict[str, Any]]:
    """The steps in runs that are shown or folded; few steps are all shown, and of folded ones only what they are."""
    near = {
        place + offset
        for place, step in enumerate(steps)
        if step.id in near_to
        for offset in range(-NEIGHBOURS, NEIGHBOURS + 1)
    } | {0, len(steps) - 1}
    groups: list[dict[str, Any]] = []
    for place, step in enumerate(steps):
        folded = len(steps) > STEPS_OPEN and place not in near
        if not groups or groups[-1]["folded"] is not folded:
            groups.append({"folded": folded, "rows": []})
        groups[-1]["rows"].append({"step": step} if folded else row(step))
    return groups


def _events(tx: Tx, situation: Situation, before: int, limit: int) -> dict[str, Any]:
    rows = events.of_protocol(tx, situation.protocol.id, before=before, limit=limit + 1)
    names = {step.id: f"Step {step.step_index} ({step.step_name})" for step in situation.steps}
    told: list[Told] = [sentences.tell(event, names) for event in rows[:limit]]
    return {"rows": told, "more": told[-1].id if len(rows) > limit else None}


ROUTES = [show_protocol, show_plan, show_events, show_branch]
