"""GitHub's side of the fake: the calls of its REST API (and the one GraphQL mutation) that anybody here makes."""

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tests.fakes import deliveries
from tests.fakes.forge.repository import Check, Pull, Repository, Run
from tests.fakes.forge.wire import Answer, Asked, as_json

VERSIONS = {"2022-11-28", "2026-03-10"}
MUTATION = re.compile(r"markPullRequestReadyForReview")
PULL_ID = re.compile(r"PR_(\d+)_(\d+)")


class World(Protocol):
    """What this module needs of the fake."""

    logs: dict[str, str]

    def find(self, provider: str, host: str, full_name: str) -> Repository | None: ...
    def on(self, provider: str, host: str) -> Any: ...


Call = Callable[[World, Repository, Asked, Sequence[str]], Answer]


def answer(world: World, host: str, path: str, asked: Asked) -> Answer | None:
    """The answer to one call, or None where there is nothing."""
    version = asked.headers.get("x-github-api-version")
    if version not in VERSIONS or "user-agent" not in asked.headers:
        return as_json({"message": f"version {version!r} or no user agent"}, 400)
    if path == "/graphql":
        return _graphql(world, host, asked)
    if not (found := re.fullmatch(r"/repos/([^/]+/[^/]+)(/.*)?", path)) and not (
        found := re.fullmatch(r"/repositories/(\d+)(/.*)?", path)
    ):
        return None
    name, rest = found[1], found[2] or ""
    repository = world.find("github", host, name) or next(
        (each for each in world.on("github", host) if str(each.id) == name), None
    )
    if repository is None:
        return None
    if not _may(repository, asked):
        given = asked.headers.get("authorization")
        return as_json({"message": "Bad credentials"}, 401) if given else None
    if "/" in name and name.lower() != repository.full_name.lower():
        base = f"https://{asked.host}{asked.path.removesuffix(path)}"
        query = "&".join(f"{key}={value}" for key, value in asked.query.items())
        where = f"{base}/repositories/{repository.id}{rest}" + (f"?{query}" if query else "")
        status = 301 if asked.method == "GET" else 307
        return as_json({"message": "Moved Permanently", "url": where}, status, location=where)
    for method, pattern, call in CALLS:
        if method == asked.method and (match := re.fullmatch(pattern, rest)):
            return _with_etag(call(world, repository, asked, match.groups()), asked)
    return None


def _may(repository: Repository, asked: Asked) -> bool:
    return asked.headers.get("authorization") == f"Bearer {repository.token}"


def _with_etag(told: Answer, asked: Asked) -> Answer:
    if asked.method != "GET" or told.status != 200:
        return told
    etag = f'W/"{hashlib.sha256(told.body).hexdigest()}"'
    if asked.headers.get("if-none-match") == etag:
        return Answer(304, b"", {"etag": etag})
    return Answer(told.status, told.body, {**told.headers, "etag": etag})


def _paged(items: list[Any], asked: Asked, key: str | None = None, **more: str) -> Answer:
    size, page = int(asked.query.get("per_page", "30")), int(asked.query.get("page", "1"))
    part = items[(page - 1) * size : page * size]
    headers = {}
    if page * size < len(items):
        query = "&".join(f"{name}={value}" for name, value in {**asked.query, "page": str(page + 1)}.items())
        headers["link"] = f'<https://{asked.host}{asked.path}?{query}>; rel="next"'
    return as_json(part if key is None else {"total_count": len(items), key: part, **more}, **headers)


def _invalid(message: str) -> Answer:
    error = {"resource": "PullRequest", "code": "custom", "message": message}
    return as_json({"message": "Validation Failed", "errors": [error]}, 422)


# Repository and pull requests


def _repository(_world: World, repository: Repository, _asked: Asked, _parts: Sequence[str]) -> Answer:
    return as_json(_shown(repository))


def _shown(repository: Repository) -> dict[str, Any]:
    owner, _, name = repository.full_name.partition("/")
    return {
        "id": repository.id,
        "node_id": f"R_{repository.id}",
        "name": name,
        "full_name": repository.full_name,
        "owner": {"login": owner},
        "html_url": repository.url,
        "default_branch": "main",
    }


def _pull(repository: Repository, pull: Pull, *, listed: bool = False) -> dict[str, Any]:
    """As a delivery tells it; a list leaves some members out."""
    owner = repository.full_name.partition("/")[0]
    fork = deliveries.Repo(id=9, path=f"{owner}/a-fork", host=repository.host)  # one owner may have both
    told: dict[str, Any] = deliveries.github_pull_request(
        repository.told,
        number=pull.number,
        branch=pull.branch,
        sha=pull.sha,
        action="opened" if pull.state == "open" else "closed",
        base=pull.base,
        merged=pull.state == "merged",
        merge_sha=pull.merge_sha,
        draft=pull.draft,
        at=pull.at,
        head_repo=fork if pull.foreign else None,
    ).said["pull_request"]
    told |= {"node_id": f"PR_{repository.id}_{pull.number}", "title": pull.title, "body": pull.body}
    if listed:
        del told["merged"]
    return told


def _pulls(_world: World, repository: Repository, asked: Asked, _parts: Sequence[str]) -> Answer:
    state, head = asked.query.get("state", "open"), asked.query.get("head", "")
    owner, colon, branch = head.partition(":")
    found = [
        _pull(repository, pull, listed=True)
        for pull in reversed(repository.pulls.values())
        if state == "all" or (pull.state == "open") == (state == "open")
        # A head without an owner is no filter at GitHub.
        if not colon or (pull.branch, repository.full_name.partition("/")[0]) == (branch, owner)
    ]
    return _paged(found, asked)


def _open(_world: World, repository: Repository, asked: Asked, _parts: Sequence[str]) -> Answer:
    given = asked.json()
    branch, base = given["head"].rpartition(":")[2], given["base"]
    if given.get("draft") and not repository.drafts:
        return as_json({"message": "Draft pull requests are not supported in this repository."}, 422)
    for pull in repository.pulls.values():
        if (pull.branch, pull.base, pull.state, pull.foreign) == (branch, base, "open", False):
            owner = repository.full_name.partition("/")[0]
            return _invalid(f"A pull request already exists for {owner}:{branch}.")
    if not repository.head(branch):
        return as_json(
            {
                "message": "Validation Failed",
                "errors": [{"resource": "PullRequest", "field": "head", "code": "invalid"}],
            },
            422,
        )
    if repository.head(branch) == repository.head(base):
        return _invalid(f"No commits between {base} and {branch}")
    pull = repository.open(branch, base=base, title=given["title"], body=given["body"], draft=bool(given.get("draft")))
    return as_json(_pull(repository, pull), 201)


def _one_pull(_world: World, repository: Repository, _asked: Asked, parts: Sequence[str]) -> Answer:
    pull = repository.pulls.get(int(parts[0]))
    return as_json({"message": "Not Found"}, 404) if pull is None else as_json(_pull(repository, pull))


def _edit(_world: World, repository: Repository, asked: Asked, parts: Sequence[str]) -> Answer:
    pull, given = repository.pulls.get(int(parts[0])), asked.json()
    if pull is None:
        return as_json({"message": "Not Found"}, 404)
    if "draft" in given:
        return _invalid("draft cannot be changed here")
    pull.title, pull.body = given.get("title", pull.title), given.get("body", pull.body)
    pull.at = repository.now()
    return as_json(_pull(repository, pull))


def _graphql(world: World, host: str, asked: Asked) -> Answer:
    given = asked.json()
    match = PULL_ID.fullmatch(str(given.get("variables", {}).get("id", "")))
    repository = next((each for each in world.on("github", host) if match and str(each.id) == match[1]), None)
    if repository is None or match is None or not MUTATION.search(given["query"]):
        return as_json({"data": None, "errors": [{"type": "NOT_FOUND", "message": "Could not resolve to a node."}]})
    if not _may(repository, asked):
        return as_json({"message": "Bad credentials"}, 401)
    repository.make_ready(int(match[2]))
    return as_json({"data": {"markPullRequestReadyForReview": {"pullRequest": {"isDraft": False}}}})


# Comments


def _comments(_world: World, repository: Repository, asked: Asked, parts: Sequence[str]) -> Answer:
    pull = repository.pulls.get(int(parts[0]))
    if pull is None:
        return as_json({"message": "Not Found"}, 404)
    return _paged([{"id": each.id, "body": each.body} for each in pull.comments], asked)


def _comment(_world: World, repository: Repository, asked: Asked, parts: Sequence[str]) -> Answer:
    made = repository.comment(int(parts[0]), asked.json()["body"], mine=True)
    return as_json({"id": made.id, "body": made.body}, 201)


def _edit_comment(_world: World, repository: Repository, asked: Asked, parts: Sequence[str]) -> Answer:
    for pull in repository.pulls.values():
        for each in pull.comments:
            if each.id == int(parts[0]):
                each.body = asked.json()["body"]
                return as_json({"id": each.id, "body": each.body})
    return as_json({"message": "Not Found"}, 404)


# CI


def _state(outcome: str) -> dict[str, str | None]:
    if outcome in deliveries.GITHUB_STATES:
        return {"status": outcome, "conclusion": None}
    return {"status": "completed", "conclusion": outcome}


def _run(repository: Repository, run: Run) -> dict[str, Any]:
    told: dict[str, Any] = deliveries.github_workflow_run(
        repository.told,
        branch=run.branch,
        sha=run.sha,
        outcome=run.outcome,
        run_id=run.id,
        attempt=run.attempt,
        at=run.at,
        name=run.name,
        workflow_id=run.workflow_id,
        trigger=run.source,
    ).said["workflow_run"]
    return told | {"check_suite_id": run.id + 700_000}


def _runs(_world: World, repository: Repository, asked: Asked, _parts: Sequence[str]) -> Answer:
    sha = asked.query.get("head_sha")
    found = [_run(repository, run) for run in reversed(repository.runs.values()) if sha in {None, run.sha}]
    return _paged(found, asked, "workflow_runs")


def _of_actions(repository: Repository, run: Run) -> dict[str, Any]:
    """The check run that a job of Actions is at the same time; both have one id."""
    ended = run.outcome not in deliveries.GITHUB_STATES
    return _state(run.outcome) | {
        "id": run.job_id,
        "head_sha": run.sha,
        "name": run.job,
        "app": {"id": 15368, "slug": "github-actions", "name": "GitHub Actions"},
        "check_suite": {"id": run.id + 700_000},
        "html_url": f"{repository.url}/actions/runs/{run.id}/job/{run.job_id}",
        "details_url": f"{repository.url}/actions/runs/{run.id}/job/{run.job_id}",
        "started_at": _iso(run.at),
        "completed_at": _iso(run.at) if ended else None,
        "output": {"title": None, "summary": None, "text": None},
    }


def _of_others(repository: Repository, check: Check) -> dict[str, Any]:
    ended = check.outcome not in deliveries.GITHUB_STATES
    return _state(check.outcome) | {
        "id": check.id,
        "head_sha": check.sha,
        "name": check.name,
        "app": {"id": 77, "slug": check.app, "name": check.app},
        "check_suite": {"id": check.suite_id},
        "html_url": f"{repository.url}/runs/{check.id}",
        "details_url": f"https://{check.app}.test/{check.id}",
        "started_at": _iso(check.at),
        "completed_at": _iso(check.at) if ended else None,
        "output": {"title": check.name, "summary": "See below." if check.text else None, "text": check.text or None},
    }


def _check_runs(_world: World, repository: Repository, asked: Asked, parts: Sequence[str]) -> Answer:
    found = [_of_actions(repository, run) for run in repository.runs.values() if run.sha == parts[0]]
    found += [_of_others(repository, check) for check in repository.checks.values() if check.sha == parts[0]]
    return _paged(found, asked, "check_runs")


def _suite_runs(_world: World, repository: Repository, asked: Asked, parts: Sequence[str]) -> Answer:
    suite = int(parts[0])
    found = [_of_actions(repository, run) for run in repository.runs.values() if run.id + 700_000 == suite]
    found += [_of_others(repository, check) for check in repository.checks.values() if check.suite_id == suite]
    return _paged(found, asked, "check_runs")


def _one_check_run(_world: World, repository: Repository, _asked: Asked, parts: Sequence[str]) -> Answer:
    number = int(parts[0])
    if number in repository.checks:
        return as_json(_of_others(repository, repository.checks[number]))
    run = next((run for run in repository.runs.values() if run.job_id == number), None)
    return as_json({"message": "Not Found"}, 404) if run is None else as_json(_of_actions(repository, run))


def _suites(_world: World, repository: Repository, asked: Asked, parts: Sequence[str]) -> Answer:
    def suite(number: int, run: dict[str, Any], branch: str | None) -> dict[str, Any]:
        return {
            "id": number,
            "head_branch": branch,
            "head_sha": run["head_sha"],
            "status": run["status"],
            "conclusion": run["conclusion"],
            "app": run["app"],
            "created_at": run["started_at"],
            "updated_at": run["completed_at"] or run["started_at"],
            "pull_requests": [],
        }

    found = [
        suite(run.id + 700_000, _of_actions(repository, run), run.branch)
        for run in repository.runs.values()
        if run.sha == parts[0]
    ]
    found += [
        suite(check.suite_id, _of_others(repository, check), check.branch)
        for check in repository.checks.values()
        if check.sha == parts[0]
    ]
    return _paged(found, asked, "check_suites")


def _status(_world: World, repository: Repository, asked: Asked, parts: Sequence[str]) -> Answer:
    newest = {each.context: each for each in repository.statuses if each.sha == parts[0]}
    shown = [
        {
            "id": each.id,
            "state": each.state,
            "context": each.context,
            "description": None,
            "target_url": each.url,
            "created_at": _iso(each.at),
            "updated_at": _iso(each.at),
        }
        for each in newest.values()
    ]
    return _paged(shown, asked, "statuses", state="pending", sha=parts[0])


def _jobs(_world: World, repository: Repository, asked: Asked, parts: Sequence[str]) -> Answer:
    run = repository.runs.get(int(parts[0]))
    if run is None:
        return as_json({"message": "Not Found"}, 404)
    job = _state(run.outcome) | {"id": run.job_id, "run_id": run.id, "name": run.job, "run_attempt": run.attempt}
    fine = {"id": run.job_id + 5, "run_id": run.id, "name": "lint", "status": "completed", "conclusion": "success"}
    return _paged([fine, job], asked, "jobs")


def _log(world: World, repository: Repository, _asked: Asked, parts: Sequence[str]) -> Answer:
    """Not here but in a blob storage, for a minute."""
    run = next((run for run in repository.runs.values() if run.job_id == int(parts[0])), None)
    if run is None or not run.log:
        return as_json({"message": "Not Found"}, 404)
    path = f"/logs/{repository.id}/{run.job_id}"
    world.logs[path] = run.log
    return Answer(302, b"", {"location": f"https://blobs.elsewhere.test{path}?sig=abc"})


def _dispatch(_world: World, repository: Repository, asked: Asked, parts: Sequence[str]) -> Answer:
    given = asked.json()
    if not repository.head(given["ref"]):
        return as_json({"message": f"No ref found for: {given['ref']}"}, 422)
    if parts[0] != "ci.yml":
        return as_json({"message": "Not Found"}, 404)
    repository.dispatched.append(given)
    run = repository.ci(repository.head(given["ref"]), "queued", branch=given["ref"], source="workflow_dispatch")
    if not given.get("return_run_details"):
        return Answer(204)
    api = f"https://{asked.host}{asked.path.partition('/workflows/')[0]}/runs/{run.id}"
    return as_json({"workflow_run_id": run.id, "run_url": api, "html_url": f"{repository.url}/actions/runs/{run.id}"})


def _iso(at: int) -> str:
    return deliveries._iso(at)


CALLS: tuple[tuple[str, str, Call], ...] = (
    ("GET", r"", _repository),
    ("GET", r"/pulls", _pulls),
    ("POST", r"/pulls", _open),
    ("GET", r"/pulls/(\d+)", _one_pull),
    ("PATCH", r"/pulls/(\d+)", _edit),
    ("GET", r"/issues/(\d+)/comments", _comments),
    ("POST", r"/issues/(\d+)/comments", _comment),
    ("PATCH", r"/issues/comments/(\d+)", _edit_comment),
    ("GET", r"/actions/runs", _runs),
    ("GET", r"/actions/runs/(\d+)/jobs", _jobs),
    ("GET", r"/actions/jobs/(\d+)/logs", _log),
    ("POST", r"/actions/workflows/([^/]+)/dispatches", _dispatch),
    ("GET", r"/commits/([0-9a-f]{40})/check-runs", _check_runs),
    ("GET", r"/commits/([0-9a-f]{40})/check-suites", _suites),
    ("GET", r"/commits/([0-9a-f]{40})/status", _status),
    ("GET", r"/check-suites/(\d+)/check-runs", _suite_runs),
    ("GET", r"/check-runs/(\d+)", _one_check_run),
)
