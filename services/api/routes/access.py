"""Routes of what opens doors: a project's tokens and secrets. All are the administrator's alone."""

from datetime import UTC, datetime

from litestar import Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import JSONBody

from services.api import showing
from services.api.auth import ApiRequest
from services.api.desk import Desk, Page
from services.api.params import DEFAULT_LIMIT, Cursor, Limit, ProjectId, SecretName, TokenId
from shared.errors import Invalid
from shared.repository import projects as table
from shared.repository import tokens
from shared.repository.database import Tx
from shared.schemas.answers import NewTokenAnswer, SecretAnswer, TokenAnswer
from shared.schemas.requests import CreateToken, PutSecret
from shared.security import Vault, new_token
from shared.workflow import find, projects
from shared.workflow.unit import Unit

TAGS = ["access"]
ADMIN = {"admin": True}


@post("/projects/{project_id:int}/tokens", tags=TAGS, opt=ADMIN)
async def create_token(
    request: ApiRequest, desk: NamedDependency[Desk], project_id: ProjectId, data: JSONBody[CreateToken]
) -> Response[NewTokenAnswer]:
    """Make an access token; its text is shown in this answer and never again."""
    return await desk.act(
        request,
        lambda unit: add_token(unit, project_id, data),
        status=201,
        location=f"/projects/{project_id}/tokens",
        shown_once="token",
    )


@get("/projects/{project_id:int}/tokens", tags=TAGS, opt=ADMIN)
async def list_tokens(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    project_id: ProjectId,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response[list[TokenAnswer]]:
    """List the access tokens, revoked ones too, without their texts."""
    page = Page("tokens", limit, cursor)
    after, scope = page.after(), request.user.project_id

    def read(tx: Tx) -> list[TokenAnswer]:
        find.project(tx, scope, project_id)
        rows = [token for token in tokens.of_project(tx, project_id) if token.id > after]
        return [showing.token(token) for token in rows[: limit + 1]]

    return await desk.list(request, page, read)


@delete("/projects/{project_id:int}/tokens/{token_id:int}", tags=TAGS, opt=ADMIN)
async def revoke_token(
    request: ApiRequest, desk: NamedDependency[Desk], project_id: ProjectId, token_id: TokenId
) -> None:
    """End an access token now."""
    await desk.drop(request, lambda unit: projects.revoke_token(unit, project_id, token_id))


@put("/projects/{project_id:int}/secrets/{name:str}", tags=TAGS, opt=ADMIN, status_code=204)
async def put_secret(
    request: ApiRequest, desk: NamedDependency[Desk], project_id: ProjectId, name: SecretName, data: JSONBody[PutSecret]
) -> None:
    """Store or replace a secret, which is never shown again; `forge_token` is the one that pushes and pulls."""
    await desk.drop(request, lambda unit: keep_secret(unit, desk.vault, project_id, name, data))


@get("/projects/{project_id:int}/secrets", tags=TAGS, opt=ADMIN)
async def list_secrets(
    request: ApiRequest, desk: NamedDependency[Desk], project_id: ProjectId
) -> Response[list[SecretAnswer]]:
    """List the secrets by name, without what they hold."""
    scope = request.user.project_id

    def read(tx: Tx) -> list[SecretAnswer]:
        find.project(tx, scope, project_id)
        return [showing.secret(secret) for secret in table.secrets(tx, project_id)]

    return await desk.list(request, Page("secrets", 500, None, by="name"), read)


@delete("/projects/{project_id:int}/secrets/{name:str}", tags=TAGS, opt=ADMIN)
async def delete_secret(
    request: ApiRequest, desk: NamedDependency[Desk], project_id: ProjectId, name: SecretName
) -> None:
    """Forget a secret."""
    await desk.drop(request, lambda unit: projects.delete_secret(unit, project_id, name))


def add_token(unit: Unit, project_id: int, data: CreateToken) -> NewTokenAnswer:
    """Make a token; the answer is the only place that has its text."""
    made = new_token("project")
    ends = None if data.expires_at is None else _ms(data.expires_at)
    if ends is not None and ends <= unit.now:
        raise Invalid("expires_at lies in the past.")
    token = projects.add_token(
        unit, project_id, name=data.name, prefix=made.prefix, token_hash=made.hash, expires_at=ends
    )
    return showing.new_token(token, made.text.reveal())


def keep_secret(unit: Unit, vault: Vault, project_id: int, name: str, data: PutSecret) -> None:
    """Seal and store a secret's value, or store the name of the file that holds it."""
    if (data.value is None) == (data.file_name is None):
        raise Invalid("Send either `value` or `file_name`.")
    sealed = None if data.value is None else vault.seal(data.value, f"project:{project_id}:{name}")
    projects.put_secret(unit, project_id, name, sealed=sealed, file_name=data.file_name)


def _ms(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp() * 1000)


ROUTES = [
    create_token,
    list_tokens,
    revoke_token,
    put_secret,
    list_secrets,
    delete_secret,
]
