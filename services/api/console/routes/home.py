"""The first page: what needs somebody, what runs now, and the newest of everything."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from services.api import showing, telling
from services.api.attempt_files import Part, read_part
from services.api.auth import ApiRequest
from services.api.console import forms
from services.api.console.forms import Field
from services.api.console.pages import Page, Pages, live, own_place
from services.api.console.routes.acting import done
from services.api.desk import LAST_ID, Desk
from shared.repository import deliveries, overview, projects
from shared.repository.database import Row, Tx
from shared.schemas.steering import Resolve
from shared.schemas.transcript import Item, read_item, spoken
from shared.workflow import answering, attention
from shared.workflow.answering import Given
from shared.workflow.unit import Rules, Unit

SHOWN: Final = 10
# What needs somebody, for who asks for all of it.
ALL: Final = 100
ANSWERS: Final = {
    "feedback": Field(name="feedback", label="What is to be done differently", kind="text", needed=True),
    "reason": Field(name="reason", label="Why", needed=True),
    "sha": Field(name="sha", label="The commit that you have looked at", needed=True),
}
TAIL_BYTES: Final = 32_768


@get("/")
async def show_home(
    request: ApiRequest, desk: NamedDependency[Desk], pages: NamedDependency[Pages], needs: FromQuery[str] = ""
) -> Page:
    """What needs you (`needs=all` shows more of it), what runs now, protocols, deliveries, and the queue."""
    scope = request.user.project_id

    def read(tx: Tx) -> dict[str, Any]:
        line = showing.line(tx)
        runs = overview.protocols(tx, scope, before=LAST_ID, limit=2 * SHOWN + 1)
        return {
            "live": live(tx),
            "line": line,
            **needs_you(tx, scope, desk.flow.rules, ALL if needs == "all" else SHOWN),
            "running": overview.running(tx, scope, limit=SHOWN),
            "protocols": runs[: 2 * SHOWN],
            "older": len(runs) > 2 * SHOWN,
            "deliveries": [showing.delivery(each) for each in _deliveries(tx, scope)],
            "any_project": bool(overview.projects(tx, scope, after=0, limit=1)),
        }

    found = await desk.database.read(read)
    said = await asyncio.to_thread(last_words, desk.settings.workspaces_dir, found["running"])
    return pages.show(request, "home.html", said=said, **found)


def needs_you(tx: Tx, scope: int | None, rules: Rules, most: int) -> dict[str, Any]:
    """What waits for a person, the most urgent first, and how much there is of it."""
    found = attention.waiting(tx, scope, rules)
    shown = attention.whole(tx, found[:most], rules)
    names = projects.names(tx, {item.project_id for item in shown if item.project_id is not None})
    needs = [telling.attention(item, names.get(item.project_id or 0)) for item in shown]
    return {"needs": needs, "needing": len(found), "fields": ANSWERS}


@post("/attention/{item_id:str}/actions/{name:str}", status_code=200)
async def answer(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    pages: NamedDependency[Pages],
    item_id: FromPath[str],
    name: FromPath[str],
) -> Response[Any]:
    """Answer one thing that waits, by one of the ways that it accepts."""
    typed = await forms.typed_of(request)

    def verb(unit: Unit) -> object:
        fields = {key: typed.get(key, "") for key in (*ANSWERS, "version")} | {"action": name}
        data = forms.read(Resolve, fields, forms.labels_of(ANSWERS.values()))
        given = Given(feedback=data.feedback, reason=data.reason, sha=data.sha)
        return answering.resolve(unit, item_id, name, given, version=data.version)

    await desk.flow.run(request.user, verb)
    return done(request, pages, own_place(typed.get("back")))


def last_words(workspaces: Path, running: Sequence[Row]) -> dict[int, str]:
    """What each agent did or said last, in one line, by the id of its attempt."""
    return {each["id"]: _last_word(workspaces, each["directory"]) for each in running}


def _last_word(workspaces: Path, directory: str | None) -> str:
    piece = read_part(workspaces, directory, Part.EVENTS, offset=0, limit=TAIL_BYTES, tail=True)
    for line in reversed(piece.text.splitlines() if piece else ()):
        item = read_item(line.encode(), 0)
        if item is not None and (words := _in_words(item)):
            return words
    return ""


def _in_words(item: Item) -> str:
    match item.kind:
        case "command":
            return f"$ {_first_line(spoken(item))}"
        case "patch" | "message" | "reasoning" | "search" | "tool" | "warning" | "error":
            return _first_line(spoken(item))
        case _:
            return ""


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:200]


def _deliveries(tx: Tx, scope: int | None) -> Sequence[Any]:
    return deliveries.page(
        tx, project_id=scope, protocol_id=None, status=None, provider=None, event=None, before=LAST_ID, limit=SHOWN
    )


ROUTES = [show_home, answer]
