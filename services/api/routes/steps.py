"""Routes of steps: add, read, judge and every other action on them."""

from collections.abc import Callable
from typing import Annotated

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter

from services.api import showing
from services.api.auth import ApiRequest
from services.api.desk import Desk, Page, version_wanted
from services.api.params import DEFAULT_LIMIT, Cursor, Limit, ProtocolId, StepId
from shared.repository import steps as table
from shared.repository.database import Tx
from shared.schemas.answers import GateAnswer, StepAnswer
from shared.schemas.records import StepRun
from shared.schemas.requests import AddStep, ApproveStep, Because, Feedback, Nothing, RetryStep
from shared.workflow import find, steps
from shared.workflow.unit import Unit

TAGS = ["steps"]
VERSIONED = {"if_match": "accepted"}
NOTHING, APPROVE, RETRY = Nothing(), ApproveStep(), RetryStep()
ACTIONS = "/steps/{step_id:int}/actions"

Sha = Annotated[
    str | None, QueryParameter(pattern=r"^[0-9a-f]{40}$(?!\n)", description="Only those of this commit; default: all.")
]


@post("/protocols/{protocol_id:int}/steps", tags=TAGS, opt=VERSIONED)
async def add_step(
    request: ApiRequest, desk: NamedDependency[Desk], protocol_id: ProtocolId, data: JSONBody[AddStep]
) -> Response[StepAnswer]:
    """Add a step while the protocol is open; the plan gets a new revision. If-Match is the protocol's ETag."""
    version = version_wanted(request)

    def verb(unit: Unit) -> StepRun:
        return steps.add_step(
            unit,
            protocol_id,
            step_name=data.step_name,
            step_index=data.step_index,
            step_type=data.step_type,
            model=data.model,
            instructions=data.instructions,
            depends_on=data.depends_on,
            version=version,
        )

    return await _act(request, desk, verb, status=201, location="/steps")


@get("/protocols/{protocol_id:int}/steps", tags=TAGS)
async def list_steps(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    protocol_id: ProtocolId,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response[list[StepAnswer]]:
    """List a protocol's steps by index."""
    page = Page("steps", limit, cursor, by="step_index")
    after, scope = page.after(-1), request.user.project_id

    def read(tx: Tx) -> list[StepAnswer]:
        owner = find.protocol(tx, scope, protocol_id)
        return showing.some_steps(tx, owner, table.page(tx, protocol_id, after=after, limit=limit + 1))

    return await desk.list(request, page, read)


@get("/steps/{step_id:int}", tags=TAGS)
async def read_step(request: ApiRequest, desk: NamedDependency[Desk], step_id: StepId) -> Response[StepAnswer]:
    """Read one step."""
    scope = request.user.project_id
    return await desk.show(lambda tx: showing.step(tx, find.step(tx, scope, step_id)))


@get("/steps/{step_id:int}/gates", tags=TAGS)
async def list_gates(
    request: ApiRequest, desk: NamedDependency[Desk], step_id: StepId, sha: Sha = None
) -> Response[list[GateAnswer]]:
    """List the evidence for a step's commits, newest first."""
    scope = request.user.project_id

    def read(tx: Tx) -> list[GateAnswer]:
        find.step(tx, scope, step_id)
        return [showing.gate(gate) for gate in table.gates(tx, step_id, sha)]

    return await desk.list(request, Page("gates", 500, None, by="sha"), read)


@post(f"{ACTIONS}/run", tags=TAGS, opt=VERSIONED, status_code=202)
async def run(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    step_id: StepId,
    data: JSONBody[Nothing] = NOTHING,  # noqa: ARG001  refuses unknown fields
) -> Response[StepAnswer]:
    """Queue the execution of a pending or failed step."""
    version = version_wanted(request)
    return await _act(request, desk, lambda unit: steps.run_step(unit, step_id, version=version), status=202)


@post(f"{ACTIONS}/run_qa", tags=TAGS, opt=VERSIONED, status_code=202)
async def run_qa(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    step_id: StepId,
    data: JSONBody[Nothing] = NOTHING,  # noqa: ARG001  refuses unknown fields
) -> Response[StepAnswer]:
    """Queue a QA run on the commit of an executed step."""
    version = version_wanted(request)
    return await _act(request, desk, lambda unit: steps.run_qa(unit, step_id, version=version), status=202)


@post(f"{ACTIONS}/approve", tags=TAGS, opt=VERSIONED, status_code=200)
async def approve(
    request: ApiRequest, desk: NamedDependency[Desk], step_id: StepId, data: JSONBody[ApproveStep] = APPROVE
) -> Response[StepAnswer]:
    """Approve what the step has done; with a reason, even against open gates."""
    version = version_wanted(request)
    return await _act(
        request,
        desk,
        lambda unit: steps.approve_step(unit, step_id, sha=data.sha, reason=data.reason, version=version),
    )


@post(f"{ACTIONS}/reject", tags=TAGS, opt=VERSIONED, status_code=202)
async def reject(
    request: ApiRequest, desk: NamedDependency[Desk], step_id: StepId, data: JSONBody[Feedback]
) -> Response[StepAnswer]:
    """Send an executed step back with what was found."""
    version = version_wanted(request)
    return await _act(
        request,
        desk,
        lambda unit: steps.reject_step(unit, step_id, feedback=data.feedback, version=version),
        status=202,
    )


@post(f"{ACTIONS}/retry", tags=TAGS, opt=VERSIONED, status_code=202)
async def retry(
    request: ApiRequest, desk: NamedDependency[Desk], step_id: StepId, data: JSONBody[RetryStep] = RETRY
) -> Response[StepAnswer]:
    """Execute a failed or waiting step once more."""
    version = version_wanted(request)

    def verb(unit: Unit) -> StepRun:
        return steps.retry_step(
            unit, step_id, model=data.model, feedback=data.feedback, fresh=data.fresh, version=version
        )

    return await _act(request, desk, verb, status=202)


@post(f"{ACTIONS}/skip", tags=TAGS, opt=VERSIONED, status_code=200)
async def skip(
    request: ApiRequest, desk: NamedDependency[Desk], step_id: StepId, data: JSONBody[Because]
) -> Response[StepAnswer]:
    """Go on without the step; it counts as settled."""
    version = version_wanted(request)
    return await _act(request, desk, lambda unit: steps.skip_step(unit, step_id, reason=data.reason, version=version))


@post(f"{ACTIONS}/cancel", tags=TAGS, opt=VERSIONED, status_code=200)
async def cancel(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    step_id: StepId,
    data: JSONBody[Nothing] = NOTHING,  # noqa: ARG001  refuses unknown fields
) -> Response[StepAnswer]:
    """End an open step; what works on it is stopped."""
    version = version_wanted(request)
    return await _act(request, desk, lambda unit: steps.cancel_step(unit, step_id, version=version))


async def _act(
    request: ApiRequest,
    desk: Desk,
    verb: Callable[[Unit], StepRun],
    *,
    status: int = 200,
    location: str | None = None,
) -> Response[StepAnswer]:
    return await desk.act(request, lambda unit: showing.step(unit.tx, verb(unit)), status=status, location=location)


ROUTES = [add_step, list_steps, read_step, list_gates, run, run_qa, approve, reject, retry, skip, cancel]
