"""The webhook service put together: its doors are handed in, so that it runs alone or beside the others."""

from litestar import Litestar

from services.webhooks.routes import Reception, webhook_routes
from shared.queue import Queue
from shared.repository.database import Clock, Database, wall_clock
from shared.security import Vault
from shared.settings import Settings
from shared.web.front import put_front
from shared.web.health import database_check, health_routes, redis_check
from shared.web.metrics import HttpMeter, metrics_route, new_registry
from shared.web.peers import FailureLimit, Peers
from shared.web.problems import problem_handlers
from shared.workflow.door import Workflow


def create_app(
    settings: Settings, database: Database, flow: Workflow, queue: Queue, vault: Vault, *, clock: Clock = wall_clock
) -> Litestar:
    """The app; it owns none of the doors and closes none."""
    bare = tuple(secret for secret in (settings.webhook_token, settings.webhook_token_previous) if secret is not None)
    reception = Reception(flow, vault, bare, clock, FailureLimit())
    registry = new_registry()
    app = Litestar(
        [
            *webhook_routes(reception),
            *health_routes({"database": database_check(database), "redis": redis_check(queue)}),
            metrics_route(registry, settings.api_token),
        ],
        exception_handlers=problem_handlers(),
        logging_config=None,
        openapi_config=None,
        request_max_body_size=0,  # nothing but a delivery has a body here
    )
    return put_front(app, meter=HttpMeter(registry), peers=Peers(settings.trusted_proxies))
