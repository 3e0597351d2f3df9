"""The queue: the line, what holds it up, how much work there is, and every job."""

from collections import Counter
from typing import Any, Final

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from services.api import showing
from services.api.auth import ApiRequest
from services.api.console.filters import choice, number, offered, query
from services.api.console.pages import ROOT, Page, Pages, live
from services.api.console.text import words
from services.api.desk import LAST_ID, Desk
from shared.repository import jobs as table
from shared.repository.database import Tx
from shared.repository.labels import labels
from shared.schemas.statuses import JobKind, JobState
from shared.workflow import find

SHOWN: Final = 50
# What a kind of job does, where its name does not say so itself.
NAMES: Final[dict[str, str]] = {
    JobKind.PLAN: "planning",
    JobKind.EXECUTE: "execution",
    JobKind.QA: "QA",
    JobKind.OPEN_PR: "publishing",
    JobKind.DELIVERY: "delivery",
    JobKind.SYNC: "look at the forge",
}
KINDS: Final[dict[str, str]] = {kind: NAMES.get(kind, words(kind)) for kind in JobKind}


@get("/queue")
async def show_queue(  # noqa: PLR0917  Litestar passes by name
    request: ApiRequest,
    desk: NamedDependency[Desk],
    pages: NamedDependency[Pages],
    status: FromQuery[str] = "",
    job_type: FromQuery[str] = "",
    project_id: FromQuery[str] = "",
    before: FromQuery[str] = "",
) -> Page:
    """What runs, what waits and what came of the rest, newest first."""
    scope = request.user.project_id
    of_state, of_kind = choice("status", status, JobState), choice("job_type", job_type, JobKind)
    of_project, place = number("project_id", project_id), number("before", before)

    def read(tx: Tx) -> dict[str, Any]:
        seen = find.narrowed(tx, scope, of_project)
        rows = table.page(
            tx,
            project_id=seen,
            state=of_state,
            kind=of_kind,
            before=place or LAST_ID,
            limit=SHOWN + 1,
        )
        rows, more = rows[:SHOWN], len(rows) > SHOWN
        narrowed = {"status": status, "job_type": job_type, "project_id": project_id}
        counted = Counter({(row["kind"], row["state"]): row["count"] for row in table.counts(tx, seen)})
        return {
            "line": showing.line(tx),
            "counted": counted,
            "lag": table.oldest_due(tx),
            "rows": [(showing.job(job), job.owner, job.heartbeat) for job in rows],
            "labels": labels(
                tx,
                {job.project_id for job in rows},
                {job.protocol_id for job in rows},
                {job.step_id for job in rows},
            ),
            "filters": narrowed,
            "projects": offered(tx, scope),
            "older": f"{ROOT}/queue{query(**narrowed, before=rows[-1].id)}" if more else None,
            "live": live(tx),
        }

    found = await desk.database.read(read)
    return pages.show(
        request, "queue.html", kinds=KINDS, states=list(JobState), first=place is None, address=_address, **found
    )


def _address(filters: dict[str, str], **changed: str) -> str:
    return f"{ROOT}/queue{query(**(filters | changed))}"


ROUTES = [show_queue]
