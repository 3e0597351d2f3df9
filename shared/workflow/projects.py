"""Verbs on projects: register, change, set up, and their secrets, tokens and hooks."""

from typing import Any

from msgspec.structs import replace

from shared.errors import Conflict, Invalid, NotFound, PreconditionFailed
from shared.repository import deliveries, projects, tokens
from shared.schemas import names
from shared.schemas.policy import Policy
from shared.schemas.records import Hook, Job, Project, Token
from shared.schemas.statuses import EventType, JobKind, Provider
from shared.workflow import find
from shared.workflow.unit import Unit

# The secrets of a project that something uses.
SECRET_NAMES = ("forge_token",)


def register_project(
    unit: Unit,
    *,
    name: str,
    git_url: str,
    base_branch: str,
    ci_provider: Provider | None,
    default_models: dict[str, str],
    policy: Policy,
    allow_local: bool,
    hosts: frozenset[str] | None = None,
    repository_id: str | None = None,
) -> Project:
    """Store the project and queue its setup; the name is taken once."""
    _check(git_url, base_branch, allow_local=allow_local, hosts=hosts)
    if projects.named(unit.tx, name) is not None:
        raise Conflict(f"There already is a project named {name!r}.", type="name-taken")
    wanted = Project(
        id=0,
        name=name,
        git_url=git_url,
        base_branch=base_branch,
        ci_provider=ci_provider,
        repository_id=repository_id,
        default_models=default_models,
        policy=policy,
        version=1,
        created_at=unit.now,
        updated_at=unit.now,
    )
    project = projects.add(unit.tx, wanted)
    unit.say(EventType.PROJECT_REGISTERED, project, name=name, git_url=git_url, base_branch=base_branch)
    _queue_setup(unit, project)
    return project


def change_project(
    unit: Unit,
    project_id: int,
    version: int | None,
    changes: dict[str, Any],
    *,
    allow_local: bool,
    hosts: frozenset[str] | None = None,
) -> Project:
    """Change some fields of the version that the caller has read; a new URL or base branch is set up again."""
    project = find.project(unit.tx, unit.caller.project_id, project_id)
    if version is not None and version != project.version:
        raise PreconditionFailed(f"The project is at version {project.version}, not {version}; read it again.")
    wanted = replace(project, **changes)
    if wanted.git_url != project.git_url and "repository_id" not in changes:
        wanted = replace(wanted, repository_id=None)
    _check(wanted.git_url, wanted.base_branch, allow_local=allow_local, hosts=hosts)
    other = projects.named(unit.tx, wanted.name)
    if other is not None and other.id != project_id:
        raise Conflict(f"There already is a project named {wanted.name!r}.", type="name-taken")
    saved = projects.save(unit.tx, wanted)
    if saved is None:
        raise PreconditionFailed("The project changed meanwhile; read it again.")
    unit.say(EventType.PROJECT_CHANGED, saved, changed=sorted(changes), version=saved.version)
    if (saved.git_url, saved.base_branch) != (project.git_url, project.base_branch):
        _queue_setup(unit, saved)
    return saved


def set_up_project(unit: Unit, project_id: int) -> Job:
    """Queue the setup again, after its cause of failure was removed."""
    return _queue_setup(unit, find.project(unit.tx, unit.caller.project_id, project_id))


def put_secret(
    unit: Unit, project_id: int, name: str, *, sealed: bytes | None = None, file_name: str | None = None
) -> None:
    """Store a secret, sealed by the caller, or the name of a file that holds it; only names that something uses."""
    if name not in SECRET_NAMES:
        raise Invalid(f"No secret {name!r} is ever used; there is {', '.join(SECRET_NAMES)}.")
    project = find.project(unit.tx, unit.caller.project_id, project_id)
    projects.put_secret(unit.tx, project_id, name, sealed=sealed, file_name=file_name)
    unit.say(EventType.SECRET_SET, project, name=name, stored="sealed" if file_name is None else "file")


def delete_secret(unit: Unit, project_id: int, name: str) -> None:
    """Forget a secret."""
    project = find.project(unit.tx, unit.caller.project_id, project_id)
    if not projects.delete_secret(unit.tx, project_id, name):
        raise NotFound(f"Project {project_id} has no secret {name!r}.")
    unit.say(EventType.SECRET_SET, project, name=name, stored="deleted")


def add_token(unit: Unit, project_id: int, *, name: str, prefix: str, token_hash: str, expires_at: int | None) -> Token:
    """Store a token by its hash; the text itself is known to the caller alone."""
    project = find.project(unit.tx, unit.caller.project_id, project_id)
    token = tokens.add(unit.tx, project_id, name, prefix, token_hash, expires_at)
    unit.say(EventType.TOKEN_CREATED, project, token=token.id, name=name, prefix=prefix)
    return token


def revoke_token(unit: Unit, project_id: int, token_id: int) -> None:
    """End a token now."""
    project = find.project(unit.tx, unit.caller.project_id, project_id)
    if not tokens.revoke(unit.tx, project_id, token_id):
        raise NotFound(f"Project {project_id} has no live token {token_id}.")
    unit.say(EventType.TOKEN_REVOKED, project, token=token_id)


def add_hook(unit: Unit, project_id: int, *, provider: Provider, key: str, scheme: str, sealed: bytes | None) -> Hook:
    """Store a hook under its random key, with its first secret."""
    project = find.project(unit.tx, unit.caller.project_id, project_id)
    hook = deliveries.add_hook(unit.tx, project_id, provider, key)
    if sealed is not None:
        deliveries.add_hook_secret(unit.tx, hook.id, scheme, sealed, others_until=unit.now)
    unit.say(EventType.HOOK_CREATED, project, hook=hook.id, provider=provider)
    return hook


def rotate_hook(unit: Unit, project_id: int, hook_id: int, *, scheme: str, sealed: bytes, others_until: int) -> Hook:
    """Give a live hook a new secret; its present ones end at `others_until` (ms)."""
    project = find.project(unit.tx, unit.caller.project_id, project_id)
    hook = find.live_hook(unit.tx, project, hook_id)
    deliveries.add_hook_secret(unit.tx, hook_id, scheme, sealed, others_until=max(others_until, unit.now))
    unit.say(EventType.HOOK_ROTATED, project, hook=hook_id, provider=hook.provider, scheme=scheme, until=others_until)
    return hook


def disable_hook(unit: Unit, project_id: int, hook_id: int) -> None:
    """End a hook now; its deliveries stay."""
    project = find.project(unit.tx, unit.caller.project_id, project_id)
    hook = find.live_hook(unit.tx, project, hook_id)
    deliveries.disable_hook(unit.tx, hook_id)
    unit.say(EventType.HOOK_DISABLED, project, hook=hook_id, provider=hook.provider)


def _queue_setup(unit: Unit, project: Project) -> Job:
    job = unit.enqueue(JobKind.SETUP, project_id=project.id)
    unit.say(EventType.SETUP_ENQUEUED, project, job=job)
    return job


def _check(git_url: str, base_branch: str, *, allow_local: bool, hosts: frozenset[str] | None) -> None:
    try:
        names.check_git_url(git_url, allow_local=allow_local, hosts=hosts)
        names.check_branch(base_branch)
    except ValueError as error:
        raise Invalid(str(error)) from error
