"""Routes of hooks: the addresses that forges and CI jobs deliver to. All are the administrator's alone."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from services.api import showing
from services.api.auth import ApiRequest
from services.api.desk import Desk, Page
from services.api.params import DEFAULT_LIMIT, Cursor, HookId, Limit, ProjectId
from services.api.webhook_test import probe
from shared.errors import Invalid
from shared.repository import deliveries
from shared.repository.database import Tx
from shared.schemas.hook_answers import HookAnswer, NewHookAnswer, WebhookTestAnswer
from shared.schemas.records import Hook, HookSecret
from shared.schemas.requests import CreateHook, ProbeHook, RotateHook
from shared.schemas.statuses import Provider
from shared.security import new_hook_key, new_signing_secret, new_token
from shared.workflow import find, projects
from shared.workflow.deliveries import hook_seal_context
from shared.workflow.unit import Unit

TAGS = ["access"]
ADMIN = {"admin": True}
ROTATE, PROBE = RotateHook(), ProbeHook()

SCHEMES = {Provider.GITHUB: ("hmac",), Provider.GITLAB: ("token", "signing"), Provider.CI: ("hmac",)}
HOUR_MS = 3_600_000
OVERLAP_MS = 24 * HOUR_MS
MAX_OVERLAP_MS = 30 * OVERLAP_MS


@post("/projects/{project_id:int}/hooks", tags=TAGS, opt=ADMIN)
async def create_hook(
    request: ApiRequest, desk: NamedDependency[Desk], project_id: ProjectId, data: JSONBody[CreateHook]
) -> Response[NewHookAnswer]:
    """Make an address for the webhooks of a forge or for CI reports; its secret is shown in this answer only."""
    return await desk.act(
        request,
        lambda unit: add_hook(unit, desk, project_id, data),
        status=201,
        location=f"/projects/{project_id}/hooks",
        shown_once="secret",
    )


@get("/projects/{project_id:int}/hooks", tags=TAGS, opt=ADMIN)
async def list_hooks(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    project_id: ProjectId,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response[list[HookAnswer]]:
    """List the addresses for webhooks, ended ones too, without their secrets."""
    page = Page("hooks", limit, cursor)
    after, scope = page.after(), request.user.project_id

    def read(tx: Tx) -> list[HookAnswer]:
        find.project(tx, scope, project_id)
        rows = [hook for hook in deliveries.hooks_of(tx, project_id) if hook.id > after]
        return [showing.hook(tx, hook, desk.settings.public_url) for hook in rows[: limit + 1]]

    return await desk.list(request, page, read)


@delete("/projects/{project_id:int}/hooks/{hook_id:int}", tags=TAGS, opt=ADMIN)
async def disable_hook(
    request: ApiRequest, desk: NamedDependency[Desk], project_id: ProjectId, hook_id: HookId
) -> None:
    """End an address for webhooks now; what came in by it stays."""
    await desk.drop(request, lambda unit: projects.disable_hook(unit, project_id, hook_id))


@post("/projects/{project_id:int}/hooks/{hook_id:int}/actions/rotate", tags=TAGS, opt=ADMIN, status_code=200)
async def rotate_hook(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    project_id: ProjectId,
    hook_id: HookId,
    data: JSONBody[RotateHook] = ROTATE,
) -> Response[NewHookAnswer]:
    """Give a hook a new secret, shown in this answer only; the present one is valid for a while, by default a day."""
    return await desk.act(request, lambda unit: renew_hook(unit, desk, project_id, hook_id, data), shown_once="secret")


@post("/projects/{project_id:int}/webhook_test", tags=TAGS, opt=ADMIN, status_code=200)
async def send_test_delivery(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    project_id: ProjectId,
    data: JSONBody[ProbeHook] = PROBE,
) -> Response[WebhookTestAnswer]:
    """Send a signed delivery to a hook by its public address, tell how far it came, and what to enter at the forge."""
    answer = await probe_hook(desk, request.user.project_id, project_id, data)
    return Response[Any](msgspec.json.encode(answer), media_type="application/json")


def add_hook(unit: Unit, desk: Desk, project_id: int, data: CreateHook) -> NewHookAnswer:
    """Make an address; the answer is the only place that has its secret."""
    scheme = _scheme(data.provider, data.scheme or SCHEMES[data.provider][0])
    key, text = new_hook_key(), _new_secret(scheme)
    sealed = desk.vault.seal(text, hook_seal_context(key))
    hook = projects.add_hook(unit, project_id, provider=data.provider, key=key, scheme=scheme, sealed=sealed)
    return showing.new_hook(unit.tx, hook, desk.settings.public_url, scheme, text)


def renew_hook(unit: Unit, desk: Desk, project_id: int, hook_id: int, data: RotateHook) -> NewHookAnswer:
    """Give an address a new secret; the answer is the only place that has it."""
    hook, present = _live(unit.tx, unit.caller.project_id, project_id, hook_id)
    newest = present[0].scheme if present else SCHEMES[hook.provider][0]
    scheme = _scheme(hook.provider, data.scheme or newest)
    text = _new_secret(scheme)
    projects.rotate_hook(
        unit,
        project_id,
        hook_id,
        scheme=scheme,
        sealed=desk.vault.seal(text, hook_seal_context(hook.key)),
        others_until=_overlap(data.previous_valid_until, unit.now),
    )
    return showing.new_hook(unit.tx, hook, desk.settings.public_url, scheme, text)


async def probe_hook(desk: Desk, scope: int | None, project_id: int, data: ProbeHook) -> WebhookTestAnswer:
    """Send a signed delivery to the hook, and tell how far it came."""

    def read(tx: Tx) -> tuple[Hook, tuple[HookSecret, ...]]:
        return _live(tx, scope, project_id, data.hook_id)

    hook, sealed = await desk.database.read(read)
    return await probe(desk.settings, desk.database, desk.vault, hook, sealed)


def _live(tx: Tx, scope: int | None, project_id: int, hook_id: int | None) -> tuple[Hook, tuple[HookSecret, ...]]:
    """The hook, or the newest of the project, with the secrets that are valid now."""
    project = find.project(tx, scope, project_id)
    if hook_id is None:
        live = [hook for hook in deliveries.hooks_of(tx, project_id) if hook.disabled_at is None]
        if not live:
            raise Invalid(f"Project {project_id} has no hook; make one with POST /projects/{project_id}/hooks.")
        hook = live[-1]
    else:
        hook = find.live_hook(tx, project, hook_id)
    return hook, tuple(deliveries.hook_secrets(tx, hook.id))


def _scheme(provider: Provider, wanted: str) -> str:
    if wanted not in SCHEMES[provider]:
        raise Invalid(f"scheme: deliveries of {provider} prove themselves by {' or '.join(SCHEMES[provider])}.")
    return wanted


def _new_secret(scheme: str) -> str:
    """In the form that the sender asks for."""
    if scheme == "signing":
        return new_signing_secret()
    return new_token("webhook").text.reveal()


def _overlap(wanted: datetime | None, now: int) -> int:
    if wanted is None:
        return now + OVERLAP_MS
    until = int(wanted.astimezone(UTC).timestamp() * 1000)
    if until > now + MAX_OVERLAP_MS:
        raise Invalid("previous_valid_until: at most 30 days ahead.")
    return max(until, now)


ROUTES = [create_hook, list_hooks, disable_hook, rotate_hook, send_test_delivery]
