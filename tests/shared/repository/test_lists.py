"""What a list of 50 costs does not depend on how many rows there are: counted in steps of SQLite's own machine."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from shared.repository import (
    attempts,
    deliveries,
    events,
    idempotency,
    jobs,
    projects,
    protocols,
    standings,
    steps,
    tokens,
)
from shared.repository.database import Tx, _dict_row, _transact, sqlite3
from shared.repository.migrations import apply_migrations
from shared.schemas.statuses import Provider

FEW, MANY = 200, 20_000
NOW = 1_000_000_000_000
LATEST = 2**62

# One project holds nearly everything, another one hardly anything; most jobs are over, few wait.
FILL = """
INSERT INTO projects (name, git_url, base_branch, default_models, policy, created_at, updated_at)
SELECT 'project ' || value, 'https://example.org/x.git', 'main', '{}', '{}', 0, 0 FROM generate_series(1, :projects);
INSERT INTO protocol_runs (project_id, number, protocol_name, branch, base_branch, description, status, policy,
    created_at, updated_at)
SELECT 1 + (value % 100 = 0), 1 + value % 9999, 'p' || value, 'b', 'main', '', 'running', '{}', 0, 0
FROM generate_series(1, :protocols);
INSERT INTO step_runs (protocol_id, step_index, step_name, step_type, file_name, instructions, depends_on, status,
    created_at, updated_at)
SELECT 1 + value % :protocols, value / :protocols, 's', 'work', 'f', '', '[]', 'pending', 0, 0
FROM generate_series(0, :rows - 1);
INSERT INTO jobs (kind, project_id, protocol_id, payload, state, run_at, max_attempts, finished_at, category, actor,
    created_at)
SELECT 'setup', 1, NULL, '{}', 'succeeded', 0, 3, 1, NULL, 'a', 0;
INSERT INTO jobs (kind, project_id, protocol_id, step_id, payload, state, run_at, max_attempts, finished_at, category,
    actor, created_at)
SELECT 'execute_step_job', 1 + (value % 100 = 0), 1 + value % :protocols, value, '{}',
    CASE WHEN value % 97 = 0 THEN 'failed' ELSE 'succeeded' END, 0, 3, 1,
    CASE WHEN value % 97 = 0 THEN 'network' END, 'a', 0
FROM generate_series(1, :rows);
INSERT INTO jobs (kind, project_id, protocol_id, payload, state, run_at, max_attempts, owner, finished_at, actor,
    created_at)
SELECT 'plan_protocol_job', 1, value, '{}', 'running', 0, 3, 'w', NULL, 'a', 0 FROM generate_series(1, 3);
INSERT INTO jobs (kind, project_id, protocol_id, payload, state, run_at, max_attempts, finished_at, actor, created_at)
SELECT 'run_quality_job', 2, value, '{}', 'queued', 0, 3, NULL, 'a', 0 FROM generate_series(10, 15);
INSERT INTO attempts (job_id, project_id, protocol_id, step_id, kind, number, token, state, thread_id, started_at,
    finished_at)
SELECT 1 + value, 1 + (value % 100 = 0), 1 + value % :protocols, value, 'execute_step_job', 1, 1,
    CASE WHEN value % 97 = 0 THEN 'failed' ELSE 'succeeded' END, 't' || value, 0, 1
FROM generate_series(1, :rows);
INSERT INTO events (project_id, protocol_id, step_id, event_type, entity, actor, metadata, created_at)
SELECT 1 + (value % 100 = 0), 1 + value % :protocols, value, 'step_added', 'step', 'a', '{}', 0
FROM generate_series(1, :rows);
INSERT INTO tokens (project_id, name, prefix, hash, created_at)
SELECT 1 + value % :projects, 't', 'p', 'h' || value, 0 FROM generate_series(1, :rows);
INSERT INTO hooks (project_id, provider, key, created_at)
SELECT 1 + value % :projects, 'github', 'k' || value, 0 FROM generate_series(1, :rows);
INSERT INTO hook_secrets (hook_id, scheme, sealed, created_at) SELECT id, 'hmac', x'00', 0 FROM hooks;
INSERT INTO deliveries (provider, hook_id, delivery_key, event, headers, body, body_sha256, project_id, status,
    received_at)
SELECT 'github', id, 'd', 'push', '{}', x'00', 'b' || id, 1 + (id % 100 = 0),
    CASE WHEN id % 97 = 0 THEN 'failed' ELSE 'received' END, 0 FROM hooks;
UPDATE deliveries SET protocol_id = 1 + id % :protocols;
INSERT INTO gates (step_id, sha, name, state, summary, actor, evidence, updated_at)
SELECT id, 'a', 'qa', 'passed', '', 'a', '{}', 0 FROM step_runs;
INSERT INTO protocol_runs (id, project_id, number, protocol_name, branch, base_branch, description, status, policy,
    created_at, updated_at) VALUES (999999, 3, 1, 'untouched', 'b', 'main', '', 'planned', '{}', 0, 0);
INSERT INTO step_runs (protocol_id, step_index, step_name, step_type, file_name, instructions, depends_on, status,
    created_at, updated_at)
SELECT 999999, value, 's', 'work', 'f', '', '[]', 'pending', 0, 0 FROM generate_series(1, 5);
INSERT INTO idempotency_keys (scope, key, request_sha256, status, headers, body, created_at)
SELECT 's', 'k' || value, '', 200, '{}', x'00', value FROM generate_series(1, :rows);
"""


def listed(tx: Tx, *, limit: int = 50, **filters: Any) -> Any:
    named = dict.fromkeys(("project_id", "protocol_id", "status", "provider", "event")) | filters
    return deliveries.page(tx, before=LATEST, limit=limit, **named)


LISTS: dict[str, Callable[[Tx], Any]] = {
    "projects": lambda tx: projects.page(tx, only=None, after=0, limit=50),
    "the only project": lambda tx: projects.page(tx, only=2, after=0, limit=50),
    "a project by name": lambda tx: projects.named(tx, "project 2"),
    "protocols": lambda tx: protocols.page(tx, 1, after=0, limit=50),
    "protocols of a small project": lambda tx: protocols.page(tx, 2, after=0, limit=1),
    "newest protocols": lambda tx: protocols.newest(tx, project_id=None, status=None, before=LATEST, limit=50),
    "open protocols": lambda tx: protocols.newest(tx, project_id=None, status="open", before=LATEST, limit=50),
    "open protocols of a project": lambda tx: protocols.newest(tx, project_id=2, status="open", before=LATEST, limit=1),
    "blocked protocols": lambda tx: protocols.newest(tx, project_id=None, status="blocked", before=LATEST, limit=50),
    "running protocols of a project": lambda tx: protocols.newest(
        tx, project_id=2, status="running", before=LATEST, limit=1
    ),
    "cancelled protocols of a project": lambda tx: protocols.newest(
        tx, project_id=1, status="cancelled", before=LATEST, limit=50
    ),
    "a protocol by name": lambda tx: protocols.named(tx, 1, "p1"),
    "the last number": lambda tx: protocols.last_number(tx, 1),
    "what fifty runs allow": lambda tx: standings.of(tx, protocols.page(tx, 1, after=0, limit=50)),
    "steps": lambda tx: steps.page(tx, 1, after=-1, limit=2),
    "gates of a commit": lambda tx: steps.gates(tx, 1, "a"),
    "gates of a step": lambda tx: steps.gates(tx, 1, None),
    "jobs": lambda tx: jobs.page(tx, project_id=None, state=None, before=LATEST, limit=50),
    "jobs in a state": lambda tx: jobs.page(tx, project_id=None, state="failed", before=LATEST, limit=2),
    "jobs of a project": lambda tx: jobs.page(tx, project_id=2, state=None, before=LATEST, limit=2),
    "jobs of a project in a state": lambda tx: jobs.page(tx, project_id=1, state="failed", before=LATEST, limit=2),
    "jobs in no state": lambda tx: jobs.page(tx, project_id=2, state="cancelled", before=LATEST, limit=50),
    "jobs of a kind": lambda tx: jobs.page(tx, project_id=None, state=None, kind="setup", before=LATEST, limit=50),
    "jobs of a kind in a state": lambda tx: jobs.page(
        tx, project_id=None, state="failed", kind="execute_step_job", before=LATEST, limit=2
    ),
    "jobs of a project and a kind": lambda tx: jobs.page(
        tx, project_id=2, state=None, kind="run_quality_job", before=LATEST, limit=50
    ),
    "jobs of a protocol": lambda tx: jobs.page(
        tx, project_id=None, state="failed", kind=None, protocol_id=7, before=LATEST, limit=50
    ),
    "jobs to ring for": lambda tx: jobs.to_ring(tx, project_limit=9, rung_before=LATEST, limit=64),
    "the next due time": jobs.next_run_at,
    "running jobs": jobs.running,
    "running jobs of a project": lambda tx: jobs.running_of_project(tx, 1),
    "the writer of a branch": lambda tx: jobs.writer_of(tx, 1),
    "the open job of a step": lambda tx: jobs.open_of_step(tx, 5),
    "the last setup": lambda tx: jobs.last_setup(tx, 1),
    "attempts": lambda tx: attempts.page(tx, project_id=None, state=None, before=LATEST, limit=50),
    "attempts in a state": lambda tx: attempts.page(tx, project_id=None, state="failed", before=LATEST, limit=2),
    "attempts of a project": lambda tx: attempts.page(tx, project_id=2, state=None, before=LATEST, limit=2),
    "attempts of a project in a state": lambda tx: attempts.page(
        tx, project_id=1, state="failed", before=LATEST, limit=2
    ),
    "attempts of a step": lambda tx: attempts.of_step(tx, 5, after=0, limit=50),
    "attempts of a job": lambda tx: attempts.of_job(tx, 5),
    "attempts of a thread": lambda tx: attempts.of_thread(tx, "t5"),
    "the first accepted attempt": lambda tx: attempts.first_accepted(tx, 5),
    "the live attempt": lambda tx: attempts.live(tx, 5),
    "events": lambda tx: events.of_all(tx, before=LATEST, limit=50),
    "events of a project": lambda tx: events.of_project(tx, 2, before=LATEST, limit=2),
    "events of a protocol": lambda tx: events.of_protocol(tx, 1, before=LATEST, limit=2),
    "tokens": lambda tx: tokens.by_hash(tx, "h5"),
    "a hook": lambda tx: deliveries.hook_by_key(tx, Provider.GITHUB, "k5"),
    "secrets of a hook": lambda tx: deliveries.hook_secrets(tx, 5),
    "deliveries": listed,
    "deliveries of a project": lambda tx: listed(tx, project_id=2, limit=2),
    "deliveries of a protocol": lambda tx: listed(tx, protocol_id=7, status="failed"),
    "deliveries in a status": lambda tx: listed(tx, status="failed", limit=2),
    "the delivery that says the same": lambda tx: deliveries.twin(tx, deliveries.expect(tx, 5)),
    "whether another one came since": lambda tx: deliveries.another_since(tx, deliveries.expect(tx, 5)),
    "a known delivery": lambda tx: deliveries.known(tx, Provider.GITHUB, 5, "d"),
    "old answers": lambda tx: idempotency.forget_before(tx, 2),
    "a stored answer": lambda tx: idempotency.find(tx, "s", "k5"),
    "forgetting untouched steps": lambda tx: steps.delete_untouched(tx, 999999),
}


class Ground:
    """A database with so many rows, and what a function costs on it."""

    def __init__(self, rows: int) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.row_factory = _dict_row
        self.connection.execute("PRAGMA foreign_keys=ON")
        _transact(self.connection, "BEGIN IMMEDIATE", lambda connection: apply_migrations(connection, 0))
        sizes = {"rows": rows, "projects": rows // 4, "protocols": min(rows // 2, 9_000)}
        for text in FILL.split(";\n"):
            statement = _with_series(text)
            named = {name: value for name, value in sizes.items() if f":{name}" in statement}
            self.connection.execute(statement, named)
        self.tx = Tx(self.connection, NOW)

    def cost(self, work: Callable[[Tx], Any]) -> int:
        """Tens of virtual machine instructions."""
        tens = 0

        def tick() -> int:
            nonlocal tens
            tens += 1
            return 0

        self.connection.set_progress_handler(tick, 10)
        try:
            work(self.tx)
        finally:
            self.connection.set_progress_handler(None, 10)
        return tens


def _with_series(text: str) -> str:
    """SQLite's shell has generate_series, its library has not."""
    found = re.search(r"generate_series\((.+?), (.+?)\)", text)
    if found is None:
        return text
    series = (
        f"(WITH RECURSIVE s(value) AS (SELECT {found[1]} UNION ALL SELECT value + 1 FROM s WHERE value < {found[2]})"
        " SELECT value FROM s)"
    )
    return text.replace(found[0], series)


@pytest.fixture(scope="module")
def few() -> Ground:
    return Ground(FEW)


@pytest.fixture(scope="module")
def many() -> Ground:
    return Ground(MANY)


@pytest.mark.parametrize("name", LISTS)
def test_it_costs_the_same_with_a_hundred_times_the_rows(few: Ground, many: Ground, name: str):
    work = LISTS[name]
    before, after = few.cost(work), many.cost(work)
    assert after <= before * 1.2 + 20, (before, after)


@pytest.mark.parametrize("project_id", [None, 1])
def test_counting_jobs_reads_an_index_and_sorts_nothing(many: Ground, project_id: int | None):
    details: list[str] = []

    class Explaining(Tx):
        def rows(self, sql: str, params: Any = ()) -> Any:
            details.extend(row["detail"] for row in super().rows("EXPLAIN QUERY PLAN " + sql, params))
            return super().rows(sql, params)

    jobs.counts(Explaining(many.connection, NOW), project_id)
    assert all("COVERING INDEX" in detail for detail in details), details
