"""Projects: the list, the form that registers one, one with its setup and policy, and the form of a new protocol."""

from typing import Any, Final

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery

from services.api import showing
from services.api.auth import ApiRequest
from services.api.console import forms, project_form
from services.api.console.forms import Typed
from services.api.console.pages import ROOT, Page, Pages, live, wants_data
from services.api.console.routes.acting import done
from services.api.desk import LAST_ID, Desk
from services.api.params import ProjectId
from services.api.routes.projects import register
from shared.errors import Refusal
from shared.repository import deliveries, overview, tokens
from shared.repository.database import Tx
from shared.schemas.requests import CreateProject, OpenProtocol
from shared.workflow import find, protocols
from shared.workflow.unit import Unit

SHOWN: Final = 50
LABELS: Final = {
    "description": "What is to be done",
    "progression": "Steps start",
    "plan_approval": "The plan",
    "model": "Model",
    "base_branch": "Base branch",
    "protocol_name": "Name",
}


@get("/projects")
async def list_projects(
    request: ApiRequest, desk: NamedDependency[Desk], pages: NamedDependency[Pages], after: FromQuery[int] = 0
) -> Page:
    """All projects that the caller may see."""
    scope = request.user.project_id

    def read(tx: Tx) -> dict[str, Any]:
        rows = overview.projects(tx, scope, after=min(max(after, 0), LAST_ID), limit=SHOWN + 1)
        return {
            "projects": rows[:SHOWN],
            "more": rows[SHOWN - 1]["id"] if len(rows) > SHOWN else None,
            "live": live(tx),
        }

    return pages.show(request, "projects.html", **await desk.database.read(read))


@get("/projects/new", opt={"admin": True}, sync_to_thread=False)
def new_project(request: ApiRequest, desk: NamedDependency[Desk], pages: NamedDependency[Pages]) -> Page:
    """The form that registers a repository."""
    return _project_form(request, desk, pages, {})


@post("/projects/new", opt={"admin": True}, status_code=200)
async def register_project(
    request: ApiRequest, desk: NamedDependency[Desk], pages: NamedDependency[Pages]
) -> Response[Any]:
    """Register it, and go to its page."""
    typed = await forms.typed_of(request)
    labels = forms.labels_of(project_form.inputs(desk.settings, new=True).values())

    def registered(unit: Unit) -> int:
        data = forms.read(CreateProject, project_form.wanted(typed), labels)
        return register(unit, data, desk.settings).id

    try:
        project_id = await desk.flow.run(request.user, registered)
    except Refusal as refusal:
        if wants_data(request):
            raise
        return _project_form(request, desk, pages, typed, refusal)
    return done(request, pages, f"{ROOT}/projects/{project_id}", leave=True)


@get("/projects/{project_id:int}")
async def show_project(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    pages: NamedDependency[Pages],
    project_id: ProjectId,
    before: FromQuery[int] = LAST_ID,
) -> Page:
    """One project: its setup, its protocols (those before the given one), its policy, and who may come in."""
    scope = request.user.project_id

    def read(tx: Tx) -> dict[str, Any]:
        record = find.project(tx, scope, project_id)
        hooks = deliveries.hooks_of(tx, project_id) if scope is None else ()
        runs = overview.protocols(tx, project_id, before=min(max(before, 0), LAST_ID), limit=SHOWN + 1)
        return {
            "project": showing.project(tx, record),
            "protocols": runs[:SHOWN],
            "older": runs[SHOWN - 1]["id"] if len(runs) > SHOWN else None,
            "newest": before >= LAST_ID,
            "hooks": [showing.hook(tx, hook, desk.settings.public_url) for hook in hooks],
            "tokens": [showing.token(each) for each in tokens.of_project(tx, project_id)] if scope is None else [],
            "live": live(tx, project_id=project_id),
        }

    return pages.show(request, "project.html", **await desk.database.read(read))


@get("/projects/{project_id:int}/protocols/new")
async def new_protocol(
    request: ApiRequest, desk: NamedDependency[Desk], pages: NamedDependency[Pages], project_id: ProjectId
) -> Page:
    """The form of a new task."""
    return await _protocol_form(request, desk, pages, project_id, {"plan": "on"})


@post("/projects/{project_id:int}/protocols/new", status_code=200)
async def open_protocol(
    request: ApiRequest, desk: NamedDependency[Desk], pages: NamedDependency[Pages], project_id: ProjectId
) -> Response[Any]:
    """Open the protocol, start its planning if that is wished, and go to its page."""
    typed = await forms.typed_of(request)

    def opened(unit: Unit) -> int:
        forms.demand(typed, "description", "say it, in any words.", LABELS)
        data = forms.read(OpenProtocol, _protocol_fields(typed), LABELS)
        protocol = protocols.open_protocol(
            unit,
            project_id,
            protocol_name=data.protocol_name,
            description=data.description,
            base_branch=data.base_branch,
            model=data.model,
            policy_changes=data.policy.changes(),
        )
        if typed.get("plan") == "on":
            protocols.start_protocol(unit, protocol.id)
        return protocol.id

    try:
        protocol_id = await desk.flow.run(request.user, opened)
    except Refusal as refusal:
        if wants_data(request):
            raise
        return await _protocol_form(request, desk, pages, project_id, typed, refusal)
    return done(request, pages, f"{ROOT}/protocols/{protocol_id}", leave=True)


def _project_form(request: ApiRequest, desk: Desk, pages: Pages, typed: Typed, refusal: Refusal | None = None) -> Page:
    return pages.show(
        request,
        "project_new.html",
        refusal=refusal,
        typed=typed,
        inputs=project_form.inputs(desk.settings, new=True),
    )


async def _protocol_form(
    request: ApiRequest, desk: Desk, pages: Pages, project_id: int, typed: Typed, refusal: Refusal | None = None
) -> Page:
    scope = request.user.project_id
    project = await desk.database.read(lambda tx: showing.project(tx, find.project(tx, scope, project_id)))
    return pages.show(
        request,
        "protocol_new.html",
        refusal=refusal,
        typed=typed,
        project=project,
    )


def _protocol_fields(typed: Typed) -> dict[str, Any]:
    policy: dict[str, Any] = {}
    if typed.get("progression"):
        policy["progression"] = typed["progression"]
    if typed.get("plan_approval"):
        policy["plan_approval"] = typed["plan_approval"] == "yes"
    named = {name: typed.get(name, "").strip() for name in ("protocol_name", "base_branch", "model")}
    return {**named, "description": typed.get("description", ""), "policy": policy}


ROUTES = [list_projects, new_project, register_project, show_project, new_protocol, open_protocol]
