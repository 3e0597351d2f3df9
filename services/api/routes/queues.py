"""Routes of the queue: how much work waits, and every job."""

from typing import Annotated

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter

from services.api import showing
from services.api.auth import ApiRequest
from services.api.desk import Desk, Page
from services.api.params import DEFAULT_LIMIT, Cursor, JobId, Limit, OfProject, OfProtocol
from shared.repository import holds
from shared.repository import jobs as table
from shared.repository.database import Tx
from shared.schemas.answers import JobAnswer, QueuesAnswer
from shared.schemas.requests import Nothing
from shared.schemas.statuses import JobKind, JobState
from shared.workflow import find, queue

TAGS = ["queue"]
NOTHING = Nothing()

Status = Annotated[JobState | None, QueryParameter(description="Only those with this status.")]
Type = Annotated[JobKind | None, QueryParameter(description="Only those of this type.")]


@get("/queues", tags=TAGS)
async def read_queues(request: ApiRequest, desk: NamedDependency[Desk]) -> Response[QueuesAnswer]:
    """Count the jobs by type and status, and tell what holds them up."""
    scope = request.user.project_id
    return await desk.show(lambda tx: showing.queues(table.counts(tx, scope), holds.in_force(tx)))


@get("/queues/jobs", tags=TAGS)
async def list_jobs(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    *,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    status: Status = None,
    job_type: Type = None,
    project_id: OfProject = None,
    protocol_run_id: OfProtocol = None,
) -> Response[list[JobAnswer]]:
    """List the jobs, newest first; of a status, a type, a project, a protocol run."""
    page = Page("jobs", limit, cursor)
    before, scope = page.before(), request.user.project_id

    def read(tx: Tx) -> list[JobAnswer]:
        rows = table.page(
            tx,
            project_id=find.narrowed(tx, scope, project_id, protocol_run_id),
            protocol_id=protocol_run_id,
            kind=job_type,
            state=status,
            before=before,
            limit=limit + 1,
        )
        return [showing.job(job) for job in rows]

    return await desk.list(request, page, read)


@get("/queues/jobs/{job_id:int}", tags=TAGS)
async def read_job(request: ApiRequest, desk: NamedDependency[Desk], job_id: JobId) -> Response[JobAnswer]:
    """Read one job."""
    scope = request.user.project_id
    return await desk.show(lambda tx: showing.job(find.job(tx, scope, job_id)))


@post("/queues/jobs/{job_id:int}/actions/cancel", tags=TAGS, status_code=200)
async def cancel_job(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    job_id: JobId,
    data: JSONBody[Nothing] = NOTHING,  # noqa: ARG001  refuses unknown fields
) -> Response[JobAnswer]:
    """End a queued or running job; what it was for stays open, as if it had failed, and can be retried."""
    return await desk.act(request, lambda unit: showing.job(queue.cancel_job(unit, job_id)))


@post("/queues/jobs/{job_id:int}/actions/retry", tags=TAGS, status_code=202)
async def retry_job(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    job_id: JobId,
    data: JSONBody[Nothing] = NOTHING,  # noqa: ARG001  refuses unknown fields
) -> Response[JobAnswer]:
    """Do what a failed or cancelled job was for once more; the answer is the new job."""
    return await desk.act(request, lambda unit: showing.job(queue.retry_job(unit, job_id)), status=202)


ROUTES = [read_queues, list_jobs, read_job, cancel_job, retry_job]
