"""Runs the worker: `python -m services.worker`."""

import sys

from services.worker.service import run_worker
from shared.redaction import Redactor
from shared.runtime import open_runtime, run_service, take_no_arguments
from shared.settings import Settings
from shared.web.server import announce, stop_on_signals


async def main(settings: Settings, redactor: Redactor) -> None:
    """Work until SIGTERM or SIGINT."""
    async with open_runtime(settings, "worker", redactor=redactor) as runtime:
        await run_worker(runtime, stop_on_signals(), allow_local=settings.allow_local_repos or False, bound=announce)


if __name__ == "__main__":
    take_no_arguments("services.worker", "Does the jobs: git, Codex, QA. It runs until SIGTERM or SIGINT.")
    sys.exit(run_service(main))
