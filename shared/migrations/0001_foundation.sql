CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE holds (
    name TEXT PRIMARY KEY,
    reason TEXT NOT NULL CHECK (reason IN ('operator', 'quota', 'rate_limited')),
    message TEXT NOT NULL,
    until INTEGER,
    actor TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    CHECK ((name = 'line') = (until IS NULL))
) STRICT;

CREATE TABLE projects (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    git_url TEXT NOT NULL,
    base_branch TEXT NOT NULL,
    ci_provider TEXT CHECK (ci_provider IN ('github', 'gitlab')),
    repository_id TEXT,
    default_models TEXT NOT NULL CHECK (json_valid(default_models)),
    policy TEXT NOT NULL CHECK (json_valid(policy)),
    version INTEGER NOT NULL DEFAULT 1,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE secrets (
    project_id INTEGER NOT NULL REFERENCES projects (id),
    name TEXT NOT NULL,
    sealed BLOB,
    file_name TEXT,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (project_id, name),
    CHECK ((sealed IS NULL) <> (file_name IS NULL))
) STRICT;

CREATE TABLE tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES projects (id),
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    last_used_at INTEGER
) STRICT;

CREATE TABLE hooks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES projects (id),
    provider TEXT NOT NULL CHECK (provider IN ('github', 'gitlab', 'ci')),
    key TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    disabled_at INTEGER
) STRICT;

CREATE TABLE hook_secrets (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    hook_id INTEGER NOT NULL REFERENCES hooks (id),
    scheme TEXT NOT NULL CHECK (scheme IN ('hmac', 'token', 'signing')),
    sealed BLOB NOT NULL,
    valid_until INTEGER,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE protocol_runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES projects (id),
    number INTEGER NOT NULL CHECK (number BETWEEN 1 AND 9999),
    protocol_name TEXT NOT NULL,
    branch TEXT NOT NULL,
    base_branch TEXT NOT NULL,
    description TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN (
        'pending', 'planning', 'planned', 'running', 'paused', 'blocked', 'failed', 'cancelled', 'completed')),
    phase TEXT,
    reason TEXT,
    policy TEXT NOT NULL CHECK (json_valid(policy)),
    model TEXT,
    start_sha TEXT,
    head_sha TEXT,
    pushed_sha TEXT,
    diverged_sha TEXT,
    plan_revision INTEGER NOT NULL DEFAULT 0,
    written_revision INTEGER NOT NULL DEFAULT 0,
    plan_sha TEXT,
    feedback TEXT,
    pr_number INTEGER,
    pr_url TEXT,
    pr_state TEXT CHECK (pr_state IN ('open', 'closed', 'merged')),
    pr_at INTEGER,
    pr_comment TEXT,
    version INTEGER NOT NULL DEFAULT 1,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER,
    UNIQUE (project_id, protocol_name),
    UNIQUE (project_id, number),
    CHECK ((status IN ('failed', 'cancelled', 'completed')) = (finished_at IS NOT NULL)),
    CHECK (status <> 'blocked' OR reason IS NOT NULL)
) STRICT;

CREATE TABLE plans (
    protocol_id INTEGER NOT NULL REFERENCES protocol_runs (id),
    revision INTEGER NOT NULL,
    summary TEXT NOT NULL,
    plan_md TEXT NOT NULL,
    context_md TEXT NOT NULL,
    files TEXT NOT NULL CHECK (json_valid(files)),
    sha256 TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (protocol_id, revision)
) STRICT;

CREATE TABLE step_runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    protocol_id INTEGER NOT NULL REFERENCES protocol_runs (id),
    step_index INTEGER NOT NULL CHECK (step_index BETWEEN 0 AND 999),
    step_name TEXT NOT NULL,
    step_type TEXT NOT NULL CHECK (step_type IN ('setup', 'work', 'qa')),
    file_name TEXT NOT NULL,
    instructions TEXT NOT NULL,
    depends_on TEXT NOT NULL CHECK (json_valid(depends_on)),
    model TEXT,
    status TEXT NOT NULL CHECK (status IN ('pending', 'running', 'needs_qa', 'completed', 'failed', 'cancelled')),
    phase TEXT,
    reason TEXT,
    summary TEXT,
    feedback TEXT,
    thread_id TEXT,
    start_sha TEXT,
    head_sha TEXT,
    executions INTEGER NOT NULL DEFAULT 0,
    continuations INTEGER NOT NULL DEFAULT 0,
    repairs INTEGER NOT NULL DEFAULT 0,
    retries INTEGER NOT NULL DEFAULT 0,
    qa_asks INTEGER NOT NULL DEFAULT 0,
    repaired_sha TEXT,
    version INTEGER NOT NULL DEFAULT 1,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    UNIQUE (protocol_id, step_index),
    CHECK ((status IN ('completed', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK (status <> 'needs_qa' OR head_sha IS NOT NULL),
    CHECK (status NOT IN ('failed', 'completed') OR reason IS NOT NULL)
) STRICT;

CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    provider TEXT NOT NULL CHECK (provider IN ('github', 'gitlab', 'ci')),
    hook_id INTEGER REFERENCES hooks (id),
    delivery_key TEXT NOT NULL,
    event TEXT NOT NULL,
    headers TEXT NOT NULL CHECK (json_valid(headers)),
    body_sha256 TEXT NOT NULL,
    project_id INTEGER REFERENCES projects (id),
    protocol_id INTEGER REFERENCES protocol_runs (id),
    step_id INTEGER REFERENCES step_runs (id),
    status TEXT NOT NULL CHECK (status IN ('received', 'applied', 'ignored', 'duplicate', 'failed')),
    reason TEXT,
    effect TEXT,
    received_at INTEGER NOT NULL,
    applied_at INTEGER,
    body BLOB NOT NULL -- the last column: to read another one behind it SQLite would walk its pages
) STRICT;

CREATE UNIQUE INDEX one_delivery_per_key ON deliveries (provider, coalesce(hook_id, 0), delivery_key);
CREATE INDEX deliveries_by_body ON deliveries (body_sha256);
CREATE INDEX deliveries_by_status ON deliveries (status, id);
CREATE INDEX deliveries_of_protocol ON deliveries (protocol_id, id) WHERE protocol_id IS NOT NULL;
CREATE INDEX deliveries_of_step ON deliveries (step_id) WHERE step_id IS NOT NULL;

CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN (
        'setup', 'plan_protocol_job', 'execute_step_job', 'run_quality_job', 'open_pr_job', 'process_delivery', 'sync',
        'notify')),
    project_id INTEGER REFERENCES projects (id),
    protocol_id INTEGER REFERENCES protocol_runs (id),
    step_id INTEGER REFERENCES step_runs (id),
    delivery_id INTEGER REFERENCES deliveries (id),
    payload TEXT NOT NULL CHECK (json_valid(payload)),
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    priority INTEGER NOT NULL DEFAULT 0,
    run_at INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    max_attempts INTEGER NOT NULL CHECK (max_attempts >= 1),
    continuations INTEGER NOT NULL DEFAULT 0,
    token INTEGER NOT NULL DEFAULT 0,
    heartbeat INTEGER NOT NULL DEFAULT 0,
    dispatch INTEGER NOT NULL DEFAULT 1,
    dispatched_at INTEGER,
    owner TEXT,
    stop TEXT CHECK (stop IN ('cancel', 'park')),
    category TEXT,
    error TEXT,
    result TEXT CHECK (result IS NULL OR json_valid(result)),
    actor TEXT NOT NULL,
    request_id TEXT,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    CHECK ((state = 'running') = (owner IS NOT NULL)),
    CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK (attempt <= max_attempts),
    CHECK (state <> 'failed' OR category IS NOT NULL)
) STRICT;

CREATE UNIQUE INDEX one_open_job_per_step ON jobs (step_id)
    WHERE step_id IS NOT NULL AND state IN ('queued', 'running') AND stop IS NOT 'cancel';
CREATE UNIQUE INDEX one_running_writer_per_branch ON jobs (protocol_id)
    WHERE state = 'running' AND kind IN ('plan_protocol_job', 'execute_step_job', 'open_pr_job');
CREATE INDEX jobs_to_dispatch ON jobs (priority, run_at, id) WHERE state = 'queued';
CREATE INDEX jobs_running ON jobs (project_id) WHERE state = 'running';
CREATE INDEX jobs_of_protocol ON jobs (protocol_id, id);
CREATE INDEX open_jobs_of_protocol ON jobs (protocol_id) WHERE state IN ('queued', 'running');
CREATE INDEX jobs_of_step ON jobs (step_id) WHERE step_id IS NOT NULL;
CREATE INDEX jobs_of_project ON jobs (project_id, id);
CREATE INDEX jobs_of_project_by_state ON jobs (project_id, state, id);
CREATE INDEX jobs_by_state ON jobs (state, id);
CREATE INDEX jobs_by_kind ON jobs (kind, state);
CREATE INDEX jobs_of_project_by_kind ON jobs (project_id, kind, state);
CREATE INDEX setups_of_project ON jobs (project_id, id) WHERE kind = 'setup';

CREATE TABLE attempts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id INTEGER NOT NULL REFERENCES jobs (id),
    project_id INTEGER NOT NULL REFERENCES projects (id),
    protocol_id INTEGER NOT NULL REFERENCES protocol_runs (id),
    step_id INTEGER REFERENCES step_runs (id),
    kind TEXT NOT NULL CHECK (kind IN ('plan_protocol_job', 'execute_step_job', 'run_quality_job')),
    number INTEGER NOT NULL,
    token INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'succeeded', 'failed', 'lost', 'cancelled', 'parked')),
    model TEXT,
    thread_id TEXT,
    resumed_from INTEGER REFERENCES attempts (id),
    salvage TEXT,
    prompt_sha256 TEXT,
    start_sha TEXT,
    head_sha TEXT,
    result TEXT CHECK (result IS NULL OR json_valid(result)),
    category TEXT,
    error TEXT,
    stderr_tail TEXT,
    exit_code INTEGER,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    cached_input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    reasoning_output_tokens INTEGER NOT NULL DEFAULT 0,
    directory TEXT,
    started_at INTEGER NOT NULL,
    finished_at INTEGER,
    UNIQUE (job_id, token),
    CHECK ((state = 'running') = (finished_at IS NULL))
) STRICT;

CREATE UNIQUE INDEX one_open_attempt_per_job ON attempts (job_id) WHERE state = 'running';
CREATE INDEX attempts_of_step ON attempts (step_id, id);
CREATE INDEX attempts_of_protocol ON attempts (protocol_id, id);
CREATE INDEX attempts_of_project ON attempts (project_id, id);
CREATE INDEX attempts_of_project_by_state ON attempts (project_id, state, id);
CREATE INDEX attempts_by_state ON attempts (state, id);
CREATE INDEX attempts_of_thread ON attempts (thread_id, id) WHERE thread_id IS NOT NULL;

CREATE TABLE facts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES projects (id),
    repository_id TEXT NOT NULL,
    sha TEXT NOT NULL,
    context TEXT NOT NULL,
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    provider TEXT NOT NULL CHECK (provider IN ('github', 'gitlab', 'ci')),
    outcome TEXT NOT NULL CHECK (outcome IN (
        'pass', 'soft_pass', 'fail', 'waiting_human', 'no_verdict', 'running', 'unknown')),
    run_id INTEGER NOT NULL DEFAULT 0,
    run_attempt INTEGER NOT NULL DEFAULT 1,
    observed_at INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    url TEXT,
    delivery_id INTEGER REFERENCES deliveries (id),
    details TEXT NOT NULL CHECK (json_valid(details)),
    UNIQUE (project_id, repository_id, sha, context)
) STRICT;

CREATE TABLE gates (
    step_id INTEGER NOT NULL REFERENCES step_runs (id),
    sha TEXT NOT NULL,
    name TEXT NOT NULL CHECK (name IN ('ci', 'qa', 'approval')),
    state TEXT NOT NULL CHECK (state IN ('pending', 'passed', 'failed', 'inconclusive')),
    summary TEXT NOT NULL,
    url TEXT,
    actor TEXT NOT NULL,
    attempt_id INTEGER REFERENCES attempts (id),
    evidence TEXT NOT NULL CHECK (json_valid(evidence)),
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (step_id, sha, name)
) STRICT;

CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER REFERENCES projects (id),
    protocol_id INTEGER REFERENCES protocol_runs (id),
    step_id INTEGER,
    attempt_id INTEGER REFERENCES attempts (id),
    job_id INTEGER REFERENCES jobs (id),
    delivery_id INTEGER REFERENCES deliveries (id),
    event_type TEXT NOT NULL,
    entity TEXT NOT NULL CHECK (entity IN ('line', 'project', 'protocol', 'step', 'job', 'delivery', 'notifier')),
    from_status TEXT,
    to_status TEXT,
    reason TEXT,
    actor TEXT NOT NULL,
    request_id TEXT,
    metadata TEXT NOT NULL CHECK (json_valid(metadata)),
    created_at INTEGER NOT NULL,
    CHECK ((from_status IS NULL) = (to_status IS NULL))
) STRICT;

CREATE INDEX events_of_project ON events (project_id, id);
CREATE INDEX events_of_protocol ON events (protocol_id, id);
CREATE INDEX moves_of_protocol ON events (protocol_id, id) WHERE entity = 'protocol' AND to_status IS NOT NULL;
CREATE INDEX events_of_step ON events (step_id, id) WHERE step_id IS NOT NULL;

CREATE TRIGGER events_are_append_only BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are append-only');
END;

CREATE TABLE notifiers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER REFERENCES projects (id),
    kind TEXT NOT NULL CHECK (kind IN ('webhook', 'slack')),
    key TEXT NOT NULL UNIQUE,
    host TEXT NOT NULL,
    url BLOB NOT NULL,
    secret BLOB,
    events TEXT NOT NULL CHECK (json_valid(events)),
    failures INTEGER NOT NULL DEFAULT 0,
    failing_since INTEGER,
    created_at INTEGER NOT NULL,
    disabled_at INTEGER,
    CHECK ((kind = 'webhook') = (secret IS NOT NULL))
) STRICT;

CREATE TABLE notices (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    notifier_id INTEGER NOT NULL REFERENCES notifiers (id),
    about TEXT NOT NULL,
    event_type TEXT NOT NULL,
    payload TEXT NOT NULL CHECK (json_valid(payload)),
    status TEXT NOT NULL CHECK (status IN ('queued', 'sent', 'failed')),
    tries INTEGER NOT NULL DEFAULT 0,
    answer TEXT,
    created_at INTEGER NOT NULL,
    tried_at INTEGER,
    UNIQUE (notifier_id, about)
) STRICT;

CREATE INDEX notices_of_notifier ON notices (notifier_id, id);

CREATE TABLE idempotency_keys (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    request_sha256 TEXT NOT NULL,
    status INTEGER NOT NULL,
    headers TEXT NOT NULL CHECK (json_valid(headers)),
    body BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT;

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
CREATE INDEX projects_of_repository ON projects (repository_id);
CREATE INDEX protocols_of_project ON protocol_runs (project_id, id);
CREATE INDEX protocols_unfinished ON protocol_runs (id) WHERE finished_at IS NULL;
CREATE INDEX protocols_unfinished_of_project ON protocol_runs (project_id, id) WHERE finished_at IS NULL;
CREATE INDEX protocols_by_status ON protocol_runs (status, id);
CREATE INDEX protocols_of_project_by_status ON protocol_runs (project_id, status, id);
CREATE INDEX steps_of_commit ON step_runs (head_sha) WHERE head_sha IS NOT NULL;
CREATE INDEX attempts_to_commit ON attempts (head_sha) WHERE head_sha IS NOT NULL;
CREATE INDEX attempts_from_commit ON attempts (start_sha) WHERE start_sha IS NOT NULL;
CREATE INDEX tokens_of_project ON tokens (project_id, id);
CREATE INDEX hooks_of_project ON hooks (project_id, id);
CREATE INDEX secrets_of_hook ON hook_secrets (hook_id, id);
CREATE INDEX deliveries_of_project ON deliveries (project_id, id);
CREATE INDEX attempts_by_time ON attempts (
    started_at, kind, state, project_id, model, finished_at, input_tokens, output_tokens);
CREATE INDEX steps_by_time ON step_runs (finished_at, status, protocol_id) WHERE finished_at IS NOT NULL;
CREATE INDEX protocols_by_time ON protocol_runs (finished_at, status, project_id) WHERE finished_at IS NOT NULL;
CREATE INDEX gates_by_time ON gates (updated_at, name, state, step_id);
