"""GitLab's side of the fake: the calls of its REST API that anybody here makes."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from tests.fakes.forge.github import World
from tests.fakes.forge.repository import Comment, Pull, Repository, Run
from tests.fakes.forge.wire import Answer, Asked, as_json

Call = Callable[[Repository, Asked, Sequence[str]], Answer]

DRAFT = re.compile(r"(?i)^\s*(\[draft\]|\(draft\)|draft:)\s*")
NOT_FOUND = {"message": "404 Not found"}


def answer(world: World, host: str, path: str, asked: Asked) -> Answer | None:
    """The answer to one call, or None where there is nothing."""
    found = re.fullmatch(r"/projects/([^/]+)(/.*)?", path)
    if found is None:
        return None
    name, rest = unquote(found[1]), found[2] or ""
    repository = world.find("gitlab", host, name) or next(
        (each for each in world.on("gitlab", host) if str(each.id) == name), None
    )
    given = asked.headers.get("private-token")
    if repository is None or given is None:
        return as_json({"message": "404 Project Not Found"}, 404)
    if given != repository.token:
        return as_json({"message": "401 Unauthorized"}, 401)
    if "/" in name and name.lower() != repository.full_name.lower():
        if asked.method != "GET":
            return as_json({"message": "405 Method Not Allowed"}, 405)
        where = f"https://{asked.host}/api/v4/projects/{repository.id}{rest}"
        return as_json({"message": "Moved"}, 302, location=where)
    for method, pattern, call in CALLS:
        if method == asked.method and (match := re.fullmatch(pattern, rest)):
            return call(repository, asked, match.groups())
    return None


def _paged(items: list[Any], asked: Asked) -> Answer:
    size, page = int(asked.query.get("per_page", "20")), int(asked.query.get("page", "1"))
    headers = {}
    if page * size < len(items):
        query = "&".join(f"{name}={value}" for name, value in {**asked.query, "page": str(page + 1)}.items())
        headers["link"] = f'<https://{asked.host}{asked.path}?{query}>; rel="next"'
    return as_json(items[(page - 1) * size : page * size], **headers)


def _project(repository: Repository, _asked: Asked, _parts: Sequence[str]) -> Answer:
    return as_json(
        {
            "id": repository.id,
            "path_with_namespace": repository.full_name,
            "web_url": repository.url,
            "default_branch": "main",
        }
    )


# Merge requests


def _shown(repository: Repository, pull: Pull) -> dict[str, Any]:
    return {
        "id": 90_000 + pull.number,
        "iid": pull.number,
        "project_id": repository.id,
        "title": f"{'Draft: ' if pull.draft else ''}{pull.title}",
        "description": pull.body,
        "draft": pull.draft,
        "state": {"open": "opened"}.get(pull.state, pull.state),
        "source_branch": pull.branch,
        "target_branch": pull.base,
        "source_project_id": 9 if pull.foreign else repository.id,
        "target_project_id": repository.id,
        "sha": pull.sha,
        "merge_commit_sha": pull.merge_sha,
        "squash_commit_sha": None,
        "created_at": _time(pull.at),
        "updated_at": _time(pull.at),
        "web_url": f"{repository.url}/-/merge_requests/{pull.number}",
    }


def _pulls(repository: Repository, asked: Asked, _parts: Sequence[str]) -> Answer:
    state, branch = asked.query.get("state", "all"), asked.query.get("source_branch")
    found = [_shown(repository, pull) for pull in reversed(repository.pulls.values()) if branch in {None, pull.branch}]
    return _paged([one for one in found if state in {"all", one["state"]}], asked)


def _titled(pull: Pull, title: str) -> None:
    """The draft mark is nothing but the beginning of the title."""
    pull.draft, pull.title = bool(DRAFT.match(title)), DRAFT.sub("", title)


def _open(repository: Repository, asked: Asked, _parts: Sequence[str]) -> Answer:
    given = asked.json()
    branch, base = given["source_branch"], given["target_branch"]
    for pull in repository.pulls.values():
        if (pull.branch, pull.base, pull.state) == (branch, base, "open"):
            told = f"Another open merge request already exists for this source branch: !{pull.number}"
            return as_json({"message": [told]}, 409)
    if not repository.head(branch):
        return as_json({"message": {"source_branch": ["does not exist"]}}, 400)
    pull = repository.open(branch, base=base, body=given["description"])
    _titled(pull, given["title"])
    return as_json(_shown(repository, pull), 201)


def _one_pull(repository: Repository, _asked: Asked, parts: Sequence[str]) -> Answer:
    pull = repository.pulls.get(int(parts[0]))
    return as_json(NOT_FOUND, 404) if pull is None else as_json(_shown(repository, pull))


def _edit(repository: Repository, asked: Asked, parts: Sequence[str]) -> Answer:
    pull, given = repository.pulls.get(int(parts[0])), asked.json()
    if pull is None:
        return as_json(NOT_FOUND, 404)
    _titled(pull, given.get("title", _shown(repository, pull)["title"]))
    pull.body = given.get("description", pull.body)
    pull.at = repository.now()
    repository.tell_pull(pull, "update")
    return as_json(_shown(repository, pull))


# Notes


def _note(each: Comment) -> dict[str, Any]:
    return {"id": each.id, "body": each.body, "system": False}


def _notes(repository: Repository, asked: Asked, parts: Sequence[str]) -> Answer:
    pull = repository.pulls.get(int(parts[0]))
    if pull is None:
        return as_json(NOT_FOUND, 404)
    return _paged([_note(each) for each in pull.comments], asked)


def _write_note(repository: Repository, asked: Asked, parts: Sequence[str]) -> Answer:
    return as_json(_note(repository.comment(int(parts[0]), asked.json()["body"], mine=True)), 201)


def _edit_note(repository: Repository, asked: Asked, parts: Sequence[str]) -> Answer:
    for each in repository.pulls[int(parts[0])].comments:
        if each.id == int(parts[1]):
            each.body = asked.json()["body"]
            return as_json(_note(each))
    return as_json(NOT_FOUND, 404)


# CI


def _pipeline(repository: Repository, run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "iid": run.id - 900,
        "project_id": repository.id,
        "sha": run.sha,
        "ref": run.branch,
        "status": run.gitlab_status,
        "source": run.source,
        "created_at": _time(run.began),
        "updated_at": _time(run.at),
        "web_url": f"{repository.url}/-/pipelines/{run.id}",
    }


def _pipelines(repository: Repository, asked: Asked, _parts: Sequence[str]) -> Answer:
    sha = asked.query.get("sha")
    found = [_pipeline(repository, run) for run in reversed(repository.runs.values()) if sha in {None, run.sha}]
    return _paged(found, asked)


def _jobs(repository: Repository, asked: Asked, parts: Sequence[str]) -> Answer:
    run = repository.runs.get(int(parts[0]))
    if run is None:
        return as_json(NOT_FOUND, 404)

    def job(number: int, name: str, status: str) -> dict[str, Any]:
        return {
            "id": number,
            "name": name,
            "stage": "test",
            "status": status,
            "ref": run.branch,
            "allow_failure": False,
            "failure_reason": "script_failure" if status == "failed" else None,
            "created_at": _time(run.at),
            "started_at": _time(run.at),
            "finished_at": None if status == "running" else _time(run.at),
            "commit": {"id": run.sha},
            "pipeline": {"id": run.id, "sha": run.sha, "ref": run.branch, "status": run.gitlab_status},
            "web_url": f"{repository.url}/-/jobs/{number}",
        }

    return _paged([job(run.job_id, run.job, run.gitlab_status), job(run.job_id + 5, "lint", "success")], asked)


def _trace(repository: Repository, _asked: Asked, parts: Sequence[str]) -> Answer:
    run = next((run for run in repository.runs.values() if run.job_id == int(parts[0])), None)
    if run is None:
        return as_json(NOT_FOUND, 404)
    return Answer(200, run.log.encode(), {"content-type": "text/plain"})


def _trigger(repository: Repository, asked: Asked, _parts: Sequence[str]) -> Answer:
    given = asked.json()
    if not repository.head(given["ref"]):
        return as_json({"message": {"base": ["Reference not found"]}}, 400)
    repository.dispatched.append(given)
    run = repository.ci(repository.head(given["ref"]), "queued", branch=given["ref"], source="api")
    return as_json(_pipeline(repository, run), 201)


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


CALLS: tuple[tuple[str, str, Call], ...] = (
    ("GET", r"", _project),
    ("GET", r"/merge_requests", _pulls),
    ("POST", r"/merge_requests", _open),
    ("GET", r"/merge_requests/(\d+)", _one_pull),
    ("PUT", r"/merge_requests/(\d+)", _edit),
    ("GET", r"/merge_requests/(\d+)/notes", _notes),
    ("POST", r"/merge_requests/(\d+)/notes", _write_note),
    ("PUT", r"/merge_requests/(\d+)/notes/(\d+)", _edit_note),
    ("GET", r"/pipelines", _pipelines),
    ("GET", r"/pipelines/(\d+)/jobs", _jobs),
    ("GET", r"/jobs/(\d+)/trace", _trace),
    ("POST", r"/pipeline", _trigger),
)
