"""Routes of who is told outside of what happens, and of each message to them. All are the administrator's alone."""

from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from services.api import telling
from services.api.auth import ApiRequest
from services.api.desk import Desk, Page
from services.api.params import DEFAULT_LIMIT, Cursor, Limit, NoticeId, NotifierId, ProjectId
from shared.errors import Invalid
from shared.repository import notices as table
from shared.repository.database import Tx
from shared.schemas.notices import (
    CreateNotifier,
    NewNotifierAnswer,
    NoticeAnswer,
    Notifier,
    NotifierAnswer,
    NotifierKind,
)
from shared.schemas.outside import shown_host
from shared.schemas.requests import Nothing
from shared.security import new_hook_key, new_signing_secret
from shared.workflow import find, notices
from shared.workflow.unit import Unit

TAGS = ["attention"]
ADMIN = {"admin": True}
NOTHING = Nothing()


@post("/notifiers", tags=TAGS, opt=ADMIN)
async def create_notifier(
    request: ApiRequest, desk: NamedDependency[Desk], data: JSONBody[CreateNotifier]
) -> Response[NewNotifierAnswer]:
    """Have somebody told of what happens in all projects; a webhook's signing secret is shown in this answer only."""
    return await desk.act(
        request,
        lambda unit: add_notifier(unit, desk, data, None),
        status=201,
        location="/notifiers",
        shown_once="secret",
    )


@post("/projects/{project_id:int}/notifiers", tags=TAGS, opt=ADMIN)
async def create_project_notifier(
    request: ApiRequest, desk: NamedDependency[Desk], project_id: ProjectId, data: JSONBody[CreateNotifier]
) -> Response[NewNotifierAnswer]:
    """Have somebody told of what happens in a project; a webhook's signing secret is shown in this answer only."""
    return await desk.act(
        request,
        lambda unit: add_notifier(unit, desk, data, project_id),
        status=201,
        location="/notifiers",
        shown_once="secret",
    )


@get("/notifiers", tags=TAGS, opt=ADMIN)
async def list_notifiers(
    request: ApiRequest, desk: NamedDependency[Desk], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response[list[NotifierAnswer]]:
    """List who is told of all projects, removed ones too."""
    page = Page("notifiers", limit, cursor)
    after = page.after()

    def read(tx: Tx) -> list[NotifierAnswer]:
        rows = [each for each in table.notifiers(tx, None) if each.id > after]
        return [telling.notifier(each) for each in rows[: limit + 1]]

    return await desk.list(request, page, read)


@get("/projects/{project_id:int}/notifiers", tags=TAGS, opt=ADMIN)
async def list_project_notifiers(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    project_id: ProjectId,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response[list[NotifierAnswer]]:
    """List who is told of a project alone, removed ones too."""
    page = Page("project-notifiers", limit, cursor)
    after, scope = page.after(), request.user.project_id

    def read(tx: Tx) -> list[NotifierAnswer]:
        find.project(tx, scope, project_id)
        rows = [each for each in table.notifiers(tx, project_id) if each.id > after]
        return [telling.notifier(each) for each in rows[: limit + 1]]

    return await desk.list(request, page, read)


@delete("/notifiers/{notifier_id:int}", tags=TAGS, opt=ADMIN)
async def remove_notifier(request: ApiRequest, desk: NamedDependency[Desk], notifier_id: NotifierId) -> None:
    """Tell it nothing more; what was sent stays to be seen."""
    await desk.drop(request, lambda unit: notices.remove_notifier(unit, notifier_id))


@post("/notifiers/{notifier_id:int}/actions/test", tags=TAGS, opt=ADMIN, status_code=202)
async def send_test(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    notifier_id: NotifierId,
    data: JSONBody[Nothing] = NOTHING,  # noqa: ARG001  refuses unknown fields
) -> Response[NoticeAnswer]:
    """Queue a message that says that messages come; the answer is that message."""
    return await desk.act(request, lambda unit: telling.notice(notices.probe_notifier(unit, notifier_id)), status=202)


@get("/notifiers/{notifier_id:int}/deliveries", tags=TAGS, opt=ADMIN)
async def list_notices(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    notifier_id: NotifierId,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response[list[NoticeAnswer]]:
    """List the messages to it, newest first, with what came of them."""
    page = Page("notices", limit, cursor)
    before, scope = page.before(), request.user.project_id

    def read(tx: Tx) -> list[NoticeAnswer]:
        ended = find.notifier(tx, scope, notifier_id).disabled_at is not None
        rows = table.page(tx, notifier_id, before=before, limit=limit + 1)
        return [telling.notice(each, ended=ended) for each in rows]

    return await desk.list(request, page, read)


@post("/notifiers/{notifier_id:int}/deliveries/{notice_id:int}/actions/retry", tags=TAGS, opt=ADMIN, status_code=202)
async def retry_notice(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    notifier_id: NotifierId,
    notice_id: NoticeId,
    data: JSONBody[Nothing] = NOTHING,  # noqa: ARG001  refuses unknown fields
) -> Response[NoticeAnswer]:
    """Queue a message again that could not be sent; it is the same one, by its id."""
    return await desk.act(
        request, lambda unit: telling.notice(notices.retry_notice(unit, notifier_id, notice_id)), status=202
    )


def add_notifier(unit: Unit, desk: Desk, data: CreateNotifier, project_id: int | None) -> NewNotifierAnswer:
    """Have somebody told of a project, or of all; the answer is the only place that has the signing secret."""
    try:
        host = shown_host(data.url, allow_http=desk.settings.is_local)
    except ValueError as error:
        raise Invalid(f"{error}.") from error
    key = new_hook_key()
    context = notices.notifier_seal_context(key)
    secret = new_signing_secret()
    signs = data.kind is NotifierKind.WEBHOOK
    wanted = Notifier(
        id=0,
        project_id=project_id,
        kind=data.kind,
        key=key,
        host=host,
        url=desk.vault.seal(data.url, context),
        secret=desk.vault.seal(secret, context) if signs else None,
        events=tuple(dict.fromkeys(data.events)),
        failures=0,
        failing_since=None,
        created_at=unit.now,
        disabled_at=None,
    )
    return telling.new_notifier(notices.add_notifier(unit, wanted), secret if signs else None)


ROUTES = [
    create_notifier,
    create_project_notifier,
    list_notifiers,
    list_project_notifiers,
    remove_notifier,
    send_test,
    list_notices,
    retry_notice,
]
