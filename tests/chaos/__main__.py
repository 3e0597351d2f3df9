"""`make chaos`: kills everything again and again while protocol runs go on, and tells whether promises were kept."""

import argparse
import asyncio
import secrets
import signal
import sys
from collections import Counter

from rich.console import Console
from rich.table import Table

from tests.chaos.house import Outcome, Plan, weather
from tests.chaos.names import OUT_OF_REACH, all_points

TOLD = (
    "step_completed",
    "job_lost",
    "job_retry_scheduled",
    "job_parked",
    "attempt_killed",
    "late_result",
    "quota_parked",
    "quota_lifted",
    "delivery_applied",
    "delivery_ignored",
    "ci_failed",
    "step_repair_enqueued",
    "diverged",
    "branch_adopted",
    "pr_opened",
    "pr_merged",
    "mr_merged",
    "synced",
)
POINTS_IN_A_ROW = 2


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="plays the same faults again")
    parser.add_argument("--runs", type=int, default=54, help="protocol runs of four steps (default 54)")
    parser.add_argument("--kills", type=int, default=320, help="how often something is killed, at least (default 320)")
    parser.add_argument("--real", type=int, default=None, help="runs with the real Codex (default: a good half)")
    parser.add_argument("--short", action="store_true", help="8 runs and 30 kills, and not everything is reached")
    given = parser.parse_args(arguments)
    runs, kills = (8, 30) if given.short else (given.runs, given.kills)
    real = given.real if given.real is not None else (runs * 11 + 19) // 20
    console = Console()
    console.print(f"seed {given.seed}: at least {runs} runs, {real} of them with the real Codex, and {kills} kills")
    # As Ctrl-C: no process may outlive the harness.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan = Plan(seed=given.seed, runs=runs, kills=kills, real=real, thorough=not given.short)
    with console.status("The storm gathers.") as status:

        def tell(line: str) -> None:
            if console.is_terminal:
                status.update(line)
            else:
                console.print(line, highlight=False, soft_wrap=True)

        outcome = asyncio.run(weather(plan, tell))
    console.print(reached(outcome))
    console.print(summary(outcome, given.seed))
    for wrong in outcome.wrong:
        console.print("wrong:", style="red", end=" ")
        console.print(wrong, highlight=False, markup=False, soft_wrap=True)
    return 1 if outcome.wrong else 0


def summary(outcome: Outcome, seed: int) -> Table:
    table = Table("what", "count", title=f"chaos, seed {seed}")
    table.columns[1].justify = "right"
    _rows(table, "runs", outcome.ended)
    table.add_row("  of four steps with the real Codex", str(outcome.real))
    table.add_row("  of four steps at a forge", str(outcome.at_forge))
    _rows(table, "kills", outcome.kills)
    _rows(table, "other faults", outcome.faults)
    _rows(table, "what people did", outcome.controls)
    _rows(table, "felt, by the logs", outcome.felt)
    _rows(table, "events", Counter({event: outcome.events[event] for event in TOLD}))
    table.add_section()
    table.add_row("seconds", f"{outcome.seconds:.0f}")
    colour = "red" if outcome.wrong else "green"
    table.add_row(f"[bold {colour}]promises broken[/]", f"[bold {colour}]{len(outcome.wrong)}[/]")
    return table


def _rows(table: Table, head: str, counts: Counter[str]) -> None:
    table.add_section()
    table.add_row(f"[bold]{head}[/]", f"[bold]{counts.total()}[/]")
    for kind, count in sorted(counts.items()):
        table.add_row(f"  {kind}", str(count))


def reached(outcome: Outcome) -> Table:
    """Each failpoint with how often somebody died there."""
    names = sorted(all_points())
    missed = [name for name in names if not outcome.fired[name] and name not in OUT_OF_REACH]
    table = Table(title=f"{len(names) - len(missed)} of {len(names)} failpoints, by how often somebody died there")
    for _ in range(POINTS_IN_A_ROW):
        table.add_column("failpoint")
        table.add_column("deaths", justify="right")
    cells = [(name, str(outcome.fired[name])) if outcome.fired[name] else (f"[red]{name}[/]", "0") for name in names]
    for first in range(0, len(cells), POINTS_IN_A_ROW):
        table.add_row(*(text for cell in cells[first : first + POINTS_IN_A_ROW] for text in cell))
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
