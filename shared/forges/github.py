"""The place for what GitHub says: its webhook events, and the parts of them that its API answers with too."""

from typing import Any, Final

import msgspec

from shared.errors import Invalid
from shared.forges.fields import (
    Id,
    branch_of,
    clean,
    context_of,
    decoded,
    members,
    protocol_of,
    repository_of,
    sha_of,
    time_of,
    url_of,
)
from shared.forges.outcomes import deciding_word, outcome_of
from shared.forges.pushes import Push, push_word
from shared.schemas.forge import CiWord, NoWord, PullWord, Repository, Said, Word
from shared.schemas.statuses import PullState

# An event of one of these has exactly this one of them in its body: headers are not signed, bodies are.
OWN_MEMBERS: Final = frozenset({"workflow_run", "check_suite", "check_run", "pull_request", "merge_group"})
NO_COMMIT: Final = NoWord(reason="no_commit")
INCOMPLETE: Final = NoWord(reason="incomplete")


class Repo(msgspec.Struct, frozen=True):
    """`repository` of any event."""

    id: Id | None = None
    full_name: str | None = None
    html_url: str | None = None


class App(msgspec.Struct, frozen=True):
    """The GitHub App that a check belongs to; Actions is one of them."""

    slug: str | None = None


class About(msgspec.Struct, frozen=True):
    """What any event says of where it comes from."""

    repository: Repo | None = None


class WorkflowRun(msgspec.Struct, frozen=True):
    """`workflow_run` of the event, and a workflow run of the API."""

    id: Id
    head_sha: str | None = None
    head_branch: str | None = None
    name: str | None = None
    path: str | None = None
    event: str | None = None
    status: str | None = None
    conclusion: str | None = None
    workflow_id: Id = 0
    run_attempt: Id | None = None
    updated_at: str | None = None
    html_url: str | None = None
    repository: Repo | None = None
    head_repository: Repo | None = None


class CheckSuite(msgspec.Struct, frozen=True):
    """`check_suite` of the event, and a check suite of the API."""

    id: Id
    head_sha: str | None = None
    head_branch: str | None = None
    status: str | None = None
    conclusion: str | None = None
    updated_at: str | None = None
    app: App | None = None


class Output(msgspec.Struct, frozen=True):
    """What a check says of itself."""

    title: str | None = None


class SuiteOfRun(msgspec.Struct, frozen=True):
    """The suite that a check run is in; the API tells no more than its id."""

    id: Id | None = None
    head_branch: str | None = None


class CheckRun(msgspec.Struct, frozen=True):
    """`check_run` of the event, and a check run of the API; the id of one of Actions is the id of its job."""

    id: Id
    name: str | None = None
    head_sha: str | None = None
    status: str | None = None
    conclusion: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    html_url: str | None = None
    details_url: str | None = None
    app: App | None = None
    output: Output | None = None
    check_suite: SuiteOfRun | None = None


class Status(msgspec.Struct, frozen=True):
    """The body of a `status` event, and of what a CI job of a person sends in its form; a status of the API has no sha.

    `branch`, `run_attempt` and `protocol_run_id` are told by such a job only.
    """

    state: str
    id: Id = 0
    sha: str | None = None
    context: str | None = None
    description: str | None = None
    target_url: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    branch: str | None = None
    run_attempt: Id | None = None
    protocol_run_id: Id | str | None = None


class End(msgspec.Struct, frozen=True):
    """One end of a pull request."""

    ref: str | None = None
    sha: str | None = None
    repo: Repo | None = None


class Pull(msgspec.Struct, frozen=True):
    """`pull_request` of the event, and a pull request of the API."""

    number: Id
    state: str
    head: End
    base: End
    merged: bool | None = None
    merged_at: str | None = None
    merge_commit_sha: str | None = None
    draft: bool | None = None
    updated_at: str | None = None
    html_url: str | None = None


def read(event: str, body: bytes) -> Said:
    """What this event says; `Invalid` when the body is that of another event, or is broken."""
    parts = members(body)
    repo = decoded(body, About, f"{clean(event)} event").repository
    repository = repo and repository_of(repo.id, repo.full_name, repo.html_url)
    if event in OWN_MEMBERS and parts.keys() & OWN_MEMBERS != {event}:
        raise Invalid(f"The delivery calls itself {event}, but its body is that of another event.")
    match event:
        case "workflow_run":
            run = decoded(parts[event], WorkflowRun, event)
            return Said(repository=repository, word=workflow_run_word(run), from_fork=is_from_fork(run, repository))
        case "check_suite":
            suite = decoded(parts[event], CheckSuite, event)
            return Said(repository=repository, word=check_suite_word(suite), from_fork=suite.head_branch is None)
        case "check_run":
            check = decoded(parts[event], CheckRun, event)
            branch = check.check_suite and check.check_suite.head_branch
            return Said(repository=repository, word=check_run_word(check), from_fork=branch is None)
        case "status":
            status = decoded(body, Status, event)
            named = protocol_of(status.protocol_run_id)
            return Said(repository=repository, word=status_word(status), protocol_id=named)
        case "pull_request":
            pull = decoded(parts[event], Pull, event)
            return Said(repository=repository, word=pull_word(pull), from_fork=is_pull_from_fork(pull))
        case "push":
            return Said(repository=repository, word=push_word(decoded(body, Push, event)))
        case "ping" | "merge_group":
            return Said(repository=repository, word=NoWord(reason=event))
        case _:
            return Said(repository=repository, word=NoWord(reason="other_event"))


def workflow_run_word(run: WorkflowRun) -> Word:
    """A run of a workflow; its attempts and later runs of the same workflow for the same event replace each other."""
    if (sha := sha_of(run.head_sha)) is None:
        return NO_COMMIT
    said, trigger = deciding_word(run.status, run.conclusion), clean(run.event)
    return CiWord(
        sha=sha,
        branch=branch_of(run.head_branch),
        scope="workflow_run",
        name=clean(run.name) or clean(run.path) or f"workflow {run.workflow_id}",
        context=context_of("workflow_run", str(run.workflow_id), trigger),
        outcome=outcome_of(said),
        run_id=run.id,
        run_attempt=run.run_attempt or 1,
        at=time_of(run.updated_at),
        url=url_of(run.html_url),
        details={"said": clean(said), "event": trigger, "workflow_id": run.workflow_id, "run_id": run.id},
    )


def is_from_fork(run: WorkflowRun, repository: Repository | None) -> bool:
    """Whether the commit of the run is not one of the repository that it ran in; also where nobody can tell."""
    own = run.repository.id if run.repository else repository and repository.id
    head = run.head_repository and run.head_repository.id
    return head is None or str(head) != str(own)


def check_suite_word(suite: CheckSuite) -> Word:
    """All checks of one app together."""
    if (sha := sha_of(suite.head_sha)) is None:
        return NO_COMMIT
    said, app = deciding_word(suite.status, suite.conclusion), _slug(suite.app)
    return CiWord(
        sha=sha,
        branch=branch_of(suite.head_branch),
        scope="check_suite",
        name=app,
        context=context_of("check_suite", app, str(suite.id)),
        outcome=outcome_of(said),
        run_id=suite.id,
        at=time_of(suite.updated_at),
        details={"said": clean(said), "app": app},
    )


def check_run_word(check: CheckRun) -> Word:
    """One check of an app; a later one of its name replaces it."""
    if (sha := sha_of(check.head_sha)) is None:
        return NO_COMMIT
    if not (name := clean(check.name)):
        return INCOMPLETE
    said, app = deciding_word(check.status, check.conclusion), _slug(check.app)
    details: dict[str, Any] = {"said": clean(said), "app": app, "job_id": check.id}
    if reason := clean(check.output and check.output.title):
        details["reason"] = reason
    return CiWord(
        sha=sha,
        branch=branch_of(check.check_suite and check.check_suite.head_branch),
        scope="check_run",
        name=name,
        context=context_of("check_run", check.name),
        outcome=outcome_of(said),
        run_id=check.id,
        at=time_of(check.completed_at or check.started_at),
        url=url_of(check.html_url) or url_of(check.details_url),
        details=details,
    )


def status_word(status: Status) -> Word:
    """One status; `branches` of the event only contain the commit, so they tell no branch."""
    if (sha := sha_of(status.sha)) is None:
        return NO_COMMIT
    context = status.context or "default"
    details = {"said": clean(status.state)}
    if reason := clean(status.description):
        details["reason"] = reason
    return CiWord(
        sha=sha,
        branch=branch_of(status.branch),
        scope="status",
        name=clean(context) or "default",
        context=context_of("status", context),
        outcome=outcome_of(status.state),
        run_id=status.id,
        run_attempt=status.run_attempt or 1,
        at=time_of(status.updated_at or status.created_at),
        url=url_of(status.target_url),
        details=details,
    )


def pull_word(pull: Pull) -> Word:
    """How a pull request stands, whatever was done to it: its state tells, the action only repeats or hides it."""
    branch, base = branch_of(pull.head.ref), branch_of(pull.base.ref)
    if branch is None or base is None or pull.state not in {"open", "closed"}:
        return INCOMPLETE
    merged = pull.state == "closed" and (pull.merged or pull.merged_at is not None)
    closed = PullState.MERGED if merged else PullState.CLOSED
    return PullWord(
        number=pull.number,
        state=closed if pull.state == "closed" else PullState.OPEN,
        branch=branch,
        base=base,
        sha=sha_of(pull.head.sha),
        at=time_of(pull.updated_at),
        draft=bool(pull.draft),
        merge_sha=sha_of(pull.merge_commit_sha) if merged else None,  # before it is merged, that of a trial
        url=url_of(pull.html_url),
    )


def is_pull_from_fork(pull: Pull) -> bool:
    """Whether its branch is not in the repository that it wants to get into; also where its repository is gone."""
    head, base = pull.head.repo, pull.base.repo
    return head is None or base is None or head.id is None or head.id != base.id


def _slug(app: App | None) -> str:
    return clean(app and app.slug) or "unknown"
