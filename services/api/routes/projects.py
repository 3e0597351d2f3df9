"""Routes of projects: register, read, change, set up."""

from typing import Any

from litestar import Response, get, patch, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from services.api import showing
from services.api.auth import ApiRequest
from services.api.desk import Desk, Page, version_wanted
from services.api.params import DEFAULT_LIMIT, Cursor, Limit, ProjectId
from shared.repository import projects as table
from shared.repository.database import Tx
from shared.schemas import names
from shared.schemas.answers import JobAnswer, ProjectAnswer, SyncAnswer
from shared.schemas.policy import Policy, merged
from shared.schemas.records import Project
from shared.schemas.requests import ChangeProject, CreateProject, Models, Nothing, PolicyChanges, set_fields
from shared.schemas.statuses import Provider
from shared.settings import Settings
from shared.workflow import find, projects, sync
from shared.workflow.unit import Unit

TAGS = ["projects"]
NOTHING = Nothing()


@post("/projects", tags=TAGS, opt={"admin": True})
async def register_project(
    request: ApiRequest, desk: NamedDependency[Desk], data: JSONBody[CreateProject]
) -> Response[ProjectAnswer]:
    """Register a repository, and queue the setup job that clones it and checks its base branch."""

    def verb(unit: Unit) -> ProjectAnswer:
        return showing.project(unit.tx, register(unit, data, desk.settings))

    return await desk.act(request, verb, status=201, location="/projects")


@get("/projects", tags=TAGS)
async def list_projects(
    request: ApiRequest, desk: NamedDependency[Desk], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response[list[ProjectAnswer]]:
    """List the projects, oldest first; a project token sees its own."""
    page = Page("projects", limit, cursor)
    after, scope = page.after(), request.user.project_id

    def read(tx: Tx) -> list[ProjectAnswer]:
        return [showing.project(tx, project) for project in table.page(tx, only=scope, after=after, limit=limit + 1)]

    return await desk.list(request, page, read)


@get("/projects/{project_id:int}", tags=TAGS)
async def read_project(
    request: ApiRequest, desk: NamedDependency[Desk], project_id: ProjectId
) -> Response[ProjectAnswer]:
    """Read one project."""
    scope = request.user.project_id
    return await desk.show(lambda tx: showing.project(tx, find.project(tx, scope, project_id)))


@patch("/projects/{project_id:int}", tags=TAGS, opt={"admin": True, "if_match": "needed"})
async def change_project(
    request: ApiRequest, desk: NamedDependency[Desk], project_id: ProjectId, data: JSONBody[ChangeProject]
) -> Response[ProjectAnswer]:
    """Change a project; running protocols keep the policy that they started with."""
    version = version_wanted(request, needed=True)

    def verb(unit: Unit) -> ProjectAnswer:
        return showing.project(unit.tx, change(unit, project_id, version, data, desk.settings))

    return await desk.act(request, verb)


@post("/projects/{project_id:int}/actions/setup", tags=TAGS, status_code=202)
async def set_up_project(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    project_id: ProjectId,
    data: JSONBody[Nothing] = NOTHING,  # noqa: ARG001  refuses unknown fields
) -> Response[JobAnswer]:
    """Queue the setup again, after its cause of failure was removed."""
    return await desk.act(request, lambda unit: showing.job(projects.set_up_project(unit, project_id)), status=202)


@post("/projects/{project_id:int}/actions/sync", tags=TAGS, status_code=202)
async def sync_project(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    project_id: ProjectId,
    data: JSONBody[Nothing] = NOTHING,  # noqa: ARG001  refuses unknown fields
) -> Response[SyncAnswer]:
    """Look at the forge now for every open protocol run, for deliveries that never came."""

    def verb(unit: Unit) -> SyncAnswer:
        return SyncAnswer(jobs=tuple(showing.job(job) for job in sync.sync_project(unit, project_id)))

    return await desk.act(request, verb, status=202)


def register(unit: Unit, data: CreateProject, settings: Settings) -> Project:
    """Register what was asked for; a forge that was not named is known by the host."""
    return projects.register_project(
        unit,
        name=data.name,
        git_url=data.git_url,
        base_branch=data.base_branch,
        ci_provider=Provider(data.ci_provider) if data.ci_provider else _forge_of(data.git_url, settings),
        default_models=data.default_models.chosen(),
        policy=merged(Policy(), data.policy.changes()),
        **_where(settings),
    )


def change(unit: Unit, project_id: int, version: int | None, data: ChangeProject, settings: Settings) -> Project:
    """Change what was named, of the version that the caller has read; None takes any."""
    changes = set_fields(data)
    if isinstance(data.ci_provider, str):
        changes["ci_provider"] = Provider(data.ci_provider)
    if isinstance(data.default_models, Models):
        changes["default_models"] = data.default_models.chosen()
    if isinstance(data.policy, PolicyChanges):
        present = find.project(unit.tx, unit.caller.project_id, project_id).policy
        changes["policy"] = merged(present, data.policy.changes())
    return projects.change_project(unit, project_id, version, changes, **_where(settings))


def _where(settings: Settings) -> dict[str, Any]:
    """Where repositories may live."""
    return {"allow_local": bool(settings.allow_local_repos), "hosts": frozenset(settings.forges)}


def _forge_of(git_url: str, settings: Settings) -> Provider | None:
    """The forge that the settings know at this host; None for any URL that will be refused, too."""
    try:
        host = names.url_host(git_url)
    except ValueError:
        return None
    forge = settings.forges.get(host or "")
    return None if forge is None else Provider(forge)


ROUTES = [register_project, list_projects, read_project, change_project, set_up_project, sync_project]
