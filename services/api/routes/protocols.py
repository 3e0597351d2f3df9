"""Routes of protocol runs: open, read and every action on them."""

from collections.abc import Callable
from typing import Annotated, Literal

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter

from services.api import showing
from services.api.auth import ApiRequest
from services.api.desk import Desk, Page, version_wanted
from services.api.params import DEFAULT_LIMIT, LAST_ID, Cursor, Limit, OfProject, ProjectId, ProtocolId
from shared.errors import Invalid, NotFound
from shared.repository import protocols as table
from shared.repository.database import Tx
from shared.schemas.answers import JobAnswer, PlanAnswer, ProtocolAnswer, StepAnswer
from shared.schemas.records import Protocol
from shared.schemas.requests import (
    AdoptBranch,
    Because,
    Feedback,
    Nothing,
    OpenProtocol,
    PauseProtocol,
    StartProtocol,
    TriggerCi,
)
from shared.workflow import find, protocols, pulls
from shared.workflow import sync as syncs
from shared.workflow.unit import Unit

TAGS = ["protocols"]
VERSIONED = {"if_match": "accepted"}
NOTHING, START, PAUSE, TRIGGER = Nothing(), StartProtocol(), PauseProtocol(), TriggerCi()
ACTIONS = "/protocols/{protocol_id:int}/actions"

Revision = Annotated[int | None, QueryParameter(ge=1, le=LAST_ID, description="Which revision; default: the present.")]

Status = Annotated[
    Literal[
        "open", "pending", "planning", "planned", "running", "paused", "blocked", "failed", "cancelled", "completed"
    ]
    | None,
    QueryParameter(description="Only those with this status; `open` are all that are not over."),
]


@post("/projects/{project_id:int}/protocols", tags=TAGS)
async def open_protocol(
    request: ApiRequest, desk: NamedDependency[Desk], project_id: ProjectId, data: JSONBody[OpenProtocol]
) -> Response[ProtocolAnswer]:
    """Open a protocol run: one task on one branch of its own."""
    if data.protocol_name is None and not data.description.strip():
        raise Invalid("description: say what is to be done, or give a protocol_name and add the steps yourself.")

    def verb(unit: Unit) -> Protocol:
        return protocols.open_protocol(
            unit,
            project_id,
            protocol_name=data.protocol_name,
            description=data.description,
            base_branch=data.base_branch,
            model=data.model,
            policy_changes=data.policy.changes(),
        )

    return await _act(request, desk, verb, status=201, location="/protocols")


@get("/projects/{project_id:int}/protocols", tags=TAGS)
async def list_protocols(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    project_id: ProjectId,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response[list[ProtocolAnswer]]:
    """List a project's protocol runs, oldest first."""
    page = Page("protocols", limit, cursor)
    after, scope = page.after(), request.user.project_id

    def read(tx: Tx) -> list[ProtocolAnswer]:
        find.project(tx, scope, project_id)
        return showing.some_protocols(tx, table.page(tx, project_id, after=after, limit=limit + 1))

    return await desk.list(request, page, read)


@get("/protocols", tags=TAGS)
async def list_all_protocols(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    project_id: OfProject = None,
    status: Status = None,
) -> Response[list[ProtocolAnswer]]:
    """List the protocol runs, newest first; a project token sees its project's."""
    page = Page("all-protocols", limit, cursor)
    before, scope = page.before(), request.user.project_id

    def read(tx: Tx) -> list[ProtocolAnswer]:
        wanted = find.narrowed(tx, scope, project_id)
        return showing.some_protocols(
            tx, table.newest(tx, project_id=wanted, status=status, before=before, limit=limit + 1)
        )

    return await desk.list(request, page, read)


@get("/protocols/{protocol_id:int}", tags=TAGS)
async def read_protocol(
    request: ApiRequest, desk: NamedDependency[Desk], protocol_id: ProtocolId
) -> Response[ProtocolAnswer]:
    """Read one protocol run, with the tokens that it has used."""
    scope = request.user.project_id
    return await desk.show(lambda tx: showing.protocol(tx, find.protocol(tx, scope, protocol_id)))


@get("/protocols/{protocol_id:int}/plan", tags=TAGS)
async def read_plan(
    request: ApiRequest, desk: NamedDependency[Desk], protocol_id: ProtocolId, revision: Revision = None
) -> Response[PlanAnswer]:
    """Read the plan: its text and its files."""
    scope = request.user.project_id

    def read(tx: Tx) -> PlanAnswer:
        protocol = find.protocol(tx, scope, protocol_id)
        plan = table.plan(tx, protocol_id, revision or protocol.plan_revision)
        if plan is None:
            raise NotFound(f"Protocol {protocol.protocol_name} has no such plan.", status_now=protocol.status)
        return showing.plan(plan)

    return await desk.show(read)


@post(f"{ACTIONS}/start", tags=TAGS, opt=VERSIONED, status_code=202)
async def start(
    request: ApiRequest, desk: NamedDependency[Desk], protocol_id: ProtocolId, data: JSONBody[StartProtocol] = START
) -> Response[ProtocolAnswer]:
    """Queue the planning, or take the steps that were added by hand as the plan."""
    version = version_wanted(request)
    return await _act(
        request,
        desk,
        lambda unit: protocols.start_protocol(unit, protocol_id, plan=data.plan, version=version),
        status=202,
    )


@post(f"{ACTIONS}/approve_plan", tags=TAGS, opt=VERSIONED, status_code=200)
async def approve_plan(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    protocol_id: ProtocolId,
    data: JSONBody[Nothing] = NOTHING,  # noqa: ARG001  refuses unknown fields
) -> Response[ProtocolAnswer]:
    """Open the plan that waits for its approval."""
    version = version_wanted(request)
    return await _act(request, desk, lambda unit: protocols.approve_plan(unit, protocol_id, version=version))


@post(f"{ACTIONS}/reject_plan", tags=TAGS, opt=VERSIONED, status_code=202)
async def reject_plan(
    request: ApiRequest, desk: NamedDependency[Desk], protocol_id: ProtocolId, data: JSONBody[Feedback]
) -> Response[ProtocolAnswer]:
    """Have it planned again with this feedback."""
    version = version_wanted(request)
    return await _act(
        request,
        desk,
        lambda unit: protocols.reject_plan(unit, protocol_id, feedback=data.feedback, version=version),
        status=202,
    )


@post(f"{ACTIONS}/pause", tags=TAGS, opt=VERSIONED, status_code=200)
async def pause(
    request: ApiRequest, desk: NamedDependency[Desk], protocol_id: ProtocolId, data: JSONBody[PauseProtocol] = PAUSE
) -> Response[ProtocolAnswer]:
    """Start nothing new; what runs finishes and counts, or is parked."""
    version = version_wanted(request)
    return await _act(
        request, desk, lambda unit: protocols.pause_protocol(unit, protocol_id, mode=data.mode, version=version)
    )


@post(f"{ACTIONS}/resume", tags=TAGS, opt=VERSIONED, status_code=200)
async def resume(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    protocol_id: ProtocolId,
    data: JSONBody[Nothing] = NOTHING,  # noqa: ARG001  refuses unknown fields
) -> Response[ProtocolAnswer]:
    """Go on from where its plan and steps stand now."""
    version = version_wanted(request)
    return await _act(request, desk, lambda unit: protocols.resume_protocol(unit, protocol_id, version=version))


@post(f"{ACTIONS}/unblock", tags=TAGS, opt=VERSIONED, status_code=200)
async def unblock(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    protocol_id: ProtocolId,
    data: JSONBody[Nothing] = NOTHING,  # noqa: ARG001  refuses unknown fields
) -> Response[ProtocolAnswer]:
    """Go on, since the cause of the block was removed."""
    version = version_wanted(request)
    return await _act(request, desk, lambda unit: protocols.unblock_protocol(unit, protocol_id, version=version))


@post(f"{ACTIONS}/cancel", tags=TAGS, opt=VERSIONED, status_code=200)
async def cancel(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    protocol_id: ProtocolId,
    data: JSONBody[Nothing] = NOTHING,  # noqa: ARG001  refuses unknown fields
) -> Response[ProtocolAnswer]:
    """End it for good: open steps become cancelled, what runs is stopped, late results change nothing."""
    version = version_wanted(request)
    return await _act(request, desk, lambda unit: protocols.cancel_protocol(unit, protocol_id, version=version))


@post(f"{ACTIONS}/fail", tags=TAGS, opt=VERSIONED, status_code=200)
async def fail(
    request: ApiRequest, desk: NamedDependency[Desk], protocol_id: ProtocolId, data: JSONBody[Because]
) -> Response[ProtocolAnswer]:
    """Give a blocked protocol run up for good."""
    version = version_wanted(request)
    return await _act(
        request, desk, lambda unit: protocols.fail_protocol(unit, protocol_id, reason=data.reason, version=version)
    )


@post(f"{ACTIONS}/run_next_step", tags=TAGS, opt=VERSIONED, status_code=202)
async def run_next_step(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    protocol_id: ProtocolId,
    data: JSONBody[Nothing] = NOTHING,  # noqa: ARG001  refuses unknown fields
) -> Response[StepAnswer]:
    """Queue the lowest step that waits for its start; the answer is that step. If-Match is the protocol's ETag."""
    version = version_wanted(request)

    def verb(unit: Unit) -> StepAnswer:
        return showing.step(unit.tx, protocols.run_next_step(unit, protocol_id, version=version))

    return await desk.act(request, verb, status=202)


@post(f"{ACTIONS}/retry_latest", tags=TAGS, opt=VERSIONED, status_code=202)
async def retry_latest(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    protocol_id: ProtocolId,
    data: JSONBody[Nothing] = NOTHING,  # noqa: ARG001  refuses unknown fields
) -> Response[StepAnswer]:
    """Queue the failed step that the others wait for; the answer is that step. If-Match is the protocol's ETag."""
    version = version_wanted(request)

    def verb(unit: Unit) -> StepAnswer:
        return showing.step(unit.tx, protocols.retry_latest(unit, protocol_id, version=version))

    return await desk.act(request, verb, status=202)


@post(f"{ACTIONS}/open_pr", tags=TAGS, opt=VERSIONED, status_code=202)
async def open_pr(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    protocol_id: ProtocolId,
    data: JSONBody[Nothing] = NOTHING,  # noqa: ARG001  refuses unknown fields
) -> Response[JobAnswer]:
    """Queue the publishing of the branch as it stands; the answer is the job."""
    version = version_wanted(request)
    return await desk.act(
        request, lambda unit: showing.job(protocols.open_pr(unit, protocol_id, version=version)), status=202
    )


@post(f"{ACTIONS}/adopt", tags=TAGS, status_code=200)
async def adopt(
    request: ApiRequest, desk: NamedDependency[Desk], protocol_id: ProtocolId, data: JSONBody[AdoptBranch]
) -> Response[ProtocolAnswer]:
    """Go on from what somebody else pushed to the branch; `sha` is the commit that was looked at."""
    return await _act(request, desk, lambda unit: pulls.adopt_branch(unit, protocol_id, data.sha))


@post(f"{ACTIONS}/reset", tags=TAGS, status_code=202)
async def reset(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    protocol_id: ProtocolId,
    data: JSONBody[Nothing] = NOTHING,  # noqa: ARG001  refuses unknown fields
) -> Response[JobAnswer]:
    """Queue the return of the origin's branch to our last commit; what was seen there of others is given up.

    A commit that came since is not: the job fails then, and the protocol run stays blocked.
    """
    return await desk.act(request, lambda unit: showing.job(pulls.reset_branch(unit, protocol_id)), status=202)


@post(f"{ACTIONS}/sync", tags=TAGS, status_code=202)
async def sync(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    protocol_id: ProtocolId,
    data: JSONBody[Nothing] = NOTHING,  # noqa: ARG001  refuses unknown fields
) -> Response[JobAnswer]:
    """Look at the forge now, for deliveries that never came; the answer is the job."""
    return await desk.act(request, lambda unit: showing.job(syncs.sync_protocol(unit, protocol_id)), status=202)


@post(f"{ACTIONS}/trigger_ci", tags=TAGS, status_code=202)
async def trigger_ci(
    request: ApiRequest, desk: NamedDependency[Desk], protocol_id: ProtocolId, data: JSONBody[TriggerCi] = TRIGGER
) -> Response[JobAnswer]:
    """Ask the forge for a CI run of the branch; the answer is the job, and the event `ci_triggered` has its address."""

    def verb(unit: Unit) -> JobAnswer:
        return showing.job(syncs.trigger_ci(unit, protocol_id, workflow=data.workflow, inputs=data.inputs))

    return await desk.act(request, verb, status=202)


async def _act(
    request: ApiRequest,
    desk: Desk,
    verb: Callable[[Unit], Protocol],
    *,
    status: int = 200,
    location: str | None = None,
) -> Response[ProtocolAnswer]:
    def act(unit: Unit) -> ProtocolAnswer:
        return showing.protocol(unit.tx, verb(unit))

    return await desk.act(request, act, status=status, location=location)


ROUTES = [
    open_protocol,
    list_protocols,
    list_all_protocols,
    read_protocol,
    read_plan,
    start,
    approve_plan,
    reject_plan,
    pause,
    resume,
    unblock,
    cancel,
    fail,
    run_next_step,
    retry_latest,
    open_pr,
    adopt,
    reset,
    sync,
    trigger_ci,
]
