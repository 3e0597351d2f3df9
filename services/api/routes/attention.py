"""Routes that tell how things stand: why something moves or does not, and what waits for somebody."""

from typing import Annotated

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter

from services.api import telling
from services.api.auth import ApiRequest
from services.api.desk import Desk, Page, version_wanted
from services.api.params import DEFAULT_LIMIT, Cursor, Limit, OfProject, ProtocolId, StepId
from shared.repository import projects
from shared.repository.database import Tx
from shared.schemas.steering import AttentionAnswer, ExplanationAnswer, Resolve, ResolvedAnswer
from shared.workflow import answering, attention, explaining
from shared.workflow.answering import Given
from shared.workflow.unit import Unit

TAGS = ["attention"]
VERSIONED = {"if_match": "accepted"}

ItemId = Annotated[str, PathParameter(max_length=120, description="Id of what waits, such as p12.plan_approval.")]


@get("/protocols/{protocol_id:int}/explain", tags=TAGS)
async def explain_protocol(
    request: ApiRequest, desk: NamedDependency[Desk], protocol_id: ProtocolId
) -> Response[ExplanationAnswer]:
    """Tell why a protocol run moves or does not, whom it waits for, and what can be done now."""
    scope, rules = request.user.project_id, desk.flow.rules
    return await desk.show(lambda tx: telling.explanation(explaining.of_protocol(tx, scope, protocol_id, rules)))


@get("/steps/{step_id:int}/explain", tags=TAGS)
async def explain_step(
    request: ApiRequest, desk: NamedDependency[Desk], step_id: StepId
) -> Response[ExplanationAnswer]:
    """Tell why a step moves or does not, whom it waits for, and what can be done now."""
    scope, rules = request.user.project_id, desk.flow.rules
    return await desk.show(lambda tx: telling.explanation(explaining.of_step(tx, scope, step_id, rules)))


@get("/attention", tags=TAGS)
async def list_attention(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    project_id: OfProject = None,
) -> Response[list[AttentionAnswer]]:
    """List what waits for a person, each thing once: the most urgent first, then what waits longest."""
    page = Page("attention", limit, cursor)
    after, scope, rules = page.after(-1), request.user.project_id, desk.flow.rules

    def read(tx: Tx) -> tuple[list[AttentionAnswer], int | None]:
        found = [each for each in attention.waiting(tx, scope, rules, project_id) if each.place > after]
        shown = attention.whole(tx, found[:limit], rules)
        names = projects.names(tx, {item.project_id for item in shown if item.project_id is not None})
        told = [telling.attention(item, names.get(item.project_id or 0)) for item in shown]
        return told, found[limit - 1].place if len(found) > limit else None

    return desk.page(request, page, *await desk.database.read(read))


@post("/attention/{item_id:str}/actions/resolve", tags=TAGS, opt=VERSIONED, status_code=200)
async def resolve(
    request: ApiRequest, desk: NamedDependency[Desk], item_id: ItemId, data: JSONBody[Resolve]
) -> Response[ResolvedAnswer]:
    """Answer one thing by one of its actions, under the same guards as the action itself."""
    version = version_wanted(request) or data.version
    given = Given(feedback=data.feedback, reason=data.reason, sha=data.sha, model=data.model, fresh=data.fresh)

    def verb(unit: Unit) -> ResolvedAnswer:
        settled = answering.resolve(unit, item_id, data.action, given, version=version)
        return ResolvedAnswer(id=item_id, action=data.action, settled=settled)

    return await desk.act(request, verb)


ROUTES = [explain_protocol, explain_step, list_attention, resolve]
