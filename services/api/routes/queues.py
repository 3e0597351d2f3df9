"""Routes of the queue: how much work waits, and every job."""

from typing import Annotated

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from services.api import showing
from services.api.auth import ApiRequest
from services.api.desk import Desk, Page
from services.api.params import DEFAULT_LIMIT, Cursor, JobId, Limit
from shared.repository import holds
from shared.repository import jobs as table
from shared.repository.database import Tx
from shared.schemas.answers import JobAnswer, QueuesAnswer
from shared.schemas.statuses import JobState
from shared.workflow import find

TAGS = ["queue"]

Status = Annotated[JobState | None, QueryParameter(description="Only those with this status.")]


@get("/queues", tags=TAGS)
async def read_queues(request: ApiRequest, desk: NamedDependency[Desk]) -> Response[QueuesAnswer]:
    """Count the jobs by type and status, and tell what holds them up."""
    scope = request.user.project_id
    return await desk.show(request, lambda tx: showing.queues(table.counts(tx, scope), holds.in_force(tx)))


@get("/queues/jobs", tags=TAGS)
async def list_jobs(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    status: Status = None,
) -> Response[list[JobAnswer]]:
    """List the jobs, newest first."""
    page = Page("jobs", limit, cursor)
    before, scope = page.before(), request.user.project_id

    def read(tx: Tx) -> list[JobAnswer]:
        rows = table.page(tx, project_id=scope, state=status, before=before, limit=limit + 1)
        return [showing.job(job) for job in rows]

    return await desk.list(request, page, read)


@get("/queues/jobs/{job_id:int}", tags=TAGS)
async def read_job(request: ApiRequest, desk: NamedDependency[Desk], job_id: JobId) -> Response[JobAnswer]:
    """Read one job."""
    scope = request.user.project_id
    return await desk.show(request, lambda tx: showing.job(find.job(tx, scope, job_id)))


ROUTES = [read_queues, list_jobs, read_job]
