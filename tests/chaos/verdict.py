"""What must be true after each run and in the end: in the database, at the origin, and in the process table."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from services.worker.codex.leftovers import scope_of
from shared.repository.database import Database, Tx
from shared.workflow.unit import Rules
from tests.chaos.runs import STEPS, Run
from tests.shared.workflow.invariants import broken
from tests.worker.git.stage import plain_git

SALVAGE = "refs/deksdenflow/salvage"


class Wrote(msgspec.Struct, frozen=True):
    """An entry of the fake agent's journal: which run wrote which part of which step."""

    run: str
    tree: str
    what: str
    resumed: bool


async def of_run(run: Run, database: Database, rules: Rules, workspaces: Path) -> list[str]:
    """What is wrong with a completed run; the invariants are those of the whole database at this instant."""
    wrong = await database.read(broken, rules)
    wrong.extend(await database.read(_rows, run))
    shas = await database.read(_accepted, run)
    wrong.extend(_commits(run, shas))
    if not run.real:
        attempts = await database.read(_attempts, run, scope_of(workspaces))
        wrong.extend(_kept(run, workspaces, attempts))
    return [f"run {run.number}: {each}" for each in wrong]


async def of_all(database: Database, folder: Path, acknowledged: list[str]) -> list[str]:
    """What is wrong in the end."""
    wrong = [f"two at once: {file.read_text()}" for file in sorted((folder / "overlaps").iterdir())]
    wrong.extend(await database.read(_whole, acknowledged))
    return wrong


def _rows(tx: Tx, run: Run) -> list[str]:
    return list(_rows_now(tx, run))


def _rows_now(tx: Tx, run: Run) -> Iterator[str]:
    protocol = (run.protocol_id,)
    if left := tx.rows(
        "SELECT id, kind, state FROM jobs WHERE protocol_id = ? AND state IN ('queued', 'running')", protocol
    ):
        yield f"open jobs {left}"
    if left := tx.rows(
        "SELECT attempts.id FROM attempts JOIN jobs ON jobs.id = attempts.job_id"
        " WHERE jobs.protocol_id = ? AND attempts.state = 'running'",
        protocol,
    ):
        yield f"open attempts {left}"
    succeeded = tx.rows(
        "SELECT attempts.id FROM attempts JOIN jobs ON jobs.id = attempts.job_id WHERE jobs.protocol_id = ?"
        " AND jobs.kind = 'execute_step_job' AND attempts.state = 'succeeded'",
        protocol,
    )
    if len(succeeded) != STEPS:
        yield f"{len(succeeded)} executions succeeded, not {STEPS}"
    if late := tx.rows(
        "SELECT id, attempt, max_attempts FROM jobs WHERE attempt > max_attempts AND protocol_id = ?", protocol
    ):
        yield f"more attempts than allowed: {late}"


def _accepted(tx: Tx, run: Run) -> list[tuple[int, str]]:
    """(step index, commit) of each `step_completed`, oldest first."""
    rows = tx.rows(
        "SELECT step_runs.step_index, events.metadata FROM events JOIN step_runs ON step_runs.id = events.step_id"
        " WHERE events.event_type = 'step_completed' AND events.protocol_id = ? ORDER BY events.id",
        (run.protocol_id,),
    )
    return [(row["step_index"], json.loads(row["metadata"])["sha"]) for row in rows]


def _commits(run: Run, accepted: list[tuple[int, str]]) -> Iterator[str]:
    """One commit for each accepted execution, in their order, and nothing else but the plan's."""
    log = plain_git(run.origin, "log", "--reverse", "--format=%H %s", f"main..{run.branch}").splitlines()
    ours = [(sha, subject) for sha, _, subject in (line.partition(" ") for line in log)]
    work = [sha for sha, subject in ours if not subject.endswith("/00]")]
    if [index for index, _ in accepted] != list(range(1, STEPS + 1)):
        yield f"the accepted executions are {accepted}"
    if work != [sha for _, sha in accepted]:
        yield f"the origin has {ours}, accepted were {accepted}"
    for index in range(1, STEPS + 1):
        text = plain_git(run.origin, "show", f"{run.branch}:step-{index:02d}.txt", check=False)
        if "whole" not in text:
            yield f"step {index} left {text!r}"


def _attempts(tx: Tx, run: Run, scope: str) -> dict[str, str]:
    """The state of each executing attempt by the marker of its processes."""
    rows = tx.rows(
        "SELECT attempts.job_id, attempts.token, attempts.state FROM attempts JOIN jobs ON jobs.id = attempts.job_id"
        " WHERE jobs.protocol_id = ? AND jobs.kind = 'execute_step_job'",
        (run.protocol_id,),
    )
    return {f"{scope}:{row['job_id']}/{row['token']}": row["state"] for row in rows}


def _kept(run: Run, workspaces: Path, attempts: dict[str, str]) -> Iterator[str]:
    """Whatever an attempt had written that was cut off is in a commit: an accepted one, or a salvaged one."""
    journal = workspaces.parent / "journal"
    lines = [msgspec.json.decode(text, type=Wrote) for file in journal.iterdir() if (text := file.read_bytes())]
    mine = [line for line in lines if line.run in attempts and line.what.startswith("wrote")]
    mirror = workspaces / "repos" / f"{run.project_id}.git"
    refs = plain_git(mirror, "for-each-ref", "--format=%(refname)", SALVAGE).splitlines()
    for line in mine:
        # One that was parked goes on in the same files, which its continuation overwrites.
        if attempts[line.run] in {"succeeded", "parked"}:
            continue
        where = [f"refs/heads/{run.branch}", *refs]
        said = plain_git(mirror, "grep", "-l", "-F", line.run, *where, check=False)
        if not said:
            yield f"{line.what} of {line.run} ({attempts[line.run]}) is in none of {where}"


def _whole(tx: Tx, acknowledged: list[str]) -> list[str]:
    wrong = [f"integrity: {row}" for row in tx.rows("PRAGMA integrity_check") if row["integrity_check"] != "ok"]
    stored = Counter(row["delivery_key"] for row in tx.rows("SELECT delivery_key FROM deliveries"))
    wrong.extend(f"delivery {key} was acknowledged and is not there" for key in acknowledged if not stored[key])
    wrong.extend(f"delivery {key} is there {count} times" for key, count in stored.items() if count > 1)
    wrong.extend(
        f"delivery {row['id']} has {row['count']} jobs that succeeded"
        for row in tx.rows(
            "SELECT deliveries.id, count(jobs.id) AS count FROM deliveries LEFT JOIN jobs ON jobs.delivery_id ="
            " deliveries.id AND jobs.state = 'succeeded' GROUP BY deliveries.id"
        )
        if row["count"] != 1
    )
    return wrong
