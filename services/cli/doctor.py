"""The command that looks for what is wrong here, and says how to mend it."""

import sys

from cyclopts import App
from rich.text import Text

from services.cli.checks import Finding, examine_all
from services.cli.desk import new_console
from services.cli.ending import Exit
from services.cli.options import HERE, Called, Everywhere, Options
from services.cli.rest import as_json
from services.cli.text import line

_MARKS = {"ok": ("✔", "green"), "warn": ("!", "yellow"), "fail": ("✘", "red")}


def register(app: App) -> None:
    """Put the command into the program."""
    app.command(doctor, group=HERE)


async def doctor(*, options: Everywhere = None, caller: Called) -> Exit:
    """Check this machine, its settings and what they point to; each finding says how to mend it.

    It checks git, Codex with its login and sandbox, Redis, the database and its disk, the clock, the public address
    and the secrets, in the environment that it is called in: call it where the services run.
    """
    given = options or Options()
    found = await examine_all(caller.environment, given.api)
    failed = [each for each in found if each.state == "fail"]
    if given.json:
        sys.stdout.write(f"{as_json({'ok': not failed, 'findings': found})}\n")
    else:
        console = new_console(caller)
        for finding in found:
            console.print(_line(finding), soft_wrap=True)
        console.print(Text(f"{len(failed)} of {len(found)} failed" if failed else "Nothing is broken.", style="bold"))
    return Exit.FAILED if failed else Exit.OK


def _line(finding: Finding) -> Text:
    mark, style = _MARKS[finding.state]
    shown = Text.assemble((f"{mark} ", style), f"{finding.name:<10}", line(finding.text))
    if finding.state != "ok" and finding.fix:
        shown.append(f"\n  {'':10}→ {line(finding.fix)}", style="dim")
    return shown
