"""The route that tells how all three services are, as the API sees them."""

import asyncio
from collections.abc import Mapping

from litestar import Response, get
from litestar.di import NamedDependency

from services.api.desk import Desk
from services.api.neighbours import neighbours
from shared.schemas.answers import CheckAnswer, ServiceAnswer, ServicesAnswer
from shared.web.health import Check, CheckNow, readiness


@get("/services", tags=["service"], opt={"admin": True})
async def read_services(
    desk: NamedDependency[Desk], checks: NamedDependency[Mapping[str, CheckNow]]
) -> Response[ServicesAnswer]:
    """Tell how the API, the webhook service and the worker are; the last two are asked on the API's own host alone."""
    own, others = await asyncio.gather(readiness(checks), neighbours(desk.settings))
    found = [ServiceAnswer(name="api", status=own.status, address=None, note="", checks=_told(own.checks))]
    found += [
        ServiceAnswer(name=each.name, status=each.state, address=each.asked, note=each.note, checks=_told(each.checks))
        for each in others
    ]
    return Response(ServicesAnswer(services=tuple(found)))


def _told(checks: Mapping[str, Check]) -> tuple[CheckAnswer, ...]:
    return tuple(CheckAnswer(name=name, ok=check.ok, detail=check.detail) for name, check in checks.items())


ROUTES = [read_services]
