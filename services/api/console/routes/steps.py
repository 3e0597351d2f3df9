"""One step: what it is to do, what was judged of its commit, its attempts, and its changes."""

from typing import Any, Final

from litestar import get
from litestar.di import NamedDependency

from services.api import showing, telling
from services.api.auth import ApiRequest
from services.api.console import sentences
from services.api.console.pages import ROOT, Page, Pages, live
from services.api.console.routes.changes import DiffFile, DiffLine, changes_of, show_changes
from services.api.console.transcripts import plain
from services.api.desk import LAST_ID, Desk
from services.api.params import StepId
from shared.repository import events, protocols, runs, steps
from shared.repository.database import Tx
from shared.schemas.records import Attempt, Gate, StepRun
from shared.states.explain import explain_step
from shared.workflow import explaining, find

ROOM: Final = 300
ATTEMPTS_SHOWN: Final = 50
EVENTS_SHOWN: Final = 20
KNOWN_EVIDENCE: Final = frozenset({"contexts", "logs", "findings", "next_actions"})


@get("/steps/{step_id:int}")
async def show_step(
    request: ApiRequest, desk: NamedDependency[Desk], pages: NamedDependency[Pages], step_id: StepId
) -> Page:
    """Everything about one step."""
    scope = request.user.project_id

    def read(tx: Tx) -> dict[str, Any]:
        record = find.step(tx, scope, step_id)
        situation = explaining.situation_of(tx, record.protocol_id, desk.flow.rules)
        found = steps.gates(tx, step_id, None)
        names = {step_id: f"Step {record.step_index}"}
        return {
            "live": live(tx, protocol_run_id=record.protocol_id),
            "step": showing.step(tx, record),
            "names": {each.step_index: each for each in situation.steps if each.step_index in record.depends_on},
            "protocol": situation.protocol,
            "explained": telling.explanation(explain_step(situation, record)),
            "gates": [_gate(gate) for gate in found if gate.sha == record.head_sha],
            "earlier_gates": [_gate(gate) for gate in found if gate.sha != record.head_sha],
            "attempts": [showing.attempt(each) for each in runs.attempts_of_step(tx, step_id, limit=ATTEMPTS_SHOWN)],
            "made_by": runs.made_by(tx, step_id, record.head_sha),
            "events": [
                sentences.tell(event, names)
                for event in events.of_step(tx, step_id, before=LAST_ID, limit=EVENTS_SHOWN)
            ],
        }

    found = await desk.database.read(read)
    view = await changes_of(desk, found["made_by"], whole=False, room=ROOM)
    return pages.show(request, "step.html", view=view, **found)


@get("/steps/{step_id:int}/diff")
async def show_step_diff(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    pages: NamedDependency[Pages],
    step_id: StepId,
    file: DiffFile = 0,
    line: DiffLine = 0,
) -> Page:
    """What the step's last execution changed."""
    scope = request.user.project_id

    def read(tx: Tx) -> tuple[StepRun, str, Attempt | None]:
        step = find.step(tx, scope, step_id)
        return step, protocols.expect(tx, step.protocol_id).protocol_name, runs.made_by(tx, step_id, step.head_sha)

    step, name, attempt = await desk.database.read(read)
    return await show_changes(
        request,
        desk,
        pages,
        attempt,
        whole=False,
        file=file,
        line=line,
        title=f"Changes of step {step.step_index}",
        home=f"{ROOT}/steps/{step_id}",
        home_title=f"{name} / {step.step_name}",
        stale=False,
    )


def _gate(gate: Gate) -> dict[str, Any]:
    """A gate with its evidence in the pieces that people look at, and the rest as JSON."""
    told: dict[str, Any] = gate.evidence
    rest = {name: value for name, value in told.items() if name not in KNOWN_EVIDENCE}
    logs: dict[str, Any] = told.get("logs") or {}
    ends = {name: plain(str(text)) for name, text in logs.items()}
    contexts: list[dict[str, Any]] = told.get("contexts") or []
    return {
        "gate": gate,
        "contexts": [
            {
                "name": each.get("name"),
                "outcome": each.get("outcome", "unknown"),
                "url": each.get("url"),
                "log": ends.pop(str(each.get("context")), ""),
            }
            for each in contexts
        ],
        "logs": ends,
        "findings": told.get("findings") or (),
        "next_actions": told.get("next_actions") or (),
        "rest": sentences.pretty(rest) if rest else "",
    }


ROUTES = [show_step, show_step_diff]
