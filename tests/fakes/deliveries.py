"""What GitHub and GitLab would send: bodies with the members of genuine ones that matter, and their signed headers.

sent = github_workflow_run(REPO, branch="0001-pears", sha=sha, outcome="failure")
await client.post(url, content=sent.body, headers=sent.headers("the secret"))
"""

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
from standardwebhooks.webhooks import Webhook

GITHUB_STATES = frozenset({"queued", "requested", "pending", "waiting", "in_progress"})
NOTHING = "0" * 40
NOON_MS = 1_764_590_400_000  # 2025-12-01 12:00:00 UTC


class Repo(msgspec.Struct, frozen=True):
    """A repository at a forge; both are told in the bodies."""

    id: int
    path: str
    host: str = "github.com"

    @property
    def url(self) -> str:
        return f"https://{self.host}/{self.path}"


class Sent(msgspec.Struct, frozen=True):
    """One delivery; the same `key` again is the same delivery again."""

    provider: str
    event: str
    said: dict[str, Any]
    key: str = msgspec.field(default_factory=lambda: str(uuid4()))

    @property
    def body(self) -> bytes:
        return json.dumps(self.said).encode()

    def headers(self, secret: str) -> dict[str, str]:
        """As the forge signs: a secret that starts with `whsec_` is GitLab's signing token, else its plain one."""
        if self.provider == "github":
            return {
                "content-type": "application/json",
                "user-agent": "GitHub-Hookshot/044aadd",
                "x-github-delivery": self.key,
                "x-github-event": self.event,
                "x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), self.body, hashlib.sha256).hexdigest(),
            }
        headers = {
            "content-type": "application/json",
            "user-agent": "GitLab/19.1.0",
            "x-gitlab-event": self.event,
            "idempotency-key": self.key,
        }
        if not secret.startswith("whsec_"):
            return headers | {"x-gitlab-token": secret}
        when = datetime.fromtimestamp(int(time.time()), UTC)
        return headers | {
            "webhook-id": self.key,
            "webhook-timestamp": str(int(when.timestamp())),
            "webhook-signature": Webhook(secret).sign(self.key, when, self.body.decode()),
        }

    def but(self, **changes: Any) -> "Sent":
        """The same delivery with other values; `pull_request__head__repo=None` reaches inside, `...` leaves out."""
        said = json.loads(self.body)
        for path, value in changes.items():
            *way, last = path.split("__")
            member = said
            for name in way:
                member = member[name]
            if value is ...:
                del member[last]
            else:
                member[last] = value
        return Sent(self.provider, self.event, said)


def github_workflow_run(
    repo: Repo,
    *,
    branch: str | None,
    sha: str,
    outcome: str = "success",
    run_id: int = 9001,
    attempt: int = 1,
    at: int = NOON_MS,
    name: str = "CI",
    workflow_id: int = 501,
    trigger: str = "push",
    head_repo: Repo | None = None,
) -> Sent:
    """`outcome` is a conclusion, or the status of a run that has none yet."""
    state = _state_of(outcome)
    run = state | {
        "id": run_id,
        "name": name,
        "head_branch": branch,
        "head_sha": sha,
        "event": trigger,
        "workflow_id": workflow_id,
        "run_number": 7,
        "run_attempt": attempt,
        "html_url": f"{repo.url}/actions/runs/{run_id}",
        "created_at": _iso(NOON_MS),
        "run_started_at": _iso(NOON_MS),
        "updated_at": _iso(at),
        "pull_requests": [],
        "repository": _github_repository(repo),
        "head_repository": _github_repository(head_repo or repo),
    }
    action = {"completed": "completed", "in_progress": "in_progress"}.get(state["status"] or "", "requested")
    workflow = {"id": workflow_id, "name": name, "path": ".github/workflows/ci.yml", "state": "active"}
    return _github("workflow_run", repo, action=action, workflow_run=run, workflow=workflow)


def github_check_suite(
    repo: Repo,
    *,
    branch: str | None,
    sha: str,
    outcome: str = "success",
    suite_id: int = 6001,
    app: str = "orchard-checks",
    at: int = NOON_MS,
) -> Sent:
    """`outcome` as for a workflow run; a suite for the branch of a fork has no `branch`."""
    state = _state_of(outcome)
    suite = state | {
        "id": suite_id,
        "head_branch": branch,
        "head_sha": sha,
        "url": f"https://api.github.com/repos/{repo.path}/check-suites/{suite_id}",
        "pull_requests": [],
        "app": {"id": 8, "slug": app, "name": app.title()},
        "created_at": _iso(NOON_MS),
        "updated_at": _iso(at),
        "latest_check_runs_count": 2,
    }
    action = "completed" if state["status"] == "completed" else "requested"
    return _github("check_suite", repo, action=action, check_suite=suite)


def github_check_run(
    repo: Repo,
    *,
    branch: str | None,
    sha: str,
    outcome: str = "success",
    name: str = "unit tests",
    check_id: int = 7001,
    app: str = "github-actions",
    title: str | None = None,
    at: int = NOON_MS,
) -> Sent:
    """`outcome` as for a workflow run; `title` is what the check says of itself."""
    state = _state_of(outcome)
    ended = state["status"] == "completed"
    check = state | {
        "id": check_id,
        "name": name,
        "head_sha": sha,
        "external_id": "",
        "html_url": f"{repo.url}/runs/{check_id}",
        "details_url": "https://ci.example.test/41",
        "started_at": _iso(NOON_MS),
        "completed_at": _iso(at) if ended else None,
        "output": {"title": title, "summary": None, "annotations_count": 0},
        "app": {"id": 8, "slug": app, "name": app.title()},
        "check_suite": {"id": 6001, "head_branch": branch, "head_sha": sha, "status": state["status"]},
        "pull_requests": [],
    }
    return _github("check_run", repo, action="completed" if ended else "created", check_run=check)


def github_status(
    repo: Repo,
    *,
    sha: str,
    outcome: str = "success",
    context: str = "ci/orchard",
    status_id: int = 8001,
    description: str | None = None,
    at: int = NOON_MS,
) -> Sent:
    """A commit status; the branches that contain the commit are told as a forge does, and mean nothing."""
    return _github(
        "status",
        repo,
        id=status_id,
        sha=sha,
        name=repo.path,
        state=outcome,
        context=context,
        description=description,
        target_url="https://ci.example.test/41",
        created_at=_iso(at),
        updated_at=_iso(at),
        commit={"sha": sha, "commit": {"message": "feat(pears): grow"}},
        branches=[{"name": "main", "commit": {"sha": sha}}, {"name": "0001-pears", "commit": {"sha": sha}}],
    )


def github_pull_request(
    repo: Repo,
    *,
    number: int,
    branch: str,
    sha: str,
    action: str = "opened",
    base: str = "main",
    merged: bool = False,
    merge_sha: str | None = None,
    draft: bool = False,
    at: int = NOON_MS,
    head_repo: Repo | None = None,
) -> Sent:
    """`action="closed"` closes it; with `merged` it was merged, as `merge_sha`."""
    pull = {
        "id": 70_000 + number,
        "number": number,
        "state": "closed" if action == "closed" else "open",
        "title": "Grow pears",
        "draft": draft,
        "merged": merged,
        "merged_at": _iso(at) if merged else None,
        "merge_commit_sha": merge_sha,
        "html_url": f"{repo.url}/pull/{number}",
        "created_at": _iso(NOON_MS),
        "updated_at": _iso(at),
        "head": {"ref": branch, "sha": sha, "repo": _github_repository(head_repo or repo)},
        "base": {"ref": base, "sha": "b" * 40, "repo": _github_repository(repo)},
    }
    return _github("pull_request", repo, action=action, number=number, pull_request=pull)


def github_push(repo: Repo, *, branch: str, before: str | None, after: str | None, forced: bool = False) -> Sent:
    """Without `before` the branch is new, without `after` it is gone."""
    return _github(
        "push",
        repo,
        ref=f"refs/heads/{branch}",
        before=before or NOTHING,
        after=after or NOTHING,
        created=before is None,
        deleted=after is None,
        forced=forced,
        base_ref=None,
        compare=f"{repo.url}/compare/main...{branch}",
        commits=[],
        head_commit=None if after is None else {"id": after, "message": "feat(pears): grow"},
    )


def gitlab_pipeline(
    repo: Repo,
    *,
    branch: str,
    sha: str,
    status: str = "success",
    pipeline_id: int = 3001,
    source: str = "push",
    at: int = NOON_MS,
    builds: tuple[Mapping[str, Any], ...] = (),
    merge_request: Mapping[str, Any] | None = None,
) -> Sent:
    """`builds` are told as they are; `merge_request` makes it one of a merge request, and says whose."""
    ended = status in {"success", "failed", "canceled", "skipped"}
    attributes = {
        "id": pipeline_id,
        "iid": 12,
        "name": None,
        "ref": branch,
        "tag": False,
        "sha": sha,
        "before_sha": NOTHING,
        "source": source,
        "status": status,
        "detailed_status": "passed" if status == "success" else status,
        "stages": ["test"],
        "created_at": _gitlab_time(NOON_MS),
        "finished_at": _gitlab_time(at) if ended else None,
        "duration": 63 if ended else None,
        "variables": [{"key": "DEPLOY_KEY", "value": "a-value-that-nobody-may-see"}],
        "url": f"{repo.url}/-/pipelines/{pipeline_id}",
    }
    return _gitlab(
        "pipeline",
        "Pipeline Hook",
        repo,
        object_attributes=attributes,
        merge_request=None if merge_request is None else dict(merge_request),
        commit={"id": sha, "message": "feat(pears): grow", "url": f"{repo.url}/-/commit/{sha}"},
        builds=[dict(build) for build in builds],
    )


def gitlab_job(
    repo: Repo,
    *,
    branch: str,
    sha: str,
    status: str = "success",
    name: str = "unit tests",
    stage: str = "test",
    job_id: int = 4001,
    pipeline_id: int = 3001,
    reason: str = "unknown_failure",
    allow_failure: bool = False,
    at: int = NOON_MS,
) -> Sent:
    """A job of a pipeline; `reason` is told whether it failed or not, as GitLab does."""
    ended = status in {"success", "failed", "canceled", "skipped"}
    return _gitlab(
        "build",
        "Job Hook",
        repo,
        ref=branch,
        tag=False,
        before_sha=NOTHING,
        sha=sha,
        build_id=job_id,
        build_name=name,
        build_stage=stage,
        build_status=status,
        build_created_at=_gitlab_time(NOON_MS),
        build_started_at=None,
        build_finished_at=_gitlab_time(at) if ended else None,
        build_allow_failure=allow_failure,
        build_failure_reason=reason,
        retries_count=0,
        pipeline_id=pipeline_id,
        project_id=repo.id,
        project_name=repo.path.replace("/", " / ").title(),
        commit={"id": pipeline_id, "sha": sha, "message": "feat(pears): grow", "status": status},
        repository={"name": repo.path.rpartition("/")[2], "homepage": repo.url},
        environment=None,
    )


def gitlab_merge_request(
    repo: Repo,
    *,
    number: int,
    branch: str,
    sha: str,
    action: str | None = "open",
    base: str = "main",
    state: str | None = None,
    merge_sha: str | None = None,
    oldrev: str | None = None,
    draft: bool = False,
    at: int = NOON_MS,
    head_repo: Repo | None = None,
) -> Sent:
    """The state follows from the action where it is not given; `oldrev` says that the head moved."""
    attributes: dict[str, Any] = {
        "id": 90_000 + number,
        "iid": number,
        "title": f"{'Draft: ' if draft else ''}Grow pears",
        "draft": draft,
        "state": state or {"close": "closed", "merge": "merged"}.get(action or "", "opened"),
        "source_branch": branch,
        "target_branch": base,
        "source_project_id": (head_repo or repo).id,
        "target_project_id": repo.id,
        "last_commit": {"id": sha, "message": "feat(pears): grow"},
        "merge_commit_sha": merge_sha,
        "created_at": _gitlab_time(NOON_MS),
        "updated_at": _gitlab_time(at),
        "url": f"{repo.url}/-/merge_requests/{number}",
    }
    if action is not None:
        attributes["action"] = action
    if oldrev is not None:
        attributes["oldrev"] = oldrev
    return _gitlab("merge_request", "Merge Request Hook", repo, object_attributes=attributes, changes={})


def gitlab_push(repo: Repo, *, branch: str, before: str | None, after: str | None) -> Sent:
    """Without `before` the branch is new, without `after` it is gone."""
    return _gitlab(
        "push",
        "Push Hook",
        repo,
        event_name="push",
        ref=f"refs/heads/{branch}",
        before=before or NOTHING,
        after=after or NOTHING,
        checkout_sha=after,
        project_id=repo.id,
        commits=[],
        total_commits_count=0,
    )


def _github(event: str, repo: Repo, **members: Any) -> Sent:
    sender = {"id": 5, "login": "ada", "type": "User"}
    return Sent("github", event, members | {"repository": _github_repository(repo), "sender": sender})


def _gitlab(kind: str, event: str, repo: Repo, **members: Any) -> Sent:
    project = {
        "id": repo.id,
        "name": repo.path.rpartition("/")[2],
        "path_with_namespace": repo.path,
        "web_url": repo.url,
        "git_http_url": f"{repo.url}.git",
        "default_branch": "main",
    }
    user = {"id": 5, "username": "ada", "name": "Ada"}
    return Sent("gitlab", event, {"object_kind": kind, "user": user, "project": project} | members)


def _github_repository(repo: Repo) -> dict[str, Any]:
    owner, _, name = repo.path.partition("/")
    return {
        "id": repo.id,
        "name": name,
        "full_name": repo.path,
        "owner": {"login": owner, "id": 4},
        "html_url": repo.url,
        "clone_url": f"{repo.url}.git",
        "default_branch": "main",
    }


def _state_of(outcome: str) -> dict[str, str | None]:
    if outcome in GITHUB_STATES:
        return {"status": outcome, "conclusion": None}
    return {"status": "completed", "conclusion": outcome}


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _gitlab_time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
