"""The command line's one way to the server: REST over HTTP, and streams that survive a cut."""

import asyncio
import ipaddress
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Self, TypeVar
from urllib.parse import parse_qsl, urlsplit

import httpx
import msgspec

from services.cli.ending import CommandError, Exit
from shared.errors import UNREADABLE, StartupError
from shared.schemas.problems import URN, Problem
from shared.schemas.requests import Body
from shared.settings import PREFIX, Url, read_secret

T = TypeVar("T")
Query = Mapping[str, int | str | None]

PATIENCE_S = 30.0
# The server sends a comment every 15 s; what is silent for longer is cut.
SILENCE_S = 40.0
# For so long a stream is asked for again: a restart of the server takes less.
LOST_S = 60.0
AGAIN_S = 0.5
PAGE = 500


class Message(msgspec.Struct, frozen=True):
    """One message of a stream."""

    id: int
    event: str
    data: bytes


class Connection(msgspec.Struct, frozen=True):
    """Where the server is, and what proves who asks."""

    url: str
    headers: dict[str, str]


def find_connection(environment: Mapping[str, str], api: str | None) -> Connection:
    """The server's address and the tokens, by the environment; CommandError(USAGE) names what is wrong."""
    url = (
        api
        or environment.get(f"{PREFIX}API_BASE")
        or f"http://127.0.0.1:{environment.get(f'{PREFIX}API_PORT') or 8000}"
    )
    try:
        msgspec.convert(url, Url)
        urlsplit(url).port  # noqa: B018  raises where it is no number
    except ValueError as error:
        raise CommandError(Exit.USAGE, f"{url!r} is no address of a server, like http://127.0.0.1:8000") from error
    headers = {"user-agent": "deksdenflow"}
    if token := _token(environment, "API_TOKEN"):
        headers["authorization"] = f"Bearer {token}"
    if token := _token(environment, "PROJECT_TOKEN"):
        headers["x-project-token"] = token
    return Connection(url.rstrip("/"), headers)


def _token(environment: Mapping[str, str], name: str) -> str:
    text, file = environment.get(f"{PREFIX}{name}", ""), environment.get(f"{PREFIX}{name}_FILE", "")
    if text and file:
        raise CommandError(Exit.USAGE, f"{PREFIX}{name} and {PREFIX}{name}_FILE are both set; keep one")
    try:
        text = read_secret(f"{PREFIX}{name}_FILE", file) if file else text
    except StartupError as error:
        raise CommandError(Exit.USAGE, str(error)) from error
    if not text.isascii() or not text.isprintable():
        raise CommandError(Exit.USAGE, f"{PREFIX}{name} is no token: it holds characters that none has")
    return text


class Rest:
    """One server; an `async with` closes its connections. What cannot be had is a CommandError."""

    def __init__(self, connection: Connection) -> None:
        self.url = connection.url
        # Told once when streams are cut, and once when all of them are back.
        self.on_lost: Callable[[bool], None] | None = None
        self._cut: set[str] = set()
        self._http = httpx.AsyncClient(
            base_url=connection.url,
            headers=connection.headers,
            timeout=PATIENCE_S,
            # The person's proxy has no business on loopback.
            trust_env=not is_loopback(urlsplit(connection.url).hostname or ""),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def get(self, path: str, kind: type[T], query: Query | None = None) -> T:
        """Read one thing."""
        return self._decoded(await self._asked("GET", path, query=query), kind)

    async def some(self, path: str, kind: type[T], query: Query | None = None, *, limit: int | None = None) -> list[T]:
        """Read a list, page by page, to its end or until there are `limit`."""
        found: list[T] = []
        cursor: str | None = None
        while limit is None or len(found) < limit:
            size = PAGE if limit is None else min(PAGE, limit - len(found))
            answer = await self._asked("GET", path, query={**(query or {}), "limit": size, "cursor": cursor})
            found += self._decoded(answer, list[kind])
            following = answer.links.get("next", {}).get("url")
            if following is None:
                break
            cursor = dict(parse_qsl(urlsplit(following).query)).get("cursor")
        return found

    async def post(self, path: str, kind: type[T], body: Body | Mapping[str, Any] | None = None) -> T:
        """Ask for something; fields of the body that are at their default are left out."""
        given = body if isinstance(body, Mapping) else {} if body is None else named(body)
        return self._decoded(await self._asked("POST", path, body=dict(given)), kind)

    async def patch(self, path: str, kind: type[T], body: Body, version: int) -> T:
        """Change what still has this version; fields of the body that are at their default stay as they are."""
        return self._decoded(await self._asked("PATCH", path, body=named(body), version=version), kind)

    async def text(self, path: str, query: Query | None = None) -> str:
        """Read a text that may be long, such as a log, piece by piece to its present end."""
        parts: list[str] = []
        offset = 0
        while True:
            answer = await self._asked("GET", path, query={**(query or {}), "offset": offset})
            parts.append(answer.text)
            following = int(answer.headers.get("x-next-offset", 0))
            if following <= offset or following >= int(answer.headers.get("x-total-bytes", 0)):
                return "".join(parts)
            offset = following

    @property
    def lost(self) -> bool:
        """Whether a stream was cut and has not come back yet."""
        return bool(self._cut)

    def _hears(self, path: str, *, heard: bool) -> None:
        before = self.lost
        (self._cut.discard if heard else self._cut.add)(path)
        if self.on_lost is not None and before is not self.lost:
            self.on_lost(self.lost)

    async def follow(
        self, path: str, query: Query | None = None, *, after: int | None = None
    ) -> AsyncGenerator[Message]:
        """The messages of a stream, without loss or repetition over cuts, until it says `end`.

        CommandError(UNREACHABLE) when the server stays away.
        """
        place, lost_at = after, None
        while True:
            headers = {} if place is None else {"last-event-id": str(place)}
            try:
                async with self._http.stream(
                    "GET",
                    path,
                    params=_filled(query),
                    headers=headers,
                    timeout=httpx.Timeout(PATIENCE_S, read=SILENCE_S),
                ) as answer:
                    if answer.is_server_error:  # a proxy's word while the server restarts, or too many streams
                        raise httpx.RemoteProtocolError(f"status {answer.status_code}", request=answer.request)
                    if not answer.is_success:
                        await answer.aread()
                        raise self._refused(answer)
                    lost_at = None
                    self._hears(path, heard=True)
                    async for message in _messages(answer):
                        place = message.id
                        yield message
                        if message.event == "end":
                            return
            except httpx.HTTPError as error:
                lost_at = lost_at or time.monotonic()
                self._hears(path, heard=False)
                if time.monotonic() - lost_at > LOST_S:
                    raise self._unreachable(error) from error
            await asyncio.sleep(AGAIN_S)

    async def _asked(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: dict[str, Any] | None = None,
        version: int | None = None,
    ) -> httpx.Response:
        headers = None if version is None else {"If-Match": f'"{version}"'}
        try:
            answer = await self._http.request(method, path, params=_filled(query), json=body, headers=headers)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if answer.is_success:
            return answer
        raise self._refused(answer)

    def _unreachable(self, error: httpx.HTTPError) -> CommandError:
        why = str(error) or type(error).__name__
        text = f"no DeksdenFlow answers at {self.url} ({why}); start one with `deksdenflow up`, or set {PREFIX}API_BASE"
        return CommandError(Exit.UNREACHABLE, text)

    def _refused(self, answer: httpx.Response) -> CommandError:
        try:
            problem = msgspec.json.decode(answer.content, type=Problem)
        except UNREADABLE:
            return self._foreign(f"the status {answer.status_code}")
        return CommandError(Exit.REFUSED, _in_one_line(problem), problem)

    def _foreign(self, what: str) -> CommandError:
        text = f"{self.url} answers with {what}: it is no DeksdenFlow, or of another release; see {PREFIX}API_BASE"
        return CommandError(Exit.UNREACHABLE, text)

    def _decoded(self, answer: httpx.Response, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except UNREADABLE as error:
            raise self._foreign(f"something unexpected ({error})") from error


def is_loopback(host: str) -> bool:
    """Whether the name is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def named(body: Body) -> dict[str, Any]:
    """The fields that say something, as a person would write them."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(body)}
    given = {name: getattr(body, name) for name in body.__struct_fields__}
    said = {name: value for name, value in given.items() if value != defaults[name]}
    return {
        name: named(value) if isinstance(value, Body) else msgspec.to_builtins(value) for name, value in said.items()
    }


async def _messages(answer: httpx.Response) -> AsyncGenerator[Message]:
    given: dict[bytes, bytes] = {}
    async for line in _lines(answer):
        name, _, value = line.partition(b":")
        if line and name:
            given[name] = value.removeprefix(b" ")
        elif not line:
            if b"data" in given and given.get(b"id", b"").isdigit():
                yield Message(int(given[b"id"]), given.get(b"event", b"").decode(), given[b"data"])
            given = {}


async def _lines(answer: httpx.Response) -> AsyncGenerator[bytes]:
    """Lines as a stream ends them; httpx would end one at U+2028 too, which is text."""
    begun = b""
    async for chunk in answer.aiter_bytes():
        *lines, begun = (begun + chunk).split(b"\n")
        for line in lines:
            yield line


def _filled(query: Query | None) -> dict[str, int | str]:
    return {name: value for name, value in (query or {}).items() if value is not None}


def _in_one_line(problem: Problem) -> str:
    flaws = "; ".join(f"{flaw.field}: {flaw.message}" for flaw in problem.errors or ())
    told = problem.detail or ""
    if flaws and all(flaw.message in told for flaw in problem.errors or ()):
        told = ""  # it says the same with less order
    parts = [f"{problem.title}.", told, flaws]
    if problem.status_now:
        parts.append(f"It is {problem.status_now} now.")
    if problem.allowed_actions:
        parts.append(f"Possible: {', '.join(problem.allowed_actions)}.")
    if problem.type == f"{URN}unauthenticated":
        parts.append(f"Set {PREFIX}API_TOKEN, {PREFIX}API_TOKEN_FILE or {PREFIX}PROJECT_TOKEN.")
    return " ".join(part for part in parts if part)


def as_json(answer: object) -> str:
    """An answer as it came, for programs; in ASCII, so that nothing in it can steer a terminal."""
    return json.dumps(msgspec.to_builtins(answer, str_keys=True), indent=2)
