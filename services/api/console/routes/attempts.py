"""One attempt: what the agent was told, what it did, what it used, and how it ended."""

import asyncio
from pathlib import Path
from typing import Annotated, Any, Final

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from services.api import showing
from services.api.attempt_files import Part, read_part
from services.api.auth import ApiRequest
from services.api.console import transcripts
from services.api.console.pages import Page, Pages, live
from services.api.console.sentences import pretty
from services.api.console.transcripts import plain
from services.api.desk import Desk
from services.api.params import LAST_ID, AttemptId
from shared.repository import jobs, protocols, steps
from shared.repository.database import Tx
from shared.workflow import find

PROMPT_BYTES: Final = 131_072
STDERR_BYTES: Final = 16_384

Place = Annotated[int, QueryParameter(ge=0, le=LAST_ID, description="A place in the attempt's event file.")]
Before = Annotated[
    int | None, QueryParameter(ge=0, le=LAST_ID, description="Only what stands before this place in the file.")
]


@get("/attempts/{attempt_id:int}")
async def show_attempt(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    pages: NamedDependency[Pages],
    attempt_id: AttemptId,
    before: Before = None,
) -> Page:
    """Everything about one attempt."""
    scope, folder = request.user.project_id, desk.settings.workspaces_dir

    def read(tx: Tx) -> dict[str, Any]:
        record = find.attempt(tx, scope, attempt_id)
        return {
            "live": live(tx, protocol_run_id=record.protocol_id),
            "record": record,
            "attempt": showing.attempt(record),
            "job": showing.job(jobs.expect(tx, record.job_id)),
            "protocol": protocols.expect(tx, record.protocol_id),
            "step": steps.get(tx, record.step_id) if record.step_id is not None else None,
        }

    found = await desk.database.read(read)
    record = found["record"]
    shown = await asyncio.to_thread(transcripts.last, folder, record.directory, limit=transcripts.SHOWN, before=before)
    texts = await asyncio.to_thread(_texts, folder, record.directory)
    return pages.show(
        request,
        "attempt.html",
        transcript=shown,
        newest=before is None,
        result=pretty(record.result) if record.result is not None else "",
        stderr=texts["stderr"] or plain((record.stderr_tail or "")[-STDERR_BYTES:]),
        prompt=texts["prompt"],
        **found,
    )


@get("/attempts/{attempt_id:int}/items")
async def show_items(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    pages: NamedDependency[Pages],
    attempt_id: AttemptId,
    after: Place = 0,
) -> Page:
    """What the agent did since, as a fragment that the page appends."""
    scope = request.user.project_id
    record = await desk.database.read(find.attempt, scope, attempt_id)
    news = await asyncio.to_thread(transcripts.news, desk.settings.workspaces_dir, record.directory, after=after)
    return pages.show(request, "items.html", transcript=news)


def _texts(workspaces: Path, directory: str | None) -> dict[str, str]:
    prompt = read_part(workspaces, directory, Part.PROMPT, offset=0, limit=PROMPT_BYTES, tail=False)
    stderr = read_part(workspaces, directory, Part.STDERR, offset=0, limit=STDERR_BYTES, tail=True)
    cut = prompt is not None and prompt.total > prompt.next
    return {
        "prompt": (prompt.text + ("\n… the rest is left out here." if cut else "")) if prompt else "",
        "stderr": plain(stderr.text) if stderr else "",
    }


ROUTES = [show_attempt, show_items]
