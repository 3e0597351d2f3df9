"""The place for what GitLab says: its webhook events, and the parts of them that its API answers with too."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from shared.errors import Invalid
from shared.forges.fields import (
    Id,
    branch_of,
    clean,
    context_of,
    decoded,
    protocol_of,
    repository_at,
    repository_of,
    sha_of,
    time_of,
    url_of,
)
from shared.forges.outcomes import outcome_of
from shared.forges.pushes import Push, push_word
from shared.schemas.forge import CiWord, NoWord, PullWord, Repository, Said, Word
from shared.schemas.statuses import Outcome, PullState

# The header is not signed, the body is: of the kinds that count, both must name the same.
EVENTS: Final[Mapping[str, frozenset[str]]] = {
    "pipeline": frozenset({"Pipeline Hook"}),
    "build": frozenset({"Job Hook", "Build Hook"}),
    "merge_request": frozenset({"Merge Request Hook"}),
    "push": frozenset({"Push Hook"}),
    "tag_push": frozenset({"Tag Push Hook"}),
    "note": frozenset({"Note Hook", "Confidential Note Hook"}),
    "release": frozenset({"Release Hook"}),
}
KNOWN_EVENTS: Final = frozenset[str]().union(*EVENTS.values())

# Pipelines that GitLab itself does not count for their commit: a child speaks through its parent.
SIDE_SOURCES: Final = frozenset(
    {
        "parent_pipeline",
        "webide",
        "ondemand_dast_scan",
        "ondemand_dast_validation",
        "security_orchestration_policy",
        "container_registry_push",
        "duo_workflow",
    }
)
PULL_STATES: Final[Mapping[str, PullState]] = {
    "opened": PullState.OPEN,
    "locked": PullState.OPEN,  # it is being merged at this moment
    "closed": PullState.CLOSED,
    "merged": PullState.MERGED,
}
MAX_FAILED_BUILDS: Final = 20
NO_COMMIT: Final = NoWord(reason="no_commit")
INCOMPLETE: Final = NoWord(reason="incomplete")
TAG: Final = NoWord(reason="tag")


class Project(msgspec.Struct, frozen=True):
    """`project` of any event; system hooks leave its id out. `repository` of a job event has only its `homepage`."""

    id: Id | None = None
    path_with_namespace: str | None = None
    web_url: str | None = None
    http_url: str | None = None
    homepage: str | None = None


class About(msgspec.Struct, frozen=True):
    """What any event says of itself, and of where it comes from."""

    object_kind: str | None = None
    event_name: str | None = None
    project: Project | None = None
    project_id: Id | None = None


class Build(msgspec.Struct, frozen=True):
    """One of `builds` of a pipeline event, and a job of the API."""

    id: Id
    name: str | None = None
    stage: str | None = None
    status: str | None = None
    allow_failure: bool | None = None
    failure_reason: str | None = None
    created_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None


class Pipeline(msgspec.Struct, frozen=True):
    """`object_attributes` of a pipeline event, and a pipeline of the API, which names some otherwise."""

    id: Id = 0
    ref: str | None = None
    sha: str | None = None
    status: str | None = None
    source: str | None = None
    name: str | None = None
    tag: bool | None = None
    url: str | None = None
    web_url: str | None = None
    created_at: str | None = None
    finished_at: str | None = None
    updated_at: str | None = None


class MergeRequestOfPipeline(msgspec.Struct, frozen=True):
    """`merge_request` of a pipeline event: whose branch it is that the pipeline is for."""

    source_branch: str | None = None
    source_project_id: Id | None = None
    target_project_id: Id | None = None


class PipelineEvent(msgspec.Struct, frozen=True):
    """The body of a pipeline event, and of what a CI job of a person sends in its form with `protocol_run_id`.

    A GitLab that leaves `merge_request` out is older than pipelines for the merge requests of forks.
    """

    object_attributes: Pipeline
    merge_request: MergeRequestOfPipeline | msgspec.UnsetType | None = msgspec.UNSET
    builds: list[Build] | None = None
    protocol_run_id: Id | str | None = None


class JobEvent(msgspec.Struct, frozen=True):
    """The body of a job event; its kind is `build`, and its `commit.id` that of the pipeline."""

    build_id: Id
    ref: str | None = None
    tag: bool | None = None
    sha: str | None = None
    build_name: str | None = None
    build_stage: str | None = None
    build_status: str | None = None
    build_created_at: str | None = None
    build_started_at: str | None = None
    build_finished_at: str | None = None
    build_allow_failure: bool | None = None
    build_failure_reason: str | None = None
    pipeline_id: Id | None = None
    project_id: Id | None = None
    repository: Project | None = None


class LastCommit(msgspec.Struct, frozen=True):
    """The head of a merge request's branch."""

    id: str | None = None


class MergeRequest(msgspec.Struct, frozen=True):
    """`object_attributes` of a merge request event, and a merge request of the API, which names some otherwise."""

    iid: Id | None = None
    action: str | None = None
    state: str | None = None
    source_branch: str | None = None
    target_branch: str | None = None
    source_project_id: Id | None = None
    target_project_id: Id | None = None
    last_commit: LastCommit | None = None
    sha: str | None = None
    merge_commit_sha: str | None = None
    squash_commit_sha: str | None = None
    draft: bool | None = None
    work_in_progress: bool | None = None
    updated_at: str | None = None
    url: str | None = None
    web_url: str | None = None


class MergeRequestEvent(msgspec.Struct, frozen=True):
    """The body of a merge request event."""

    object_attributes: MergeRequest


def read(event: str, body: bytes) -> Said:
    """What this event says; `Invalid` when header and body name different ones, or the body is broken."""
    about = decoded(body, About, f"{clean(event)} event")
    kind, repository = about.object_kind, _repository(about)
    if event == "System Hook" or (kind is None and about.event_name is not None):
        return Said(repository=repository, word=NoWord(reason="system_hook"))
    if event not in EVENTS.get(kind or "", {event} - KNOWN_EVENTS):
        raise Invalid(
            f"The delivery calls itself {clean(event)}, but its body that of a {clean(kind) or 'nameless'} event."
        )
    match kind:
        case "pipeline":
            return _pipeline_said(decoded(body, PipelineEvent, kind), repository)
        case "build":
            return _job_said(decoded(body, JobEvent, kind), repository)
        case "merge_request":
            pull = decoded(body, MergeRequestEvent, kind).object_attributes
            word = NoWord(reason="no_action") if pull.action is None else pull_word(pull)
            return Said(repository=repository, word=word, from_fork=is_from_fork(pull))
        case "push":
            return Said(repository=repository, word=push_word(decoded(body, Push, kind)))
        case "tag_push":
            return Said(repository=repository, word=TAG)
        case _:
            return Said(repository=repository, word=NoWord(reason="note" if kind == "note" else "other_event"))


def _repository(about: About) -> Repository | None:
    if (project := about.project) is None:
        return None
    id_ = about.project_id if project.id is None else project.id
    return repository_of(id_, project.path_with_namespace, project.web_url or project.http_url)


def _pipeline_said(event: PipelineEvent, repository: Repository | None) -> Said:
    pipeline, request = event.object_attributes, event.merge_request
    if isinstance(request, MergeRequestOfPipeline):
        branch = request.source_branch
        fork = request.source_project_id is None or request.source_project_id != request.target_project_id
    else:
        branch = pipeline.ref
        fork = request is None and pipeline.source == "merge_request_event"
    return Said(
        repository=repository,
        word=pipeline_word(pipeline, branch, event.builds or ()),
        from_fork=fork,
        protocol_id=protocol_of(event.protocol_run_id),
    )


def pipeline_word(pipeline: Pipeline, branch: str | None, builds: Sequence[Build]) -> Word:
    """A pipeline; a later one from the same source replaces it, and each counts by what happened in it last.

    GitLab tells no time of its last change in an event, so it is the latest of all that are told. One that was never
    created is the report of a single job in this form: it speaks for itself, and not for the pipeline that it is in.
    """
    if pipeline.tag:
        return TAG
    if (sha := sha_of(pipeline.sha)) is None:
        return NO_COMMIT
    name = clean(pipeline.name) or "pipeline"
    source = "report" if pipeline.created_at is None else clean(pipeline.source) or "unknown"
    context = context_of("pipeline", source)
    aside = source in SIDE_SOURCES
    if aside or source == "report":
        context = context_of("pipeline", source, pipeline.name or str(pipeline.id))
    details: dict[str, Any] = {"said": clean(pipeline.status), "source": source, "run_id": pipeline.id}
    if failed := failed_builds(builds):
        details["failed_builds"] = failed
    times = (time_of(build.created_at, build.started_at, build.finished_at) for build in builds)
    return CiWord(
        sha=sha,
        branch=branch_of(branch),
        scope="job" if aside else "pipeline",
        name=name,
        context=context,
        outcome=outcome_of(pipeline.status),
        run_id=pipeline.id,
        at=max(time_of(pipeline.created_at, pipeline.finished_at, pipeline.updated_at), *times, 0),
        url=url_of(pipeline.url) or url_of(pipeline.web_url),
        details=details,
    )


def failed_builds(builds: Sequence[Build]) -> list[dict[str, Any]]:
    """The red jobs of a pipeline, those that made it red first."""
    failed = [build for build in builds if outcome_of(build.status) is Outcome.FAIL]
    failed.sort(key=lambda build: (bool(build.allow_failure), build.id))
    return [
        {
            "id": build.id,
            "name": clean(build.name),
            "stage": clean(build.stage),
            "allow_failure": bool(build.allow_failure),
            "failure_reason": clean(build.failure_reason) or None,
        }
        for build in failed[:MAX_FAILED_BUILDS]
    ]


def _job_said(event: JobEvent, repository: Repository | None) -> Said:
    home = event.repository.homepage if event.repository else None
    build = Build(
        event.build_id,
        event.build_name,
        event.build_stage,
        event.build_status,
        event.build_allow_failure,
        event.build_failure_reason,
        event.build_created_at,
        event.build_started_at,
        event.build_finished_at,
    )
    url = f"{home.rstrip('/')}/-/jobs/{build.id}" if home else None
    word = TAG if event.tag else job_word(build, event.sha, event.ref, event.pipeline_id, url)
    return Said(repository=repository or repository_at(home, event.project_id), word=word)


def job_word(build: Build, sha: str | None, branch: str | None, pipeline_id: int | None, url: str | None) -> Word:
    """One job; a retry has a new id, and replaces it."""
    if (commit := sha_of(sha)) is None:
        return NO_COMMIT
    if not (name := clean(build.name)):
        return INCOMPLETE
    details: dict[str, Any] = {
        "said": clean(build.status),
        "run_id": pipeline_id,
        "job_id": build.id,
        "allow_failure": bool(build.allow_failure),
    }
    outcome = outcome_of(build.status)
    if outcome is Outcome.FAIL and (reason := clean(build.failure_reason)):
        details["reason"] = reason
    return CiWord(
        sha=commit,
        branch=branch_of(branch),
        scope="job",
        name=name,
        context=context_of("job", build.stage, build.name),
        outcome=outcome,
        run_id=build.id,
        at=time_of(build.created_at, build.started_at, build.finished_at),
        url=url_of(url),
        details=details,
    )


def pull_word(pull: MergeRequest) -> Word:
    """How a merge request stands, whatever was done to it: after the merge, each later update says `merged` again."""
    branch, base = branch_of(pull.source_branch), branch_of(pull.target_branch)
    state = PULL_STATES.get(pull.state or "")
    if pull.iid is None or branch is None or base is None or state is None:
        return INCOMPLETE
    merged = state is PullState.MERGED
    return PullWord(
        number=pull.iid,
        state=state,
        branch=branch,
        base=base,
        sha=sha_of(pull.last_commit.id if pull.last_commit else pull.sha),
        at=time_of(pull.updated_at),
        draft=bool(pull.draft or pull.work_in_progress),
        merge_sha=sha_of(pull.merge_commit_sha) or sha_of(pull.squash_commit_sha) if merged else None,
        url=url_of(pull.url) or url_of(pull.web_url),
    )


def is_from_fork(pull: MergeRequest) -> bool:
    """Whether its branch is not in the project that it wants to get into; also where nobody can tell."""
    return pull.source_project_id is None or pull.source_project_id != pull.target_project_id
