"""Runs the webhook service: `python -m services.webhooks`."""

import sys
from collections.abc import Sequence

from services.webhooks.app import create_app
from shared.errors import StartupError
from shared.redaction import Redactor
from shared.repository import deliveries
from shared.runtime import open_runtime, run_service, take_no_arguments
from shared.safety import effective_host
from shared.schemas.records import Hook
from shared.settings import Settings
from shared.web.server import announce, serve, stop_on_signals


async def main(settings: Settings, redactor: Redactor) -> None:
    """Serve until SIGTERM or SIGINT."""
    async with open_runtime(settings, "webhooks", redactor=redactor) as doors:
        if not settings.is_local:
            _demand_secrets(await doors.database.read(deliveries.hooks_without_secret))
        await serve(
            create_app(settings, doors.database, doors.flow, doors.queue, doors.vault),
            name="webhooks",
            host=effective_host("webhooks", settings),
            port=settings.webhook_port,
            grace_s=settings.grace_s,
            stop=stop_on_signals(),
            bound=announce,
        )


def _demand_secrets(bare: Sequence[Hook]) -> None:
    """A hook that refuses everything is a mistake that the forge would find out first."""
    if bare:
        named = ", ".join(f"hook {hook.id} of project {hook.project_id}" for hook in bare)
        raise StartupError(f"no valid secret: {named}; rotate it by the API, or end it with DELETE")


if __name__ == "__main__":
    take_no_arguments("services.webhooks", "What forges deliver their webhooks to. It runs until SIGTERM or SIGINT.")
    sys.exit(run_service(main))
