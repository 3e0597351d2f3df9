"""Commands of projects: register a repository, list them, show and change one."""

import asyncio
import time
from typing import Annotated, Literal

from cyclopts import App, Parameter
from msgspec import UNSET
from rich.console import RenderableType

from services.cli.desk import Desk, open_desk, origin_of
from services.cli.ending import CommandError, Exit
from services.cli.options import PROJECTS, Called, Everywhere
from services.cli.text import ago, facts, line, status, table
from shared.schemas.answers import ProjectAnswer
from shared.schemas.requests import ChangeProject, CreateProject, Models, PolicyChanges
from shared.schemas.statuses import JobState

LOOK_S = 0.3
SETUP_S = 600.0

Wait = Annotated[bool, Parameter(negative="", show_default=False, help="Wait until it is cloned and checked.")]

app = App(
    name="project", help="Register, list, show and change projects: the repositories that runs work on.", group=PROJECTS
)


@app.command
async def add(
    git_url: Annotated[
        str | None, Parameter(help="Address of the repository, or a local path. Default: this folder's origin.")
    ] = None,
    /,
    *,
    name: Annotated[str | None, Parameter(help="Its name. Default: the last part of the address.")] = None,
    base_branch: Annotated[str, Parameter(help="The branch that runs start from.")] = "main",
    forge: Annotated[
        Literal["github", "gitlab"] | None, Parameter(help="Whose pull or merge requests are opened.")
    ] = None,
    model: Annotated[str | None, Parameter(help="The model for planning, execution and QA.")] = None,
    wait: Wait = False,
    options: Everywhere = None,
    caller: Called,
) -> Exit:
    """Register a repository, which is then cloned and checked; unlike in the console, no plan waits for approval."""
    async with open_desk(caller, options) as desk:
        found = [git_url] if git_url else await asyncio.to_thread(origin_of, caller)
        if not found:
            raise CommandError(Exit.USAGE, "this folder is no git repository; name the address of one")
        wanted = CreateProject(
            name=name or found[0].rstrip("/").removesuffix(".git").replace(":", "/").rpartition("/")[2],
            git_url=found[0],
            base_branch=base_branch,
            ci_provider=forge,
            default_models=Models(planning=model, exec=model, qa=model),
            policy=PolicyChanges(),
        )
        project = await desk.rest.post("/projects", ProjectAnswer, wanted)
        return await _shown(desk, project, wait=wait)


async def _shown(desk: Desk, project: ProjectAnswer, *, wait: bool) -> Exit:
    """Show it, after its setup where somebody waits for that."""
    if wait:
        project = await _set_up(desk, project)
    desk.show(project, _picture(project))
    failed = project.setup is not None and project.setup.state is JobState.FAILED
    return Exit.FAILED if failed else Exit.OK


async def _set_up(desk: Desk, project: ProjectAnswer) -> ProjectAnswer:
    give_up_at = time.monotonic() + SETUP_S
    while project.setup is not None and project.setup.state in {JobState.QUEUED, JobState.RUNNING}:
        if time.monotonic() > give_up_at:
            raise CommandError(
                Exit.FAILED, f"it is still {project.setup.state} after {SETUP_S:.0f} s; is a worker running?"
            )
        await asyncio.sleep(LOOK_S)
        project = await desk.rest.get(f"/projects/{project.id}", ProjectAnswer)
    return project


@app.command(name="list")
async def list_projects(*, options: Everywhere = None, caller: Called) -> None:
    """List the projects."""
    async with open_desk(caller, options) as desk:
        projects = await desk.rest.some("/projects", ProjectAnswer)
        rows = [(str(each.id), each.name, each.git_url, each.base_branch, _setup(each)) for each in projects]
        none = "No project yet: register one with `deksdenflow project add`."
        desk.show(projects, table("#", "name", "repository", "base", "setup", rows=rows, none=none))


@app.command
async def show(
    project: Annotated[str | None, Parameter(help="Its number or name. Default: the one of this folder.")] = None,
    /,
    *,
    options: Everywhere = None,
    caller: Called,
) -> None:
    """Show a project with its policy and how its setup stands."""
    async with open_desk(caller, options) as desk:
        found = await desk.project(project)
        desk.show(found, _picture(found))


@app.command
async def change(
    project: Annotated[str | None, Parameter(help="Its number or name. Default: the one of this folder.")] = None,
    /,
    *,
    git_url: Annotated[str | None, Parameter(help="Another address of the repository.")] = None,
    base_branch: Annotated[str | None, Parameter(help="Another branch that runs start from.")] = None,
    name: Annotated[str | None, Parameter(help="Another name.")] = None,
    wait: Wait = False,
    options: Everywhere = None,
    caller: Called,
) -> Exit:
    """Change a project; with another address or base branch it is set up anew."""
    wanted = ChangeProject(name=name or UNSET, git_url=git_url or UNSET, base_branch=base_branch or UNSET)
    if wanted == ChangeProject():
        raise CommandError(Exit.USAGE, "say what is to change: --git-url, --base-branch or --name")
    async with open_desk(caller, options) as desk:
        found = await desk.project(project)
        return await _shown(
            desk, await desk.rest.patch(f"/projects/{found.id}", ProjectAnswer, wanted, found.version), wait=wait
        )


def _picture(project: ProjectAnswer) -> RenderableType:
    policy = project.policy
    models = ", ".join(f"{role}: {model}" for role, model in project.default_models.items())
    rules = [f"progression {policy.progression}", f"judged by {policy.judged_by}", f"completed by {policy.completion}"]
    rules += ["plan needs approval"] * policy.plan_approval + [f"{policy.auto_fix} repairs"] * bool(policy.auto_fix)
    return facts(
        (
            ("project", f"{project.id}  {line(project.name)}"),
            ("repository", project.git_url),
            ("base branch", project.base_branch),
            ("forge", project.ci_provider),
            ("setup", _setup(project)),
            ("why", project.setup.error if project.setup else None),
            ("models", models),
            ("policy", ", ".join(rules)),
            ("required CI", ", ".join(policy.required_contexts)),
            ("registered", ago(project.created_at)),
        )
    )


def _setup(project: ProjectAnswer) -> RenderableType | None:
    return None if project.setup is None else status(project.setup.state, project.setup.category)
