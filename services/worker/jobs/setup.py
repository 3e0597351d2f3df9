"""Sets a project up: its mirror, its base branch, and the id of its repository where its forge can be asked."""

from msgspec.structs import replace

from services.worker.doors import Doors
from services.worker.lease import Lease
from shared.errors import Category, JobError
from shared.failpoints import fp
from shared.schemas.records import Project
from shared.schemas.reports import SetupDone


async def set_up(doors: Doors, lease: Lease) -> SetupDone:
    """Clone the project's mirror, or bring it up to date, and check its base branch.

    A forge that cannot be asked fails nothing: the id is learned later, and the note says what is in the way.
    """
    project = lease.claim.project
    if project is None:
        raise JobError(Category.CONFIG, f"Job {lease.job_id} has no project.")
    info = await doors.git.setup_mirror(project.id, await doors.remote_of(project), project.base_branch)
    done = SetupDone(base_sha=info.base_sha, default_branch=info.default_branch)
    return await _with_repository(doors, project, done)


async def _with_repository(doors: Doors, project: Project, done: SetupDone) -> SetupDone:
    try:
        forge = await doors.forge_of(project)
        if forge is None:
            return done
        repository = await forge.repository()
        fp("repository_asked")
    except JobError as error:
        return replace(done, note=error.message)
    return replace(done, repository=repository)
