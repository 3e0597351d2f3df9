"""The desk that handlers work at: the doors that were passed in, and the one way each to read, to list and to act."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
from litestar import Request, Response
from msgspec.structs import replace

from services.api.auth import ApiRequest
from services.api.params import read_number
from shared.errors import Conflict, Invalid, PreconditionFailed, PreconditionNeeded
from shared.failpoints import fp
from shared.repository import idempotency
from shared.repository.database import Database, Tx
from shared.schemas.answers import Answer
from shared.security import Vault
from shared.settings import Settings
from shared.workflow.door import Workflow
from shared.workflow.unit import Unit

A = TypeVar("A", bound=Answer)
T = TypeVar("T")

MAX_KEY_CHARS = 200
LAST_ID = 2**63 - 1


class Stored(msgspec.Struct, frozen=True):
    """An answer as it goes out, encoded."""

    status: int
    headers: dict[str, str]
    body: bytes


class Ask(msgspec.Struct, frozen=True):
    """What makes two requests the same: who asked where, the key, and the body."""

    scope: str
    key: str
    sha256: str


class Desk:
    """One app's doors."""

    def __init__(self, settings: Settings, database: Database, flow: Workflow, vault: Vault) -> None:
        self.settings = settings
        self.database = database
        self.flow = flow
        self.vault = vault

    async def show(self, read: Callable[[Tx], A]) -> Response[A]:
        """Answer with one thing, whole each time: what it used and what is possible change while its version stays."""
        answer = await self.database.read(read)
        etag = _etag(answer)
        headers = {} if etag is None else {"etag": etag, "cache-control": "private, no-cache"}
        return _response(Stored(200, headers, msgspec.json.encode(answer)))

    def page(self, request: ApiRequest, page: "Page", rows: Sequence[A], last: int | None) -> Response[list[A]]:
        """Answer with these things; the next page begins behind the place of the `last` one, if there is one."""
        headers = {} if last is None else {"link": f'<{_next_url(request, page, last)}>; rel="next"'}
        return _response(Stored(200, headers, msgspec.json.encode(rows[: page.limit])))

    async def list(self, request: ApiRequest, page: "Page", read: Callable[[Tx], Sequence[A]]) -> Response[list[A]]:
        """Answer with a page of things; `read` gives one more than the page holds if there are more."""
        rows = await self.database.read(read)
        more = len(rows) > page.limit
        return self.page(request, page, rows, getattr(rows[page.limit - 1], page.by) if more else None)

    async def act(
        self,
        request: ApiRequest,
        verb: Callable[[Unit], A],
        *,
        status: int = 200,
        location: str | None = None,
        shown_once: str | None = None,
    ) -> Response[A]:
        """Run a verb and render its answer in one transaction, once per Idempotency-Key.

        `location` is the collection that a new thing's id is appended to; `shown_once` names the field that a repeated
        answer leaves out.
        """
        ask = await _ask_of(request)

        def once(unit: Unit) -> Stored:
            if ask is not None and (known := _known(unit.tx, ask)):
                return known
            answer = verb(unit)
            stored = _stored(answer, status, location)
            if ask is not None:
                kept = (
                    stored if shown_once is None else _stored(replace(answer, **{shown_once: None}), status, location)
                )
                idempotency.keep(
                    unit.tx,
                    ask.scope,
                    ask.key,
                    request_sha256=ask.sha256,
                    status=kept.status,
                    headers=kept.headers,
                    body=kept.body,
                )
            return stored

        return _response(await self.flow.run(request.user, once))

    async def drop(self, request: ApiRequest, verb: Callable[[Unit], None]) -> None:
        """Run a verb that leaves nothing to show."""

        def dropped(unit: Unit) -> None:
            verb(unit)

        await self.flow.run(request.user, dropped)


class Page(msgspec.Struct, frozen=True):
    """A page that was asked for; `name` keeps the cursors of different lists apart, `by` is the field they count by."""

    name: str
    limit: int
    cursor: str | None
    by: str = "id"

    def after(self, first: int = 0) -> int:
        """Where an ascending list goes on."""
        return first if self.cursor is None else self._place(self.cursor)

    def before(self) -> int:
        """Where a descending list goes on."""
        return LAST_ID if self.cursor is None else self._place(self.cursor)

    def cursor_at(self, place: int) -> str:
        """The cursor of the page behind `place`."""
        return base64.urlsafe_b64encode(f"{self.name}:{place}".encode()).decode().rstrip("=")

    def _place(self, cursor: str) -> int:
        try:
            name, _, place = (
                base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
                .decode()
                .partition(":")
            )
            found = int(place) if name == self.name and place.isascii() and place.isdecimal() else -1
        except (binascii.Error, ValueError):
            found = -1
        if not 0 <= found <= LAST_ID:
            raise Invalid("cursor: take it from the `Link` header of the page before.", type="bad-cursor")
        return found


def version_wanted(request: ApiRequest, *, needed: bool = False) -> int | None:
    """The version in If-Match; None when the caller takes any, PreconditionFailed when it is no ETag of ours."""
    given = request.headers.get("if-match")
    if given is None:
        if needed:
            raise PreconditionNeeded("Send the ETag that you have read as If-Match, so that no other change is lost.")
        return None
    if given.strip() == "*":
        return None
    version = read_number(given.strip().strip('"'))
    if version is None:
        raise PreconditionFailed('If-Match is no ETag that this service gave, like "3"; read it again.')
    return version


def _etag(answer: Answer) -> str | None:
    version = getattr(answer, "version", None)
    return None if version is None else f'"{version}"'


def _stored(answer: Answer, status: int, location: str | None) -> Stored:
    headers: dict[str, str] = {}
    if etag := _etag(answer):
        headers["etag"] = etag
    if location is not None:
        headers["location"] = f"{location}/{getattr(answer, 'id')}"  # noqa: B009  what has a location has an id
    return Stored(status, headers, msgspec.json.encode(answer))


def _response(stored: Stored) -> Response[Any]:
    return Response(
        content=stored.body, status_code=stored.status, headers=stored.headers, media_type="application/json"
    )


def _next_url(request: Request[Any, Any, Any], page: Page, place: int) -> str:
    query = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f"{request.scope['path']}?{urlencode([*query, ('cursor', page.cursor_at(place))])}"


async def _ask_of(request: ApiRequest) -> Ask | None:
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not (0 < len(key) <= MAX_KEY_CHARS and key.isascii() and key.isprintable()):
        raise Invalid(f"Idempotency-Key: 1 to {MAX_KEY_CHARS} printable ASCII characters.")
    scope = f"{request.user.actor} {request.method} {request.scope['path']}"
    body = await request.body()
    fp("request_read")
    return Ask(scope=scope, key=key, sha256=hashlib.sha256(body).hexdigest())


def _known(tx: Tx, ask: Ask) -> Stored | None:
    row = idempotency.find(tx, ask.scope, ask.key)
    if row is None:
        return None
    if row["request_sha256"] != ask.sha256:
        raise Conflict(
            "This Idempotency-Key was used with another body; take a new one.", type="idempotency-key-reused"
        )
    headers = msgspec.json.decode(row["headers"], type=dict[str, str])
    return Stored(row["status"], headers | {"idempotent-replayed": "true"}, row["body"])
