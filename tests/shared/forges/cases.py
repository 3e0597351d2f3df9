"""Every documented event and outcome of both forges and of CI reports, each beside all that it means."""

from collections.abc import Iterator
from typing import Any

import msgspec

from shared.schemas.forge import BranchWord, CiWord, NoWord, PullWord, Repository, Said
from shared.schemas.statuses import Outcome, PullState
from tests.fakes.deliveries import (
    NOON_MS,
    NOTHING,
    Repo,
    Sent,
    github_check_run,
    github_check_suite,
    github_pull_request,
    github_push,
    github_status,
    github_workflow_run,
    gitlab_job,
    gitlab_merge_request,
    gitlab_pipeline,
    gitlab_push,
)

SHA, OLD, MERGE = "a1" * 20, "b2" * 20, "c3" * 20
BRANCH = "0001-pears"
HUB = Repo(41, "orchard/pears")
LAB = Repo(52, "orchard/fruit/pears", "gitlab.example.test")
FORK = Repo(99, "stranger/pears")
AT_HUB = Repository(id="41", full_name="orchard/pears", host="github.com")
AT_LAB = Repository(id="52", full_name="orchard/fruit/pears", host="gitlab.example.test")
MINUTE_MS = 60_000

# Written out a second time, apart from the table of the product.
GITHUB_OUTCOMES = {
    "success": Outcome.PASS,
    "neutral": Outcome.SOFT_PASS,
    "skipped": Outcome.SOFT_PASS,
    "failure": Outcome.FAIL,
    "timed_out": Outcome.FAIL,
    "startup_failure": Outcome.FAIL,
    "action_required": Outcome.WAITING_HUMAN,
    "cancelled": Outcome.NO_VERDICT,
    "stale": Outcome.NO_VERDICT,
    "queued": Outcome.RUNNING,
    "requested": Outcome.RUNNING,
    "pending": Outcome.RUNNING,
    "waiting": Outcome.RUNNING,
    "in_progress": Outcome.RUNNING,
    "a-word-of-tomorrow": Outcome.UNKNOWN,
}
STATUS_OUTCOMES = {
    "success": Outcome.PASS,
    "failure": Outcome.FAIL,
    "error": Outcome.FAIL,
    "pending": Outcome.RUNNING,
    "a-word-of-tomorrow": Outcome.UNKNOWN,
}
GITLAB_OUTCOMES = {
    "success": Outcome.PASS,
    "failed": Outcome.FAIL,
    "canceled": Outcome.NO_VERDICT,
    "skipped": Outcome.SOFT_PASS,
    "manual": Outcome.WAITING_HUMAN,
    "created": Outcome.RUNNING,
    "waiting_for_resource": Outcome.RUNNING,
    "waiting_for_callback": Outcome.RUNNING,
    "preparing": Outcome.RUNNING,
    "pending": Outcome.RUNNING,
    "running": Outcome.RUNNING,
    "scheduled": Outcome.RUNNING,
    "canceling": Outcome.RUNNING,
    "a-word-of-tomorrow": Outcome.UNKNOWN,
}
PULL_ACTIONS = (
    *("assigned", "auto_merge_disabled", "auto_merge_enabled", "converted_to_draft", "demilestoned", "dequeued"),
    *("edited", "enqueued", "labeled", "locked", "milestoned", "opened", "ready_for_review", "reopened"),
    *("review_request_removed", "review_requested", "stacked", "synchronize", "unassigned", "unlabeled", "unlocked"),
)
MERGE_REQUEST_ACTIONS = ("open", "reopen", "update", "approval", "approved", "unapproval", "unapproved")


class Case(msgspec.Struct, frozen=True):
    """One delivery, and what it says."""

    name: str
    sent: Sent
    said: Said

    def __str__(self) -> str:
        return f"{self.sent.provider}-{self.name}"


def every_case() -> list[Case]:
    return [*github_cases(), *gitlab_cases()]


def github_cases() -> Iterator[Case]:
    yield from github_ci()
    yield from github_forks()
    yield from github_pulls()
    yield from github_branches()
    for name, event, members, repository in (
        ("ping", "ping", {"zen": "Speak like a human.", "hook_id": 7, "hook": {"type": "Repository"}}, HUB),
        ("ping-of-an-organisation", "ping", {"zen": "Speak.", "hook": {"type": "Organization"}}, None),
        ("merge-group", "merge_group", {"action": "checks_requested", "merge_group": {"head_sha": SHA}}, HUB),
        ("merge-group-destroyed", "merge_group", {"action": "destroyed", "reason": "merged", "merge_group": {}}, HUB),
        ("create", "create", {"ref": "v1", "ref_type": "tag"}, HUB),
        ("delete", "delete", {"ref": BRANCH, "ref_type": "branch"}, HUB),
        ("workflow-job", "workflow_job", {"action": "completed", "workflow_job": {"head_sha": SHA}}, HUB),
        ("review", "pull_request_review", {"action": "submitted", "review": {}, "pull_request": {}}, HUB),
        ("event-of-tomorrow", "sun_rise", {"action": "risen", "sun_rise": {"sha": SHA}}, HUB),
    ):
        said = nothing(event if event in {"ping", "merge_group"} else "other_event", repository and AT_HUB)
        yield Case(name, Sent("github", event, members | repository_of(repository)), said)


def repository_of(repo: Repo | None) -> dict[str, Any]:
    return {} if repo is None else {"repository": {"id": repo.id, "full_name": repo.path, "html_url": repo.url}}


def nothing(reason: str, repository: Repository | None = None, *, from_fork: bool = False) -> Said:
    return Said(repository=repository, word=NoWord(reason=reason), from_fork=from_fork)


def github_ci() -> Iterator[Case]:
    for word, outcome in GITHUB_OUTCOMES.items():
        at = NOON_MS + MINUTE_MS
        sent = github_workflow_run(HUB, branch=BRANCH, sha=SHA, outcome=word, attempt=2, at=at)
        yield Case(f"workflow_run-{word}", sent, Said(repository=AT_HUB, word=run_word(word, outcome, at)))

        suite = CiWord(
            sha=SHA,
            branch=BRANCH,
            scope="check_suite",
            name="orchard-checks",
            context="check_suite/orchard-checks/6001",
            outcome=outcome,
            run_id=6001,
            at=at,
            details={"said": word, "app": "orchard-checks"},
        )
        sent = github_check_suite(HUB, branch=BRANCH, sha=SHA, outcome=word, at=at)
        yield Case(f"check_suite-{word}", sent, Said(repository=AT_HUB, word=suite))

        ended = word in GITHUB_OUTCOMES and outcome is not Outcome.RUNNING
        check = CiWord(
            sha=SHA,
            branch=BRANCH,
            scope="check_run",
            name="unit tests",
            context="check_run/unit tests",
            outcome=outcome,
            run_id=7001,
            at=at if ended else NOON_MS,
            url="https://github.com/orchard/pears/runs/7001",
            details={"said": word, "app": "github-actions", "job_id": 7001, "reason": "2 pears are bruised"},
        )
        sent = github_check_run(HUB, branch=BRANCH, sha=SHA, outcome=word, title="2 pears\nare bruised", at=at)
        yield Case(f"check_run-{word}", sent, Said(repository=AT_HUB, word=check))

    for word, outcome in STATUS_OUTCOMES.items():
        status = CiWord(
            sha=SHA,
            branch=None,
            scope="status",
            name="ci/orchard",
            context="status/ci/orchard",
            outcome=outcome,
            run_id=8001,
            at=NOON_MS,
            url="https://ci.example.test/41",
            details={"said": word, "reason": "Pears were picked"},
        )
        sent = github_status(HUB, sha=SHA, outcome=word, description="Pears were picked")
        yield Case(f"status-{word}", sent, Said(repository=AT_HUB, word=status))


def run_word(word: str, outcome: Outcome, at: int) -> CiWord:
    return CiWord(
        sha=SHA,
        branch=BRANCH,
        scope="workflow_run",
        name="CI",
        context="workflow_run/501/push",
        outcome=outcome,
        run_id=9001,
        run_attempt=2,
        at=at,
        url="https://github.com/orchard/pears/actions/runs/9001",
        details={"said": word, "event": "push", "workflow_id": 501, "run_id": 9001},
    )


def github_forks() -> Iterator[Case]:
    run = github_workflow_run(HUB, branch=BRANCH, sha=SHA, attempt=2, head_repo=FORK)
    said = Said(repository=AT_HUB, word=run_word("success", Outcome.PASS, NOON_MS), from_fork=True)
    yield Case("workflow_run-of-a-fork", run, said)
    yield Case("workflow_run-of-a-fork-that-is-gone", run.but(workflow_run__head_repository=None), said)
    for name, sent in (
        ("check_suite", github_check_suite(HUB, branch=None, sha=SHA)),
        ("check_run", github_check_run(HUB, branch=None, sha=SHA)),
    ):
        own = next(case.said for case in github_ci() if case.name == f"{name}-success")
        word = msgspec.structs.replace(own.word, branch=None, at=NOON_MS)
        if name == "check_run":
            word.details.pop("reason")
        yield Case(f"{name}-of-a-fork", sent, Said(repository=AT_HUB, word=word, from_fork=True))


def pull(where: Repository, *, from_fork: bool = False, **changes: Any) -> Said:
    url = "https://github.com/orchard/pears/pull/7"
    if where is AT_LAB:
        url = "https://gitlab.example.test/orchard/fruit/pears/-/merge_requests/7"
    word = PullWord(number=7, state=PullState.OPEN, branch=BRANCH, base="main", sha=SHA, at=NOON_MS, url=url)
    return Said(repository=where, word=msgspec.structs.replace(word, **changes), from_fork=from_fork)


def github_pulls() -> Iterator[Case]:
    for action in PULL_ACTIONS:
        sent = github_pull_request(HUB, number=7, branch=BRANCH, sha=SHA, action=action, merge_sha=MERGE)
        yield Case(f"pull_request-{action}", sent, pull(AT_HUB))
    sent = github_pull_request(HUB, number=7, branch=BRANCH, sha=SHA, draft=True)
    yield Case("pull_request-opened-as-a-draft", sent, pull(AT_HUB, draft=True))
    sent = github_pull_request(HUB, number=7, branch=BRANCH, sha=SHA, action="closed", merge_sha=MERGE)
    yield Case("pull_request-closed", sent, pull(AT_HUB, state=PullState.CLOSED))
    later = NOON_MS + MINUTE_MS
    sent = github_pull_request(
        HUB, number=7, branch=BRANCH, sha=SHA, action="closed", merged=True, merge_sha=MERGE, at=later
    )
    merged = pull(AT_HUB, state=PullState.MERGED, merge_sha=MERGE, at=later)
    yield Case("pull_request-merged", sent, merged)
    yield Case("pull_request-labeled-after-the-merge", sent.but(action="labeled"), merged)
    sent = github_pull_request(HUB, number=7, branch=BRANCH, sha=SHA, head_repo=FORK)
    yield Case("pull_request-of-a-fork", sent, pull(AT_HUB, from_fork=True))
    yield Case(
        "pull_request-of-a-fork-that-is-gone", sent.but(pull_request__head__repo=None), pull(AT_HUB, from_fork=True)
    )


def github_branches() -> Iterator[Case]:
    pushed = github_push(HUB, branch=BRANCH, before=OLD, after=SHA)
    for name, sent, word in (
        ("push", pushed, BranchWord(branch=BRANCH, before=OLD, after=SHA)),
        (
            "push-forced",
            github_push(HUB, branch=BRANCH, before=OLD, after=SHA, forced=True),
            BranchWord(branch=BRANCH, before=OLD, after=SHA, forced=True),
        ),
        (
            "push-of-a-new-branch",
            github_push(HUB, branch=BRANCH, before=None, after=SHA),
            BranchWord(branch=BRANCH, before=None, after=SHA),
        ),
        (
            "push-that-deletes",
            github_push(HUB, branch=BRANCH, before=OLD, after=None),
            BranchWord(branch=BRANCH, before=OLD, after=None),
        ),
        ("push-of-a-tag", pushed.but(ref="refs/tags/v1"), NoWord(reason="tag")),
        ("push-that-deletes-a-tag", pushed.but(ref="refs/tags/v1", after=NOTHING, deleted=True), NoWord(reason="tag")),
        ("push-of-notes", pushed.but(ref="refs/notes/commits"), NoWord(reason="no_branch")),
    ):
        yield Case(name, sent, Said(repository=AT_HUB, word=word))


def gitlab_cases() -> Iterator[Case]:
    yield from gitlab_pipelines()
    yield from gitlab_jobs()
    yield from gitlab_merge_requests()
    yield from gitlab_branches()
    project = gitlab_push(LAB, branch=BRANCH, before=None, after=SHA).said["project"]
    for kind, event, members, reason in (
        ("tag_push", "Tag Push Hook", {"ref": "refs/tags/v1", "before": NOTHING, "after": SHA}, "tag"),
        ("note", "Note Hook", {"object_attributes": {"noteable_type": "MergeRequest", "note": "ok"}}, "note"),
        ("note", "Confidential Note Hook", {"event_type": "confidential_note"}, "note"),
        ("release", "Release Hook", {"tag": "v1", "action": "create", "commit": {"id": SHA}}, "other_event"),
        ("issue", "Issue Hook", {"object_attributes": {"iid": 3}}, "other_event"),
        ("sun_rise", "Sun Rise Hook", {"object_attributes": {"sha": SHA, "status": "success"}}, "other_event"),
    ):
        yield Case(
            event, Sent("gitlab", event, {"object_kind": kind, "project": project} | members), nothing(reason, AT_LAB)
        )
    push = {"event_name": "push", "project_id": 52, "ref": f"refs/heads/{BRANCH}", "before": OLD, "after": SHA}
    for name, event, body in (
        ("system-push", "System Hook", push | {"project": project}),
        ("system-push-under-another-name", "Push Hook", push | {"project": project}),
        ("system-merge-request", "System Hook", {"object_kind": "merge_request", "project": project}),
    ):
        yield Case(name, Sent("gitlab", event, body), nothing("system_hook", AT_LAB))
    created = {"event_name": "project_create", "project_id": 52, "path_with_namespace": "orchard/fruit/pears"}
    yield Case("system-project", Sent("gitlab", "System Hook", created), nothing("system_hook"))


def pipeline(word: str, outcome: Outcome, **changes: Any) -> CiWord:
    source = changes.pop("source", "push")
    plain = CiWord(
        sha=SHA,
        branch=BRANCH,
        scope="pipeline",
        name="pipeline",
        context=f"pipeline/{source}",
        outcome=outcome,
        run_id=3001,
        at=NOON_MS,
        url="https://gitlab.example.test/orchard/fruit/pears/-/pipelines/3001",
        details={"said": word, "source": source, "run_id": 3001},
    )
    return msgspec.structs.replace(plain, **changes)


def gitlab_pipelines() -> Iterator[Case]:
    for word, outcome in GITLAB_OUTCOMES.items():
        sent = gitlab_pipeline(LAB, branch=BRANCH, sha=SHA, status=word)
        yield Case(f"pipeline-{word}", sent, Said(repository=AT_LAB, word=pipeline(word, outcome)))

    builds = (
        {"id": 1, "stage": "lint", "name": "style", "status": "failed", "allow_failure": True, "failure_reason": None},
        {"id": 2, "stage": "test", "name": "unit", "status": "failed", "failure_reason": "script_failure"}
        | {"allow_failure": False, "finished_at": "2025-12-01 12:03:00 UTC", "user": {"name": "Ada"}},
        {"id": 3, "stage": "test", "name": "docs", "status": "success", "failure_reason": "unknown_failure"},
    )
    sent = gitlab_pipeline(LAB, branch=BRANCH, sha=SHA, status="failed", builds=builds, at=NOON_MS + MINUTE_MS)
    red = pipeline("failed", Outcome.FAIL, at=NOON_MS + 3 * MINUTE_MS)
    red.details["failed_builds"] = [
        {"id": 2, "name": "unit", "stage": "test", "allow_failure": False, "failure_reason": "script_failure"},
        {"id": 1, "name": "style", "stage": "lint", "allow_failure": True, "failure_reason": None},
    ]
    yield Case("pipeline-with-failed-builds", sent, Said(repository=AT_LAB, word=red))

    sent = gitlab_pipeline(LAB, branch=BRANCH, sha=SHA).but(object_attributes__name="Deploy pears")
    yield Case(
        "pipeline-with-a-name",
        sent,
        Said(repository=AT_LAB, word=pipeline("success", Outcome.PASS, name="Deploy pears")),
    )
    sent = gitlab_pipeline(LAB, branch="v1", sha=SHA).but(object_attributes__tag=True)
    yield Case("pipeline-of-a-tag", sent, nothing("tag", AT_LAB))

    request = {"iid": 7, "source_branch": BRANCH, "source_project_id": 52, "target_project_id": 52}
    word = pipeline("success", Outcome.PASS, source="merge_request_event")
    sent = gitlab_pipeline(LAB, branch="main", sha=SHA, source="merge_request_event", merge_request=request)
    yield Case("pipeline-of-a-merge-request", sent, Said(repository=AT_LAB, word=word))
    fork = Said(repository=AT_LAB, word=word, from_fork=True)
    yield Case("pipeline-of-a-fork", sent.but(merge_request__source_project_id=99), fork)
    yield Case("pipeline-of-a-fork-that-is-gone", sent.but(merge_request__source_project_id=None), fork)
    unknown = sent.but(merge_request=None, object_attributes__ref=BRANCH)
    yield Case("pipeline-of-nobody-knows-whose-merge-request", unknown, fork)
    old = sent.but(merge_request=..., object_attributes__ref=BRANCH)
    yield Case("pipeline-of-a-merge-request-in-an-old-gitlab", old, Said(repository=AT_LAB, word=word))

    sent = gitlab_pipeline(LAB, branch=BRANCH, sha=SHA, status="failed", source="parent_pipeline")
    child = pipeline(
        "failed", Outcome.FAIL, source="parent_pipeline", scope="job", context="pipeline/parent_pipeline/3001"
    )
    yield Case("pipeline-of-a-parent", sent, Said(repository=AT_LAB, word=child))
    child = msgspec.structs.replace(child, name="docs", context="pipeline/parent_pipeline/docs")
    yield Case(
        "pipeline-of-a-parent-with-a-name",
        sent.but(object_attributes__name="docs"),
        Said(repository=AT_LAB, word=child),
    )


def gitlab_jobs() -> Iterator[Case]:
    for word, outcome in GITLAB_OUTCOMES.items():
        details = {"said": word, "run_id": 3001, "job_id": 4001, "allow_failure": False}
        job = CiWord(
            sha=SHA,
            branch=BRANCH,
            scope="job",
            name="unit tests",
            context="job/test/unit tests",
            outcome=outcome,
            run_id=4001,
            at=NOON_MS,
            url="https://gitlab.example.test/orchard/fruit/pears/-/jobs/4001",
            details=details | ({"reason": "script_failure"} if outcome is Outcome.FAIL else {}),
        )
        sent = gitlab_job(LAB, branch=BRANCH, sha=SHA, status=word, reason="script_failure")
        yield Case(f"job-{word}", sent, Said(repository=AT_LAB, word=job))
        if word == "success":
            yield Case("job-before-it-named-its-project", sent.but(project=...), Said(repository=AT_LAB, word=job))
    sent = gitlab_job(LAB, branch="v1", sha=SHA).but(tag=True)
    yield Case("job-of-a-tag", sent, nothing("tag", AT_LAB))


def gitlab_merge_requests() -> Iterator[Case]:
    for action in MERGE_REQUEST_ACTIONS:
        sent = gitlab_merge_request(LAB, number=7, branch=BRANCH, sha=SHA, action=action)
        yield Case(f"merge_request-{action}", sent, pull(AT_LAB))
    sent = gitlab_merge_request(LAB, number=7, branch=BRANCH, sha=SHA, action="update", oldrev=OLD)
    yield Case("merge_request-whose-head-moved", sent, pull(AT_LAB))
    sent = gitlab_merge_request(LAB, number=7, branch=BRANCH, sha=SHA, action="update", state="locked")
    yield Case("merge_request-locked", sent, pull(AT_LAB))
    sent = gitlab_merge_request(LAB, number=7, branch=BRANCH, sha=SHA, draft=True)
    yield Case("merge_request-draft", sent, pull(AT_LAB, draft=True))
    sent = sent.but(object_attributes__draft=..., object_attributes__work_in_progress=True)
    yield Case("merge_request-draft-of-an-old-gitlab", sent, pull(AT_LAB, draft=True))
    sent = gitlab_merge_request(LAB, number=7, branch=BRANCH, sha=SHA, action="close")
    yield Case("merge_request-closed", sent, pull(AT_LAB, state=PullState.CLOSED))
    sent = gitlab_merge_request(LAB, number=7, branch=BRANCH, sha=SHA, action="merge", merge_sha=MERGE)
    merged = pull(AT_LAB, state=PullState.MERGED, merge_sha=MERGE)
    yield Case("merge_request-merged", sent, merged)
    yield Case("merge_request-updated-after-the-merge", sent.but(object_attributes__action="update"), merged)
    squashed = sent.but(object_attributes__merge_commit_sha=None, object_attributes__squash_commit_sha=OLD)
    yield Case("merge_request-squashed", squashed, pull(AT_LAB, state=PullState.MERGED, merge_sha=OLD))
    sent = gitlab_merge_request(LAB, number=7, branch=BRANCH, sha=SHA, action=None, state="merged", merge_sha=MERGE)
    yield Case("merge_request-test", sent, nothing("no_action", AT_LAB))
    sent = gitlab_merge_request(LAB, number=7, branch=BRANCH, sha=SHA, head_repo=FORK)
    yield Case("merge_request-of-a-fork", sent, pull(AT_LAB, from_fork=True))
    gone = sent.but(object_attributes__source_project_id=None)
    yield Case("merge_request-of-a-fork-that-is-gone", gone, pull(AT_LAB, from_fork=True))


def gitlab_branches() -> Iterator[Case]:
    pushed = gitlab_push(LAB, branch=BRANCH, before=OLD, after=SHA)
    for name, sent, word in (
        ("push", pushed, BranchWord(branch=BRANCH, before=OLD, after=SHA)),
        (
            "push-of-a-new-branch",
            gitlab_push(LAB, branch=BRANCH, before=None, after=SHA),
            BranchWord(branch=BRANCH, before=None, after=SHA),
        ),
        (
            "push-that-deletes",
            gitlab_push(LAB, branch=BRANCH, before=OLD, after=None),
            BranchWord(branch=BRANCH, before=OLD, after=None),
        ),
        ("push-of-no-branch", pushed.but(ref="refs/keep-around/1"), NoWord(reason="no_branch")),
    ):
        yield Case(name, sent, Said(repository=AT_LAB, word=word))
