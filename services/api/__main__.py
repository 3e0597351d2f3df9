"""Runs the API: `python -m services.api`."""

import sys

from services.api.app import create_app
from shared.redaction import Redactor
from shared.runtime import open_runtime, run_service, take_no_arguments
from shared.safety import effective_host
from shared.settings import Settings
from shared.web.server import announce, serve, stop_on_signals


async def main(settings: Settings, redactor: Redactor) -> None:
    """Serve until SIGTERM or SIGINT."""
    async with open_runtime(settings, "api", redactor=redactor) as doors:
        await serve(
            create_app(settings, doors.database, doors.flow, doors.queue, doors.vault),
            name="api",
            host=effective_host("api", settings),
            port=settings.api_port,
            grace_s=settings.grace_s,
            stop=stop_on_signals(),
            bound=announce,
        )


if __name__ == "__main__":
    take_no_arguments("services.api", "The REST API. It runs until SIGTERM or SIGINT.")
    sys.exit(run_service(main))
