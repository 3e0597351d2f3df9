"""Routes of attempts: what each Codex process did, its files, and the diff of a step."""

import asyncio
from typing import Annotated, Literal

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter

from services.api import showing
from services.api.attempt_files import CHUNK, Part, read_part
from services.api.auth import ApiRequest
from services.api.desk import Desk, Page
from services.api.params import DEFAULT_LIMIT, LAST_ID, AttemptId, Cursor, Limit, ProtocolId, StepId
from shared.errors import NotFound
from shared.repository import attempts as table
from shared.repository import runs
from shared.repository.database import Tx
from shared.schemas.answers import AttemptAnswer
from shared.schemas.records import Attempt
from shared.schemas.statuses import AttemptState
from shared.workflow import find

TAGS = ["attempts"]

PartName = Annotated[
    Literal["events", "prompt", "stderr", "diff"],
    QueryParameter(description="Codex's event stream, the prompt, its stderr, or the diff of its work."),
]
Offset = Annotated[int, QueryParameter(ge=0, le=LAST_ID, description="The first byte.")]
Size = Annotated[int, QueryParameter(ge=1, le=CHUNK, description="How many bytes at most.")]
Tail = Annotated[bool, QueryParameter(description="Count `offset` from the end: the last `limit` bytes before it.")]
State = Annotated[AttemptState | None, QueryParameter(description="Only those with this status.")]
TEXT = {200: ResponseSpec(str, description="The text.", media_type="text/plain")}


@get("/attempts", tags=TAGS)
async def list_attempts(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    status: State = None,
) -> Response[list[AttemptAnswer]]:
    """List all attempts, newest first."""
    page = Page("attempts", limit, cursor)
    before, scope = page.before(), request.user.project_id

    def read(tx: Tx) -> list[AttemptAnswer]:
        rows = table.page(tx, project_id=scope, state=status, before=before, limit=limit + 1)
        return [showing.attempt(attempt) for attempt in rows]

    return await desk.list(request, page, read)


@get("/protocols/{protocol_id:int}/attempts", tags=TAGS)
async def list_protocol_attempts(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    protocol_id: ProtocolId,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response[list[AttemptAnswer]]:
    """List a protocol's attempts, oldest first: planning, execution and QA."""
    page = Page("protocol-attempts", limit, cursor)
    after, scope = page.after(), request.user.project_id

    def read(tx: Tx) -> list[AttemptAnswer]:
        find.protocol(tx, scope, protocol_id)
        return [showing.attempt(each) for each in table.of_protocol(tx, protocol_id, after=after, limit=limit + 1)]

    return await desk.list(request, page, read)


@get("/steps/{step_id:int}/attempts", tags=TAGS)
async def list_step_attempts(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    step_id: StepId,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response[list[AttemptAnswer]]:
    """List a step's attempts, oldest first, its QA runs too."""
    page = Page("step-attempts", limit, cursor)
    after, scope = page.after(), request.user.project_id

    def read(tx: Tx) -> list[AttemptAnswer]:
        find.step(tx, scope, step_id)
        return [showing.attempt(each) for each in table.of_step(tx, step_id, after=after, limit=limit + 1)]

    return await desk.list(request, page, read)


@get("/attempts/{attempt_id:int}", tags=TAGS)
async def read_attempt(
    request: ApiRequest, desk: NamedDependency[Desk], attempt_id: AttemptId
) -> Response[AttemptAnswer]:
    """Read one attempt."""
    scope = request.user.project_id
    return await desk.show(lambda tx: showing.attempt(find.attempt(tx, scope, attempt_id)))


@get("/attempts/{attempt_id:int}/log", tags=TAGS, media_type="text/plain")
async def read_log(  # noqa: PLR0917  Litestar passes by name
    request: ApiRequest,
    desk: NamedDependency[Desk],
    attempt_id: AttemptId,
    part: PartName = "events",
    offset: Offset = 0,
    limit: Size = CHUNK,
    tail: Tail = False,  # noqa: FBT002  a query parameter
) -> Response[str]:
    """Read a file of an attempt as far as it is written, redacted; `X-Next-Offset` tells where to go on."""
    scope = request.user.project_id
    attempt = await desk.database.read(lambda tx: find.attempt(tx, scope, attempt_id))
    return await _text(desk, attempt, Part[part.upper()], offset=offset, limit=limit, tail=tail)


@get("/steps/{step_id:int}/diff", tags=TAGS, media_type="text/plain")
async def read_diff(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    step_id: StepId,
    offset: Offset = 0,
    limit: Size = CHUNK,
) -> Response[str]:
    """Read the diff of the step's last execution, as a patch."""
    scope = request.user.project_id

    def read(tx: Tx) -> Attempt:
        step = find.step(tx, scope, step_id)
        made = runs.made_by(tx, step_id, step.head_sha)
        if made is None:
            raise NotFound(f"Step {step.step_index} was not executed yet.", status_now=step.status)
        return made

    attempt = await desk.database.read(read)
    return await _text(desk, attempt, Part.DIFF, offset=offset, limit=limit, tail=False)


@get("/protocols/{protocol_id:int}/diff", tags=TAGS, media_type="text/plain")
async def read_branch_diff(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    protocol_id: ProtocolId,
    offset: Offset = 0,
    limit: Size = CHUNK,
) -> Response[str]:
    """Read what the branch changes as a whole, up to the last commit that an agent made on it, as a patch."""
    scope = request.user.project_id

    def read(tx: Tx) -> Attempt:
        protocol = find.protocol(tx, scope, protocol_id)
        made = runs.newest_commit(tx, protocol_id)
        if made is None:
            raise NotFound(f"Protocol {protocol.protocol_name} has no commit yet.", status_now=protocol.status)
        return made

    attempt = await desk.database.read(read)
    return await _text(desk, attempt, Part.BRANCH, offset=offset, limit=limit, tail=False)


async def _text(desk: Desk, attempt: Attempt, part: Part, *, offset: int, limit: int, tail: bool) -> Response[str]:
    piece = await asyncio.to_thread(
        read_part, desk.settings.workspaces_dir, attempt.directory, part, offset=offset, limit=limit, tail=tail
    )
    if piece is None:
        raise NotFound(f"Attempt {attempt.id} has no {part.value} (yet).", status_now=attempt.state)
    return Response(
        content=piece.text,
        media_type="text/plain",
        headers={"x-total-bytes": str(piece.total), "x-next-offset": str(piece.next)},
    )


ROUTES = [
    list_attempts,
    list_protocol_attempts,
    list_step_attempts,
    read_attempt,
    read_log,
    read_diff,
    read_branch_diff,
]
