"""A database and an attempt's files in which everything is many, or large, or hostile."""

import json
import subprocess
from pathlib import Path

from services.api.attempt_files import Part
from shared.repository.database import Tx, open_database
from tests.api.console import scenes
from tests.api.console.crowd import COUNT, HOSTILE, LINE, hostile, huge, long_run

OPEN_RUNS, STEPS_OF_EACH = 3_000, 5
PROJECTS, DELIVERIES, QUEUED = 200, 500, 1_000
CHANGED_LINES = 5_000


async def fill(database: Path, workspaces: Path, scratch: Path) -> None:
    """Make them; `scratch` is a folder for the repository whose patches are shown."""
    async with open_database(database) as opened:
        await opened.write(_rows)
    folder = workspaces / "attempts" / "many"
    folder.mkdir(parents=True)
    patch = _patch(scratch)
    texts = {Part.EVENTS: _transcript(), Part.PROMPT: LINE, Part.STDERR: LINE, Part.DIFF: patch, Part.BRANCH: patch}
    for part, text in texts.items():
        (folder / part.value).write_text(text)


def _rows(tx: Tx) -> None:
    long_run(tx)
    hostile(tx)
    _open_runs(tx)
    _beside(tx)
    huge(tx)


def _open_runs(tx: Tx) -> None:
    """Runs under way: of three one waits for its next step, one for a judgement, and one has an agent queued."""
    tx.run(
        f"{COUNT} INSERT INTO protocol_runs (id, project_id, number, protocol_name, branch, base_branch, description,"
        " status, policy, created_at, updated_at) SELECT 1000 + i, 1, 1000 + i, printf('%04d-open', i),"
        " printf('%04d-open', i), 'main', ?3, 'running', '{}', ?2 + i, ?2 + i FROM n",
        (OPEN_RUNS, tx.now - 10_000, HOSTILE),
    )
    tx.run(
        f"{COUNT} INSERT INTO step_runs (id, protocol_id, step_index, step_name, step_type, file_name, instructions,"
        " depends_on, status, phase, head_sha, created_at, updated_at) SELECT 100000 + run.id * 10 + i, run.id, i, ?2,"
        " 'work', 'f', '', '[]', iif(i = 1 AND run.id % 3 = 1, 'needs_qa', 'pending'),"
        " CASE WHEN i > 1 THEN NULL WHEN run.id % 3 = 1 THEN 'awaiting_gates' WHEN run.id % 3 = 2 THEN 'queued' END,"
        " iif(i = 1 AND run.id % 3 = 1, 'open', NULL), run.created_at, run.created_at"
        " FROM n, protocol_runs AS run WHERE run.id > 1000",
        (STEPS_OF_EACH, HOSTILE),
    )
    tx.run(
        "INSERT INTO jobs (kind, project_id, protocol_id, step_id, payload, state, run_at, max_attempts, actor,"
        " created_at) SELECT 'execute_step_job', 1, protocol_id, id, '{}', 'queued', created_at, 3, 'api', created_at"
        " FROM step_runs WHERE phase = 'queued'"
    )
    tx.run(
        "INSERT INTO events (project_id, protocol_id, step_id, event_type, entity, from_status, to_status, actor,"
        " metadata, created_at) SELECT 1, protocol_id, id, 'step_executed', 'step', 'running', 'needs_qa', 'worker',"
        " '{}', created_at FROM step_runs WHERE protocol_id > 1000 AND status = 'needs_qa'"
    )


def _beside(tx: Tx) -> None:
    """Projects, deliveries of which every fifth failed, and jobs that wait."""
    tx.run(
        f"{COUNT} INSERT INTO projects (id, name, git_url, base_branch, default_models, policy, created_at, updated_at)"
        " SELECT 100 + i, ?3 || i, 'https://github.com/acme/x.git', 'main', '{}', '{}', ?2, ?2 FROM n",
        (PROJECTS, tx.now, HOSTILE),
    )
    tx.run(
        f"{COUNT} INSERT INTO deliveries (id, provider, delivery_key, event, headers, body_sha256, project_id, status,"
        " reason, received_at, applied_at, body) SELECT 100 + i, 'github', i, ?3, '{}', i, 1,"
        " iif(i % 5, 'applied', 'failed'), ?3, ?2, ?2, CAST('{}' AS BLOB) FROM n",
        (DELIVERIES, tx.now, HOSTILE),
    )
    tx.run("UPDATE deliveries SET reason = ?1, body = CAST(json_object('title', ?1) AS BLOB) WHERE id = 101", (LINE,))
    tx.run(
        f"{COUNT} INSERT INTO jobs (kind, project_id, payload, state, run_at, max_attempts, category, error, actor,"
        " created_at) SELECT 'sync', 101 + i % 200, '{}', 'queued', ?2, 3, 'network', ?3, 'api', ?2 FROM n",
        (QUEUED, tx.now, HOSTILE),
    )


def _transcript() -> str:
    """What an agent did, with lines of a million characters: first, last, of every kind, and one that is no JSON."""
    words = [scenes.command(f"run {number} {HOSTILE}", "z" * 2000) for number in range(2000)]
    long = [scenes.message(LINE), scenes.command(LINE, LINE), scenes.event("reasoning", text=LINE), LINE]
    return "\n".join([*long, *words, json.dumps({"type": LINE}), scenes.message(LINE)]) + "\n"


def _patch(scratch: Path) -> str:
    """What git says of a commit that changes 5,000 lines, one of a million characters, and 300 files more."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(scratch), "-c", "user.name=b", "-c", "user.email=b@b", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    git("init", "-q", "-b", "main")
    module = scratch / "module.py"
    for commit in ("One", "Two"):
        lines = [f"value_{number} = compute({number}, '{commit}')  # why" for number in range(CHANGED_LINES)]
        module.write_text("\n".join(lines) + "\n")
        (scratch / "wide.js").write_text(f"const {commit} = '{LINE}';\n")
        (scratch / "<img src=x>\x1b\u202e.py").write_text(f"{commit} = {HOSTILE!r}\n")
        for number in range(300):
            (scratch / f"part_{number}.py").write_text(f"{commit} = {number}\n")
        git("add", "-A")
        git("commit", "-q", "-m", commit)
    return git("diff-tree", "-r", "-p", "--find-renames", "--no-color", "HEAD~", "HEAD")
