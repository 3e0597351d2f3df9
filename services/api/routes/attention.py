"""Routes that tell how things stand: why something moves or does not, and what waits for somebody."""

from litestar import Response, get
from litestar.di import NamedDependency

from services.api import telling
from services.api.auth import ApiRequest
from services.api.desk import Desk
from services.api.params import ProtocolId, StepId
from shared.schemas.steering import ExplanationAnswer
from shared.workflow import explaining

TAGS = ["attention"]


@get("/protocols/{protocol_id:int}/explain", tags=TAGS)
async def explain_protocol(
    request: ApiRequest, desk: NamedDependency[Desk], protocol_id: ProtocolId
) -> Response[ExplanationAnswer]:
    """Tell why a protocol run moves or does not, whom it waits for, and what can be done now."""
    scope, rules = request.user.project_id, desk.flow.rules
    return await desk.show(
        request, lambda tx: telling.explanation(explaining.of_protocol(tx, scope, protocol_id, rules))
    )


@get("/steps/{step_id:int}/explain", tags=TAGS)
async def explain_step(
    request: ApiRequest, desk: NamedDependency[Desk], step_id: StepId
) -> Response[ExplanationAnswer]:
    """Tell why a step moves or does not, whom it waits for, and what can be done now."""
    scope, rules = request.user.project_id, desk.flow.rules
    return await desk.show(request, lambda tx: telling.explanation(explaining.of_step(tx, scope, step_id, rules)))


ROUTES = [explain_protocol, explain_step]
