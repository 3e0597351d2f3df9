"""The settings of a project: what it is and may do, who comes in, and who is told. What opens a door is shown once.

A part is a form below the first one; what it makes is the answer to it and nothing else: no address leads there, and no
cookie or log holds it. The script takes `data-shown` out of that page and shows it beside the button.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from services.api import showing, telling
from services.api.auth import ApiRequest
from services.api.console import access_forms, forms, project_form
from services.api.console.forms import Typed
from services.api.console.pages import ROOT, Page, Pages, live, wants_data
from services.api.console.routes.acting import done
from services.api.desk import LAST_ID, Desk
from services.api.params import ProjectId
from services.api.routes.access import add_token, keep_secret
from services.api.routes.hooks import add_hook, probe_hook, renew_hook
from services.api.routes.notifiers import add_notifier
from services.api.routes.projects import change
from services.api.webhook_test import at_the_forge, secret_field
from shared.errors import NotFound, Refusal
from shared.repository import deliveries, notices, tokens
from shared.repository import projects as table
from shared.repository.database import Tx
from shared.schemas.hook_answers import NewHookAnswer
from shared.schemas.requests import Body, ChangeProject
from shared.workflow import find
from shared.workflow.unit import Unit

ADMIN: Final = {"admin": True}
MESSAGES: Final = 8
TEST: Final = "test"
OF_A_HOOK: Final = (TEST, "rotate")

Made = Mapping[str, Any]


class Seen(Body, frozen=True):
    """The version of the project that was looked at."""

    version: int


@get(["/projects/{project_id:int}/settings", "/projects/{project_id:int}/settings/{part:str}"], opt=ADMIN)
async def show_settings(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    pages: NamedDependency[Pages],
    project_id: ProjectId,
    part: FromPath[str] = "",
) -> Page:
    """The forms of a project; under the address of a part, too, where somebody loads its answer again."""
    if part and part != TEST and part not in PARTS:
        raise NotFound(f"{part} is no part of a project's settings.")
    return await _page(request, desk, pages, project_id)


@post("/projects/{project_id:int}/settings", opt=ADMIN, status_code=200)
async def change_project(
    request: ApiRequest, desk: NamedDependency[Desk], pages: NamedDependency[Pages], project_id: ProjectId
) -> Response[Any]:
    """Change what was typed anew, and go to the project's page."""
    typed = await forms.typed_of(request)
    labels = forms.labels_of(project_form.inputs(desk.settings, new=False).values())

    def changed(unit: Unit) -> None:
        version = forms.read(Seen, {"version": typed.get("version", "")}).version
        present = find.project(unit.tx, unit.caller.project_id, project_id)
        fields = project_form.changes(typed, present, labels)
        if fields or version != present.version:
            change(unit, project_id, version, forms.read(ChangeProject, fields, labels), desk.settings)

    try:
        await desk.flow.run(request.user, changed)
    except Refusal as refusal:
        if wants_data(request):
            raise
        return await _page(request, desk, pages, project_id, "project", typed, refusal)
    return done(request, pages, f"{ROOT}/projects/{project_id}", leave=True)


@post("/projects/{project_id:int}/settings/{part:str}", opt=ADMIN, status_code=200)
async def make(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    pages: NamedDependency[Pages],
    project_id: ProjectId,
    part: FromPath[str],
) -> Response[Any]:
    """Do what a part's form asks for, and show what came of it, this once."""
    typed = await forms.typed_of(request)
    place = f"{ROOT}/projects/{project_id}/settings"
    try:
        made = await _made(request, desk, project_id, part, typed)
    except Refusal as refusal:
        if wants_data(request) or isinstance(refusal, NotFound):
            raise
        if part in OF_A_HOOK:
            return pages.show(request, "problem.html", refusal=refusal, back=place)
        return await _page(request, desk, pages, project_id, part, typed, refusal)
    if made is None:
        return done(request, pages, f"{place}#{part}")
    return pages.show(request, "made.html", part=part, place=place, **made)


async def _made(request: ApiRequest, desk: Desk, project_id: int, part: str, typed: Typed) -> Made | None:
    if part == TEST:
        result = await probe_hook(desk, request.user.project_id, project_id, access_forms.tested(typed))
        return {"result": result}
    if part not in PARTS:
        raise NotFound(f"{part} is no part of a project's settings.")
    return await desk.flow.run(request.user, lambda unit: PARTS[part](unit, desk, project_id, typed))


def _new_hook(unit: Unit, desk: Desk, project_id: int, typed: Typed) -> Made:
    return _hook(unit, desk, add_hook(unit, desk, project_id, access_forms.hook(typed)))


def _renewed_hook(unit: Unit, desk: Desk, project_id: int, typed: Typed) -> Made:
    hook_id, data = access_forms.rotation(typed, unit.now)
    return _hook(unit, desk, renew_hook(unit, desk, project_id, hook_id, data))


def _hook(unit: Unit, desk: Desk, hook: NewHookAnswer) -> Made:
    record = deliveries.get_hook(unit.tx, hook.id)
    if record is None:
        raise LookupError(f"hook {hook.id}")
    forge = at_the_forge(record, desk.settings.public_url, hook.scheme)
    return {"made": hook, "forge": forge, "field": secret_field(hook.provider, hook.scheme)}


def _new_token(unit: Unit, _: Desk, project_id: int, typed: Typed) -> Made:
    return {"made": add_token(unit, project_id, access_forms.token(typed, unit.now))}


def _kept_secret(unit: Unit, desk: Desk, project_id: int, typed: Typed) -> None:
    name, data = access_forms.secret(typed)
    keep_secret(unit, desk.vault, project_id, name, data)


def _new_notifier(unit: Unit, desk: Desk, project_id: int, typed: Typed) -> Made:
    return {"made": add_notifier(unit, desk, access_forms.notifier(typed), project_id)}


PARTS: Final[Mapping[str, Callable[[Unit, Desk, int, Typed], Made | None]]] = {
    "hooks": _new_hook,
    "rotate": _renewed_hook,
    "tokens": _new_token,
    "secrets": _kept_secret,
    "notifiers": _new_notifier,
}


async def _page(  # noqa: PLR0917  what the form that was refused was, beside the doors
    request: ApiRequest,
    desk: Desk,
    pages: Pages,
    project_id: int,
    at: str = "",
    typed: Typed | None = None,
    refusal: Refusal | None = None,
) -> Page:
    """All forms; the one `at` which something was refused with what was typed there, and why."""
    scope = request.user.project_id

    def read(tx: Tx) -> dict[str, Any]:
        record = find.project(tx, scope, project_id)
        return {
            "project": record,
            "typed": {**project_form.shown(record), "version": str(record.version)},
            "hooks": [showing.hook(tx, hook, desk.settings.public_url) for hook in deliveries.hooks_of(tx, project_id)],
            "tokens": [showing.token(each) for each in tokens.of_project(tx, project_id)],
            "secrets": [showing.secret(each) for each in table.secrets(tx, project_id)],
            "live": live(tx, project_id=project_id),
            **told(tx, project_id),
        }

    found = await desk.database.read(read)
    if at == "project" and typed is not None:
        found["typed"] |= typed
    return pages.show(
        request,
        "settings.html",
        refusal=refusal,
        inputs=project_form.inputs(desk.settings, new=False),
        at=at,
        tried=typed or {},
        public_url=desk.settings.public_url,
        back=f"{ROOT}/projects/{project_id}/settings",
        **found,
    )


def told(tx: Tx, project_id: int | None) -> dict[str, Any]:
    """Who is told of a project, or of all, each with the newest messages; and the form for one more."""
    rows = notices.notifiers(tx, project_id)
    messages = {
        each.id: [
            telling.notice(sent, ended=each.disabled_at is not None)
            for sent in notices.page(tx, each.id, before=LAST_ID, limit=MESSAGES)
        ]
        for each in rows
    }
    return {
        "notifiers": [telling.notifier(each) for each in rows],
        "messages": messages,
        "forms": access_forms.FORMS,
        "events": access_forms.EVENTS,
        "usual": access_forms.DEFAULT,
    }


ROUTES = [show_settings, change_project, make]
