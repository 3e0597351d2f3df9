"""A database that has seen much, and things with hostile names in it."""

from shared.repository.database import Tx

HOUR_MS = 3_600_000
# The numbers from 1 to the first parameter, as `n(i)`.
COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)"
# Nothing of it may do anything, and all of it must be seen.
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202egnp.exe\"'{{7*7}}"
LINE = f"{HOSTILE} {'x' * 1_000_000} **end**"
# As it stands in a page.
SHOWN = "&lt;img src=x onerror=alert(1)&gt;␛[31m‹U+202E›gnp.exe&#34;&#39;{{7*7}}"


def crowd(tx: Tx, events: int = 100_000, attempts: int = 10_000) -> None:
    """A project with 40 protocol runs of 25 steps, and that many events and attempts in the last 30 days."""
    tx.run(
        "INSERT INTO projects (id, name, git_url, base_branch, default_models, policy, created_at, updated_at)"
        " VALUES (1, 'crowd', 'https://github.com/acme/crowd.git', 'main', '{}', '{}', ?1, ?1)",
        (tx.now,),
    )
    since = tx.now - 29 * 24 * HOUR_MS
    every = 29 * 24 * HOUR_MS
    tx.run(
        f"{COUNT} INSERT INTO protocol_runs (id, project_id, number, protocol_name, branch, base_branch, description,"
        " status, policy, created_at, updated_at, finished_at) SELECT i, 1, i, printf('%04d-a', i),"
        " printf('%04d-a', i),"
        " 'main', 'd', iif(i % 4, 'completed', 'failed'), '{}', ?2, ?2, ?2 + i * ?3 / 41 FROM n",
        (40, since, every),
    )
    tx.run(
        f"{COUNT} INSERT INTO step_runs (id, protocol_id, step_index, step_name, step_type, file_name, instructions,"
        " depends_on, status, reason, start_sha, head_sha, created_at, updated_at, finished_at) SELECT i,"
        " 1 + (i - 1) / 25, 1 + (i - 1) % 25, 'One', 'work', 'f', '', '[]', 'completed', 'gates_passed', 'a', 'b', ?2,"
        " ?2, ?2 + i * ?3 / 1001 FROM n",
        (1000, since, every),
    )
    tx.run(
        "INSERT INTO gates (step_id, sha, name, state, summary, actor, evidence, updated_at)"
        " SELECT id, 'b', name, iif(id % 5, 'passed', 'failed'), '', 'worker', '{}', finished_at FROM step_runs,"
        " (SELECT 'qa' AS name UNION ALL SELECT 'ci')"
    )
    tx.run(
        f"{COUNT} INSERT INTO jobs (id, kind, project_id, protocol_id, step_id, payload, state, run_at, attempt,"
        " max_attempts, actor, created_at, started_at, finished_at) SELECT i, 'execute_step_job', 1, 1 + i % 40,"
        " 1 + i % 1000, '{}', 'succeeded', ?2, 1, 3, 'api', ?2, ?2, ?2 FROM n",
        (attempts, since),
    )
    tx.run(
        f"{COUNT} INSERT INTO attempts (job_id, project_id, protocol_id, step_id, kind, number, token, state, model,"
        " input_tokens, output_tokens, started_at, finished_at) SELECT i, 1, 1 + i % 40, 1 + i % 1000,"
        " 'execute_step_job', 1, 1, 'succeeded', printf('model-%d', i % 7), 20000 + i % 900, 700 + i % 90,"
        " ?2 + i * ?3 / (?1 + 1), ?2 + i * ?3 / (?1 + 1) + 1000 * (20 + i % 200) FROM n",
        (attempts, since, every),
    )
    tx.run(
        f"{COUNT} INSERT INTO events (project_id, protocol_id, step_id, event_type, entity, actor, metadata,"
        " created_at)"
        " SELECT 1, 1 + i % 40, 1 + i % 1000, 'gate_updated', 'step', 'worker', '{}', ?2 + i * ?3 / (?1 + 1) FROM n",
        (events, since, every),
    )


def long_run(tx: Tx) -> None:
    """Protocol run 99 with 500 steps, the 250th at work, among 100,000 events of which 10,000 are its own."""
    crowd(tx)
    tx.run(
        "INSERT INTO protocol_runs (id, project_id, number, protocol_name, branch, base_branch, description, status,"
        " policy, plan_revision, plan_sha, head_sha, created_at, updated_at)"
        " VALUES (99, 1, 99, '0099-many', 'b', 'main', 'Many', 'running', '{}', 1, 'p', 'b', ?1, ?1)",
        (tx.now,),
    )
    tx.run(
        "INSERT INTO plans VALUES (99, 1, 'Many', ?1, '', '{}', 'p', ?2)", ("word *words* `code`\n\n" * 10_000, tx.now)
    )
    tx.run(
        f"{COUNT} INSERT INTO step_runs (id, protocol_id, step_index, step_name, step_type, file_name, instructions,"
        " depends_on, status, phase, reason, head_sha, summary, created_at, updated_at, finished_at)"
        " SELECT 99000 + i, 99, i, 'A step with a name', 'work', 'f', ?3, iif(i > 1, json_array(i - 1), '[]'),"
        " CASE WHEN i < 250 THEN 'completed' WHEN i = 250 THEN 'running' ELSE 'pending' END,"
        " iif(i = 250, 'executing', NULL), iif(i < 250, 'gates_passed', NULL), iif(i < 250, 'h' || i, NULL),"
        " ?4, ?2, ?2, iif(i < 250, ?2, NULL) FROM n",
        (500, tx.now, "long " * 2000, "said " * 1000),
    )
    tx.run(
        f"{COUNT} INSERT INTO jobs (id, kind, project_id, protocol_id, step_id, payload, state, run_at, attempt,"
        " max_attempts, actor, owner, created_at, started_at, finished_at) SELECT 99000 + i, 'execute_step_job', 1, 99,"
        " 99000 + i, '{}', iif(i = 250, 'running', 'succeeded'), ?2, 1, 3, 'api', iif(i = 250, 'w', NULL), ?2, ?2,"
        " iif(i = 250, NULL, ?2) FROM n",
        (250, tx.now),
    )
    tx.run(
        f"{COUNT} INSERT INTO attempts (id, job_id, project_id, protocol_id, step_id, kind, number, token, state,"
        " head_sha, result, started_at, finished_at, directory) SELECT 99000 + i, 99000 + i, 1, 99, 99000 + i,"
        " 'execute_step_job', 1, 1, iif(i = 250, 'running', 'succeeded'), 'h' || i,"
        " json_object('files', 1, 'additions', 2, 'deletions', 3), ?2, iif(i = 250, NULL, ?2), 'attempts/many' FROM n",
        (250, tx.now),
    )
    tx.run(
        "INSERT INTO gates (step_id, sha, name, state, summary, actor, evidence, updated_at)"
        " SELECT id, head_sha, 'qa', 'passed', ?, 'worker', json_object('logs', json_object('a', ?)), ?"
        " FROM step_runs WHERE protocol_id = 99 AND head_sha IS NOT NULL",
        ("fine " * 200, "log\n" * 500, tx.now),
    )
    tx.run(
        f"{COUNT} INSERT INTO events (project_id, protocol_id, step_id, event_type, entity, from_status, to_status,"
        " actor, metadata, created_at) SELECT 1, 99, 99001 + i % 500, 'step_started', 'step', 'pending', 'running',"
        " 'worker', '{}', ?2 FROM n",
        (10_000, tx.now),
    )


def hostile(tx: Tx) -> None:
    """A project, a protocol run, a step, a failed job, an attempt and a delivery that are all called HOSTILE."""
    now, text = tx.now, HOSTILE
    tx.run(
        "INSERT INTO projects (id, name, git_url, base_branch, default_models, policy, created_at, updated_at)"
        " VALUES (7, ?2, 'https://github.com/acme/x.git', 'main', '{}', '{}', ?1, ?1)",
        (now, text),
    )
    tx.run(
        "INSERT INTO protocol_runs (id, project_id, number, protocol_name, branch, base_branch, description, status,"
        " policy, created_at, updated_at, finished_at) VALUES (507, 7, 1, ?2, ?2, 'main', ?2, 'failed', '{}', ?1, ?1,"
        " ?1)",
        (now, text),
    )
    tx.run(
        "INSERT INTO step_runs (id, protocol_id, step_index, step_name, step_type, file_name, instructions, depends_on,"
        " status, reason, start_sha, head_sha, created_at, updated_at) VALUES (70007, 507, 1, ?2, 'work', 'f', ?2,"
        " '[]', 'failed', 'crash', 'a', 'b', ?1, ?1)",
        (now, text),
    )
    tx.run(
        "INSERT INTO jobs (id, kind, project_id, protocol_id, step_id, payload, state, run_at, attempt, max_attempts,"
        " category, error, actor, created_at, started_at, finished_at) VALUES (70007, 'execute_step_job', 7,"
        " 507, 70007, '{}', 'failed', ?1, 1, 3, 'crash', ?2, ?2, ?1, ?1, ?1)",
        (now, text),
    )
    tx.run(
        "INSERT INTO attempts (job_id, project_id, protocol_id, step_id, kind, number, token, state, model,"
        " input_tokens, started_at, finished_at) VALUES (70007, 7, 507, 70007, 'execute_step_job', 1, 1,"
        " 'failed', ?2, 900, ?1, ?1)",
        (now, text),
    )
    tx.run(
        "INSERT INTO deliveries (id, provider, delivery_key, event, headers, body_sha256, project_id, protocol_id,"
        " step_id, status, reason, received_at, applied_at, body) VALUES (7, 'github', ?2, ?2,"
        " json_object('user-agent', ?2), 'x',"
        " 7, 507, 70007, 'failed', ?2, ?1, ?1, cast(json_object('title', ?2, 'token',"
        " 'ghp_0123456789abcdefghij') AS BLOB))",
        (now, text),
    )


def huge(tx: Tx) -> None:
    """LINE wherever a text of any length is kept of these two, and hostile names in the long run."""
    for column in ("description", "feedback"):
        tx.run(f"UPDATE protocol_runs SET {column} = ? WHERE id IN (99, 507)", (LINE,))
    for column in ("instructions", "summary", "feedback"):
        tx.run(f"UPDATE step_runs SET {column} = ? WHERE id IN (99249, 99250, 70007)", (LINE,))
    tx.run("UPDATE step_runs SET step_name = ? WHERE protocol_id = 99", (HOSTILE,))
    tx.run("UPDATE plans SET summary = ?1, plan_md = ?1 WHERE protocol_id = 99", (LINE,))
    tx.run(
        "UPDATE gates SET summary = ?1, evidence = json_object('logs', json_object(?2, ?1), 'findings', json_array("
        "json_object('severity', 'major', 'file', NULL, 'message', ?1)), 'note', ?1) WHERE step_id = 99249",
        (LINE, HOSTILE),
    )
    for table, ids in (("jobs", "99249, 70007"), ("attempts", "99249, 99250")):
        tx.run(f"UPDATE {table} SET error = ? WHERE id IN ({ids})", (LINE,))
    tx.run("UPDATE attempts SET stderr_tail = ?1, result = json_object('summary', ?1) WHERE id = 99249", (LINE,))
    tx.run(
        "UPDATE deliveries SET reason = ?1, body = CAST(json_object('title', ?2) AS BLOB) WHERE id = 7",
        (LINE, LINE[:250_000]),
    )
    tx.run(
        "INSERT INTO events (project_id, protocol_id, step_id, event_type, entity, actor, metadata, created_at)"
        " VALUES (1, 99, 99249, 'gate_updated', 'step', 'worker', json_object('summary', ?, 'error', ?1), ?)",
        (LINE, tx.now),
    )
