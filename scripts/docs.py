"""Writes the generated parts of the documentation: the state diagram, the settings, the routes and the commands."""

import asyncio
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from services.api.app import create_app  # noqa: E402  the tree is not installed, so its path comes first
from services.api.openapi import complete  # noqa: E402  likewise
from services.cli.app import build  # noqa: E402  likewise
from services.cli.ending import Exit  # noqa: E402  likewise
from shared.redaction import Redactor  # noqa: E402  likewise
from shared.runtime import open_runtime  # noqa: E402  likewise
from shared.settings import load_settings, settings_table  # noqa: E402  likewise
from shared.states.diagram import BEGIN, END, block  # noqa: E402  likewise

SETTINGS = """\
# Settings

All are read from the environment when a service starts; an unknown name with our prefix, or a value that is not
accepted, ends the start with one line. Those that hold a secret can be given as the name of a file with `_FILE` behind
the name. Written by `make docs`.

"""
ROUTES = """\
# Routes of the API

Written by `make docs` from the OpenAPI description, which a running service shows at `/docs` and `/openapi.json`. The
webhook service and the worker have `GET /health`, `GET /health/ready` and `GET /metrics` too; deliveries go to
`POST /webhooks/{github,gitlab,ci}/{hook_key}`.

"""
COMMANDS = """\
# The command line

Written by `make docs` from `deksdenflow --help`. Every command that asks the server also takes `--json`, which prints
the answers of the API instead of text, and `--api`, the address of the server.

## Exit codes

| code | what it tells |
|---|---|
"""


def generated() -> dict[Path, str]:
    """Every page with a generated part, as it should be."""
    readme = ROOT / "README.md"
    drawn = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    return {
        readme: drawn.sub(lambda _: block().strip(), readme.read_text(encoding="utf-8")),
        ROOT / "deploy" / "SETTINGS.md": SETTINGS + settings_table(),
        ROOT / "services" / "api" / "ROUTES.md": ROUTES + asyncio.run(_routes()),
        ROOT / "services" / "cli" / "COMMANDS.md": COMMANDS + _commands(),
    }


async def _routes() -> str:
    with tempfile.TemporaryDirectory() as folder:
        place = {"DEKSDENFLOW_DB_PATH": f"{folder}/docs.sqlite", "DEKSDENFLOW_REDIS_URL": "fakeredis://"}
        settings = load_settings(place, allow_fake=True)
        async with open_runtime(settings, "api", redactor=Redactor()) as doors:
            app = create_app(settings, doors.database, doors.flow, doors.queue, doors.vault)
            paths: dict[str, Any] = complete(app)["paths"]
    lines = ["| route | what it does |", "|---|---|"]
    for path, operations in sorted(paths.items()):
        lines += [
            f"| `{method.upper()} {path}` | {operation.get('description') or operation.get('summary', '')} |"
            for method, operation in operations.items()
        ]
    return "\n".join(" ".join(line.split()) for line in lines) + "\n"


def _commands() -> str:
    codes = "".join(f"| {code.value} | {code.meaning} |\n" for code in Exit)
    here = sys.argv[0]
    sys.argv[0] = "deksdenflow"  # the usage lines would name whatever program asks
    try:
        told = build().generate_docs(heading_level=2)
    finally:
        sys.argv[0] = here
    _, _, pages = told.partition("## Table of Contents")
    contents = pages[pages.index("**Give work") :]
    once = re.sub(r"\*\*With every command\*\*:\n\n(\* .*\n)+\n?", "", contents)
    return f"{codes}\n## Commands\n\n{once.strip()}\n"


def main() -> None:
    """Write the pages."""
    for path, content in generated().items():
        path.write_text(content, encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
