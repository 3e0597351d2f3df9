"""What must be true after each run and in the end: in the database, at the origin, and in the process table."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from services.local.demo.check import agent_processes
from services.worker.codex.leftovers import RUN_VARIABLE, scope_of
from shared.repository.database import Database, Tx
from shared.workflow.unit import Rules
from tests.chaos.controls import ONCE_MORE, WITHOUT_WORK
from tests.chaos.outside import THEIRS, Place
from tests.chaos.runs import STEPS, Run
from tests.shared.workflow.invariants import broken
from tests.worker.git.stage import plain_git

SALVAGE = "refs/deksdenflow/salvage"
STARTS = ("planning_started", "step_started", "qa_started")
# What may still be said of a run after it was cancelled: of its steps at once, then of what had to be stopped; and what
# a forge tells, which is known to come too late.
AFTER_CANCEL = ("step_cancelled", "attempt_killed", "late_result")


class Wrote(msgspec.Struct, frozen=True):
    """An entry of the fake agent's journal: which run wrote which part of which step."""

    run: str
    tree: str
    what: str
    resumed: bool


async def of_run(run: Run, status: str, database: Database, rules: Rules, workspaces: Path) -> list[str]:
    """What is wrong with a run that ended; the invariants are those of the whole database at this instant."""
    wrong = await database.read(broken, rules)
    if run.place is not None:
        run.repairs.update(await database.read(_repairs, run))
        wrong.extend(await database.read(at_forge, run, run.place, status))
    wrong.extend(await database.read(rows_of, run, status))
    shas = await database.read(_accepted, run)
    wrong.extend(commits(run, status, shas))
    marks = await database.read(_attempts, run, scope_of(workspaces))
    # One that was cancelled at once may not even have its mirror.
    if not run.real and (workspaces / "repos" / f"{run.project_id}.git").is_dir():
        cancelled = {mark for mark, state in marks.items() if state == "cancelled"}
        wrong.extend(_kept(run, workspaces, {mark: state for mark, state in marks.items() if mark not in cancelled}))
        wrong.extend(_not_lost(run, workspaces, cancelled))
    wrong.extend(f"process {pid} is left" for pid in agent_processes(workspaces) if _mark_of(pid) in marks)
    return [f"run {run.number} ({dict(run.told)}): {each}" for each in wrong]


def all_four(run: Run, status: str) -> bool:
    """Whether each of its steps was executed to the end."""
    return status == "completed" and not any(WITHOUT_WORK & told.keys() for told in run.steps.values())


async def of_all(database: Database, folder: Path, acknowledged: list[str]) -> list[str]:
    """What is wrong in the end."""
    wrong = [f"two at once: {file.read_text()}" for file in sorted((folder / "overlaps").iterdir())]
    wrong.extend(await database.read(whole, acknowledged))
    wrong.extend(await database.read(held))
    return wrong


async def at_rest(run: Run, database: Database) -> bool:
    """Whether nothing works for it any more."""
    return not await database.read(_open_jobs, run)


def _mark_of(pid: int) -> str:
    """The marker of the hold of a job that a process belongs to."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    return next((each.partition("=")[2] for each in environ if each.startswith(f"{RUN_VARIABLE}=")), "")


def _due(run: Run, status: str, index: int) -> tuple[int, int]:
    """How often a step must and may have been executed and accepted, for all that people did to it."""
    told = run.steps.get(index, Counter[str]())
    sure, maybe = run.repairs.get(index, (0, 0))
    due = 1 + sum(told[each] for each in ONCE_MORE) + sure
    least = 0 if status == "cancelled" or WITHOUT_WORK & told.keys() else due
    return least, due + maybe


def _open_jobs(tx: Tx, run: Run) -> list[dict[str, object]]:
    return list(
        tx.rows(
            "SELECT id, kind, state FROM jobs WHERE protocol_id = ? AND state IN ('queued', 'running')",
            (run.protocol_id,),
        )
    )


def _repairs(tx: Tx, run: Run) -> dict[int, tuple[int, int]]:
    """By step: how often a red commit had it repaired, and how often one failed it, so that it may be done again."""
    rows = tx.rows(
        "SELECT step_runs.step_index, sum(event_type = 'step_repair_enqueued') AS sure,"
        " sum(event_type = 'step_failed' AND events.reason = 'ci_failed') AS maybe FROM events"
        " JOIN step_runs ON step_runs.id = events.step_id WHERE events.protocol_id = ? GROUP BY step_index",
        (run.protocol_id,),
    )
    return {row["step_index"]: (row["sure"], row["maybe"]) for row in rows}


def at_forge(tx: Tx, run: Run, place: Place, status: str) -> list[str]:
    """What is wrong with a run's PR, and with what the forge's words led to."""
    return list(_pull_now(tx, run, place, status))


def _pull_now(tx: Tx, run: Run, place: Place, status: str) -> Iterator[str]:
    pulls = list(place.repository.pulls.values())
    # The push of who was not let in is no PR either.
    least = status == "completed" and not place.theirs
    if not least <= len(pulls) <= 1:
        yield f"it has {len(pulls)} PRs"
    for pull in pulls:
        comments = [comment for comment in pull.comments if comment.mine]
        if not least <= len(comments) <= 1:
            yield f"#{pull.number} has the comments {comments}"
    (now,) = tx.rows("SELECT pr_number, pr_state, head_sha FROM protocol_runs WHERE id = ?", (run.protocol_id,))
    there = pulls[-1].state if pulls else None
    # One that is over is not looked at any more.
    if now["pr_state"] != there and (status == "completed" and not place.closed):
        yield f"its PR is {there} at the forge, and {now['pr_state']} here"
    once = tx.rows(
        "SELECT event_type, count(*) AS count FROM events WHERE protocol_id = ? AND event_type IN"
        " ('pr_opened', 'pr_ready', 'pr_merged', 'mr_merged', 'protocol_completed') GROUP BY event_type",
        (run.protocol_id,),
    )
    yield from (f"{row['event_type']} was said {row['count']} times" for row in once if row["count"] > 1)
    repaired = Counter(
        row["sha"]
        for row in tx.rows(
            "SELECT metadata ->> 'sha' AS sha FROM events WHERE protocol_id = ?"
            " AND event_type = 'step_repair_enqueued'",
            (run.protocol_id,),
        )
    )
    yield from (f"{sha} was repaired {count} times" for sha, count in repaired.items() if count > 1)
    yield from (f"{sha} was repaired and is not red" for sha in repaired if sha not in place.red)


def rows_of(tx: Tx, run: Run, status: str) -> list[str]:
    """What is wrong with the rows of a run that ended with this status."""
    return list(_rows_now(tx, run, status))


def _rows_now(tx: Tx, run: Run, status: str) -> Iterator[str]:
    protocol = (run.protocol_id,)
    if left := _open_jobs(tx, run):
        yield f"open jobs {left}"
    if left := tx.rows(
        "SELECT attempts.id FROM attempts JOIN jobs ON jobs.id = attempts.job_id"
        " WHERE jobs.protocol_id = ? AND attempts.state = 'running'",
        protocol,
    ):
        yield f"open attempts {left}"
    succeeded = Counter(
        row["step_index"]
        for row in tx.rows(
            "SELECT step_runs.step_index FROM attempts JOIN jobs ON jobs.id = attempts.job_id"
            " JOIN step_runs ON step_runs.id = jobs.step_id WHERE jobs.protocol_id = ?"
            " AND jobs.kind = 'execute_step_job' AND attempts.state = 'succeeded'",
            protocol,
        )
    )
    yield from _counted(run, status, succeeded, "executions that succeeded")
    if late := tx.rows(
        "SELECT id, attempt, max_attempts FROM jobs WHERE attempt > max_attempts AND protocol_id = ?", protocol
    ):
        yield f"more attempts than allowed: {late}"
    (now,) = tx.rows("SELECT status FROM protocol_runs WHERE id = ?", protocol)
    if now["status"] != status:
        yield f"it was {status} and is {now['status']}"
    if status == "cancelled":
        after = tx.rows(
            "SELECT event_type, from_status, to_status FROM events WHERE protocol_id = ?1"
            " AND metadata ->> 'after_terminal' IS NULL AND id >"
            " (SELECT id FROM events WHERE protocol_id = ?1 AND event_type = 'cancelled')",
            protocol,
        )
        yield from (f"after the cancel came {row}" for row in after if row["event_type"] not in AFTER_CANCEL)


def _counted(run: Run, status: str, counts: Counter[int], what: str) -> Iterator[str]:
    for index in range(1, STEPS + 1):
        least, most = _due(run, status, index)
        if not least <= counts[index] <= most:
            yield f"step {index} has {counts[index]} {what}, not {least} to {most}"


def _accepted(tx: Tx, run: Run) -> list[tuple[int, str]]:
    """(step index, commit) of each `step_completed`, oldest first."""
    rows = tx.rows(
        "SELECT step_runs.step_index, events.metadata FROM events JOIN step_runs ON step_runs.id = events.step_id"
        " WHERE events.event_type = 'step_completed' AND events.protocol_id = ? ORDER BY events.id",
        (run.protocol_id,),
    )
    return [(row["step_index"], json.loads(row["metadata"])["sha"]) for row in rows]


def commits(run: Run, status: str, accepted: list[tuple[int, str]]) -> Iterator[str]:
    """One commit for each accepted execution, in their order, and nothing else but the plan's.

    What was cancelled between its push and its report leaves a commit that nobody accepted.
    """
    branch = f"refs/heads/{run.branch}"
    there = plain_git(run.origin, "rev-parse", "--verify", "--quiet", branch, check=False)
    log = (
        plain_git(run.origin, "log", "--reverse", "--format=%H %s", f"{run.base}..{branch}").splitlines()
        if there
        else []
    )
    ours = [(sha, subject) for sha, _, subject in (line.partition(" ") for line in log)]
    work = [sha for sha, subject in ours if not subject.endswith("/00]") and not (run.place and subject == THEIRS)]
    indices = [index for index, _ in accepted]
    if indices != sorted(indices):
        yield f"the accepted executions are {accepted}"
    yield from _counted(run, status, Counter(indices), "accepted executions")
    shas = [sha for _, sha in accepted]
    # What was pushed and not told yet when a stranger went on from there is nobody's either.
    lost = sum(count for told, count in run.told.items() if told.startswith("cancel") or told == "adopt branch")
    if [sha for sha in work if sha in shas] != shas or len(work) - len(shas) > lost:
        yield f"the origin has {ours}, accepted were {accepted}"
    for index in range(1, STEPS + 1):
        text = plain_git(run.origin, "show", f"{branch}:step-{index:02d}.txt", check=False)
        if _due(run, status, index)[0] and "whole" not in text:
            yield f"step {index} left {text!r}"


def _attempts(tx: Tx, run: Run, scope: str) -> dict[str, str]:
    """The state of each attempt by the marker of its processes; `cancelled` for all of a job that was."""
    rows = tx.rows(
        "SELECT attempts.job_id, attempts.token,"
        " iif(jobs.state = 'cancelled', jobs.state, attempts.state) AS state"
        " FROM attempts JOIN jobs ON jobs.id = attempts.job_id"
        " WHERE jobs.protocol_id = ?",
        (run.protocol_id,),
    )
    return {f"{scope}:{row['job_id']}/{row['token']}": row["state"] for row in rows}


def _not_lost(run: Run, workspaces: Path, cancelled: set[str]) -> Iterator[str]:
    """What the last attempt of a cancelled job had written is in a commit, or in the files as it left them."""
    mirror = workspaces / "repos" / f"{run.project_id}.git"
    last: dict[str, Wrote] = {}
    journal = workspaces.parent / "journal"
    for file in sorted(journal.iterdir(), key=lambda file: int(file.name.partition("-")[2])):
        if text := file.read_bytes():
            line = msgspec.json.decode(text, type=Wrote)
            if line.run in cancelled and line.what.startswith("wrote"):
                last[line.run.partition("/")[0]] = line
    refs = plain_git(mirror, "for-each-ref", "--format=%(refname)").splitlines() if last else []
    for line in last.values():
        lies = any(line.run in file.read_text() for file in Path(line.tree).glob("step-*.txt"))
        if not lies and not plain_git(mirror, "grep", "-l", "-F", line.run, *refs, check=False):
            yield f"{line.what} of {line.run}, which was cancelled, is neither in a commit nor in {line.tree}"


def _kept(run: Run, workspaces: Path, attempts: dict[str, str]) -> Iterator[str]:
    """Whatever an attempt had written that was cut off is in a commit: an accepted one, or a salvaged one."""
    journal = workspaces.parent / "journal"
    lines = [msgspec.json.decode(text, type=Wrote) for file in journal.iterdir() if (text := file.read_bytes())]
    mine = [line for line in lines if line.run in attempts and line.what.startswith("wrote")]
    mirror = workspaces / "repos" / f"{run.project_id}.git"
    refs = plain_git(mirror, "for-each-ref", "--format=%(refname)", SALVAGE).splitlines()
    for line in mine:
        # What it wrote may be overwritten by the one that went on in its files; those were saved before that.
        if attempts[line.run] == "succeeded":
            continue
        where = [f"refs/heads/{run.branch}", *refs]
        said = plain_git(mirror, "grep", "-l", "-F", line.run, *where, check=False)
        if not said:
            yield f"{line.what} of {line.run} ({attempts[line.run]}) is in none of {where}"


def held(tx: Tx) -> list[str]:
    """Nothing starts while the line is stopped, and nothing of a protocol while that is paused."""
    wrong: list[str] = []
    stopped, paused = False, set[int]()
    for event in tx.rows("SELECT id, event_type, protocol_id FROM events ORDER BY id"):
        match event["event_type"]:
            case "line_stopped" | "line_resumed" as word:
                stopped = word == "line_stopped"
            case "paused":
                paused.add(event["protocol_id"])
            case "resumed" | "cancelled":
                paused.discard(event["protocol_id"])
            case word if word in STARTS and (stopped or event["protocol_id"] in paused):
                wrong.append(f"event {event}, while {'the line was stopped' if stopped else 'it was paused'}")
            case _:
                pass
    return wrong


def whole(tx: Tx, acknowledged: list[str]) -> list[str]:
    wrong = [f"integrity: {row}" for row in tx.rows("PRAGMA integrity_check") if row["integrity_check"] != "ok"]
    stored = Counter(row["delivery_key"] for row in tx.rows("SELECT delivery_key FROM deliveries"))
    wrong.extend(f"delivery {key} was acknowledged and is not there" for key in acknowledged if not stored[key])
    wrong.extend(f"delivery {key} is there {count} times" for key, count in stored.items() if count > 1)
    wrong.extend(
        f"delivery {row['id']}, {row['status']}, has {row['count']} jobs that succeeded"
        for row in tx.rows(
            "SELECT deliveries.id, deliveries.status, count(jobs.id) AS count FROM deliveries"
            " LEFT JOIN jobs ON jobs.delivery_id = deliveries.id AND jobs.state = 'succeeded' GROUP BY deliveries.id"
        )
        if row["count"] != (row["status"] != "duplicate")
    )
    wrong.extend(
        f"delivery {row['delivery_id']} had its effect {row['count']} times"
        for row in tx.rows(
            "SELECT delivery_id, count(*) AS count FROM events WHERE event_type IN ('delivery_applied',"
            " 'delivery_ignored') GROUP BY delivery_id HAVING count > 1"
        )
    )
    wrong.extend(
        f"delivery {row['id']} is {row['status']}: {row['reason']}"
        for row in tx.rows("SELECT id, status, reason FROM deliveries WHERE status IN ('received', 'failed')")
    )
    return wrong
