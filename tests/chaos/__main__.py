"""`make chaos`: kills everything again and again while protocol runs go on, and tells whether promises were kept."""

import argparse
import asyncio
import secrets
import signal
import sys

from rich.console import Console
from rich.table import Table

from tests.chaos.house import Outcome, Plan, weather


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="plays the same faults again")
    parser.add_argument("--runs", type=int, default=60, help="protocol runs of four steps (default 60)")
    parser.add_argument("--kills", type=int, default=320, help="how often something is killed, at least (default 320)")
    parser.add_argument("--real", type=int, default=None, help="runs with the real Codex (default: a good half)")
    parser.add_argument("--short", action="store_true", help="8 runs and 30 kills")
    given = parser.parse_args(arguments)
    runs, kills = (8, 30) if given.short else (given.runs, given.kills)
    real = given.real if given.real is not None else (runs * 11 + 19) // 20
    console = Console()
    console.print(f"seed {given.seed}: at least {runs} runs, {real} of them with the real Codex, and {kills} kills")
    tty = console.is_terminal
    # As Ctrl-C: no process may outlive the harness.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcome = asyncio.run(
        weather(
            Plan(seed=given.seed, runs=runs, kills=kills, real=real),
            lambda line: console.print(line, end="\r" if tty else "\n", highlight=False, soft_wrap=True),
        )
    )
    console.print()
    console.print(summary(outcome, given.seed))
    for wrong in outcome.wrong:
        console.print(f"[red]wrong:[/] {wrong}", highlight=False, markup=True)
    return 1 if outcome.wrong else 0


def summary(outcome: Outcome, seed: int) -> Table:
    table = Table("what", "count", title=f"chaos, seed {seed}")
    table.columns[1].justify = "right"
    table.add_row("runs completed", str(outcome.completed))
    table.add_row("  of them with the real Codex", str(outcome.real))
    table.add_row("kills", str(outcome.kills.total()), end_section=False)
    for kind, count in sorted(outcome.kills.items()):
        table.add_row(f"  {kind}", str(count))
    table.add_row("other faults", str(outcome.faults.total()))
    for kind, count in sorted(outcome.faults.items()):
        table.add_row(f"  {kind}", str(count))
    for event in ("step_completed", "job_lost", "job_retry_scheduled", "job_parked", "late_result"):
        table.add_row(f"events: {event}", str(outcome.events[event]))
    table.add_row("failpoints that somebody died at", str(len(outcome.fired)))
    table.add_row("  not reached: " + (", ".join(outcome.unfired) or "none"), str(len(outcome.unfired)))
    table.add_row("seconds", f"{outcome.seconds:.0f}")
    table.add_row("promises broken", str(len(outcome.wrong)))
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
