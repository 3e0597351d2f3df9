"""The command that looks for what is wrong here, and says how to mend it."""

import asyncio
import sys

from cyclopts import App
from rich.text import Text
from structlog.testing import capture_logs

from services.cli.desk import new_console
from services.cli.ending import Exit
from services.cli.findings import Finding
from services.cli.options import HERE, Called, Everywhere, Options
from services.cli.rest import as_json, find_connection
from services.cli.text import line

_MARKS = {"ok": ("✔", "green"), "warn": ("!", "yellow"), "fail": ("✘", "red")}


def register(app: App) -> None:
    """Put the command into the program."""
    app.command(doctor, group=HERE)


async def doctor(*, options: Everywhere = None, caller: Called) -> Exit:
    """Check this terminal's environment, and the server that it speaks to; each finding says how to mend it.

    Of this terminal: git, Codex with its login and sandbox, Redis, the database and its disk, the clock, the public
    address and the secrets, as a service that is started here would find them. Of the server: how its API, webhook
    service and worker are where they run.
    """
    # They bring what the services are made of, which no other command is to wait for.
    from services.cli.afar import examine_server  # noqa: PLC0415  see above
    from services.cli.checks import examine_terminal  # noqa: PLC0415  see above

    given = options or Options()
    # A finding says what the log of a service would.
    with capture_logs():
        here, there = await asyncio.gather(
            examine_terminal(caller.environment), examine_server(caller.environment, given.api)
        )
    found = [*here, *there]
    failed = [each for each in found if each.state == "fail"]
    if given.json:
        sys.stdout.write(f"{as_json({'ok': not failed, 'findings': found})}\n")
    else:
        console = new_console(caller)
        server = find_connection(caller.environment, given.api).url
        for title, some in (("This terminal, for what is started in it", here), (f"The server at {server}", there)):
            console.print(Text(line(title), style="bold"), soft_wrap=True)
            for finding in some:
                console.print(_line(finding), soft_wrap=True)
        console.print(Text(f"{len(failed)} of {len(found)} failed" if failed else "Nothing is broken.", style="bold"))
    return Exit.FAILED if failed else Exit.OK


def _line(finding: Finding) -> Text:
    mark, style = _MARKS[finding.state]
    shown = Text.assemble((f"{mark} ", style), f"{finding.name:<10}", line(finding.text))
    if finding.state != "ok" and finding.fix:
        shown.append(f"\n  {'':10}→ {line(finding.fix)}", style="dim")
    return shown
