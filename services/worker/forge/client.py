"""The place where an HTTP call to a forge is made: to its bound host alone, with limits on time, size and pages.

A redirect is followed only for a GET that stays at the same origin. What a forge keeps elsewhere (logs of jobs) is
fetched from there without the token. No body is ever logged.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

import httpx
import msgspec

from services.worker.forge.failures import Place, Wish, moved, refusal
from shared.errors import UNREADABLE, Category, JobError
from shared.secret import Secret

MAX_BODY_BYTES: Final = 8 << 20
MAX_LOG_BYTES: Final = 64 << 20
TAIL_BYTES: Final = 64_000
MAX_HOPS: Final = 3
PAGE: Final = 100
MAX_PAGES: Final = 10
MAX_KEPT: Final = 300
MAX_KEPT_BYTES: Final = 200_000

_OK: Final = 200
_NOT_MODIFIED: Final = 304
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

T = TypeVar("T")


class Patience(msgspec.Struct, frozen=True):
    """For how many seconds a connection, the next piece of an answer, and a whole answer are waited for."""

    connect_s: float = 5.0
    read_s: float = 20.0
    whole_s: float = 60.0


class Heard(msgspec.Struct, frozen=True):
    """An answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Kept:
    """Answers that came with an ETag, by address and token: asked again, a forge says only that nothing changed."""

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[str, Secret], Heard] = OrderedDict()

    def of(self, url: str, token: Secret) -> Heard | None:
        """The last answer, if it is still here."""
        return self._answers.get((url, token))

    def keep(self, url: str, token: Secret, heard: Heard) -> None:
        """Remember it, at the cost of the one that was kept longest."""
        if "etag" in heard.headers and len(heard.body) <= MAX_KEPT_BYTES:
            self._answers.pop((url, token), None)
            self._answers[url, token] = heard
            if len(self._answers) > MAX_KEPT:
                self._answers.popitem(last=False)


def new_http(patience: Patience) -> httpx.AsyncClient:
    """What all calls go through; the environment tells it of a proxy and a CA file, as it does every program."""
    http = httpx.AsyncClient(
        timeout=httpx.Timeout(patience.read_s, connect=patience.connect_s),
        follow_redirects=False,
        headers={"user-agent": "deksdenflow"},
    )
    http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return http


class Api:
    """The API of one forge, for one token: `base` is its address, `header` the header that the token goes into."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        kept: Kept,
        *,
        place: Place,
        base: str,
        token: Secret,
        header: tuple[str, str],
        headers: Mapping[str, str],
        whole_s: float,
    ) -> None:
        self.place = place
        self._http, self._kept, self._base = http, kept, base
        self._token, self._header, self._headers = token, header, headers
        self._whole_s = whole_s

    async def get(self, path: str, wish: Wish, shape: type[T], **query: str | int) -> T:
        """What is there, in this shape."""
        return self._decoded(await self._get(self._url(path, query), wish), wish, shape)

    async def pages(self, path: str, wish: Wish, shape: type[T], **query: str | int) -> tuple[list[T], bool]:
        """What is on each page, and whether these were all: no more than `MAX_PAGES` are read."""
        found: list[T] = []
        for number in range(1, MAX_PAGES + 1):
            heard = await self._get(self._url(path, {**query, "per_page": PAGE, "page": number}), wish)
            found.append(self._decoded(heard, wish, shape))
            if 'rel="next"' not in heard.headers.get("link", ""):
                return found, True
        return found, False

    async def all_pages(self, path: str, wish: Wish, shape: type[T], **query: str | int) -> list[T]:
        """Every page; a part of them would be no evidence, so too many are an error."""
        found, complete = await self.pages(path, wish, shape, **query)
        if not complete:
            message = f"{self.place} has more than {MAX_PAGES * PAGE} entries for us to {wish.what}, which is too much."
            raise JobError(Category.BAD_REQUEST, message)
        return found

    async def send(self, method: str, path: str, wish: Wish, body: Mapping[str, Any]) -> Heard:
        """Change something; the answer may be any but those of a token, a limit or a server that fails."""
        url = path if path.startswith("https://") else self._url(path, {})
        heard = await self._ask(method, url, wish, body=msgspec.json.encode(body))
        if heard.status in _REDIRECTS:
            raise moved(self.place, wish, heard.status, heard.headers.get("location", ""))
        return heard

    async def change(self, method: str, path: str, wish: Wish, body: Mapping[str, Any], shape: type[T]) -> T:
        """Change something, where every answer but a success is an error."""
        heard = await self.send(method, path, wish, body)
        if not is_success(heard):
            raise self.refused(heard, wish)
        return self._decoded(heard, wish, shape)

    async def log_tail(self, path: str, wish: Wish) -> str:
        """The last whole lines of a log, wherever the forge keeps it; "" where there is none any more."""
        url, own = self._url(path, {}), True
        for _ in range(MAX_HOPS):
            headers = self._opened() if own else {}
            async with self._asked("GET", url, wish, headers=headers) as response:
                if response.status_code in {404, 410}:
                    return ""
                if response.status_code not in _REDIRECTS:
                    return await self._tail(response, wish, own=own)
                where = urljoin(url, response.headers.get("location", ""))
            if not where.startswith("https://"):
                raise moved(self.place, wish, response.status_code, where)
            url, own = where, False
        raise moved(self.place, wish, 302, url)

    def refused(self, heard: Heard, wish: Wish) -> JobError:
        """The error that this answer is."""
        return refusal(self.place, wish, heard.status, heard.headers, heard.body)

    def not_understood(self, wish: Wish) -> JobError:
        """The error for an answer that has not the shape it must have."""
        return JobError(Category.UPSTREAM, f"{self.place} was asked to {wish.what}, and its answer is not understood.")

    def decoded(self, heard: Heard, wish: Wish, shape: type[T]) -> T:
        """The answer in this shape."""
        return self._decoded(heard, wish, shape)

    def _url(self, path: str, query: Mapping[str, str | int]) -> str:
        return f"{self._base}{path}" + (f"?{urlencode(query)}" if query else "")

    def _opened(self) -> dict[str, str]:
        name, before = self._header
        return {**self._headers, name: before + self._token.reveal()}

    async def _get(self, url: str, wish: Wish) -> Heard:
        """A success, after no more than a few redirects within the same origin: a renamed repository has one."""
        for _ in range(MAX_HOPS):
            heard = await self._ask("GET", url, wish)
            if heard.status not in _REDIRECTS:
                if is_success(heard):
                    return heard
                raise self.refused(heard, wish)
            where = urljoin(url, heard.headers.get("location", ""))
            if _origin(where) != _origin(self._base):
                raise moved(self.place, wish, heard.status, where)
            url = where
        raise moved(self.place, wish, 302, url)

    async def _ask(self, method: str, url: str, wish: Wish, *, body: bytes | None = None) -> Heard:
        known = self._kept.of(url, self._token) if method == "GET" else None
        headers = self._opened()
        if body is not None:
            headers["content-type"] = "application/json"
        if known is not None:
            headers["if-none-match"] = known.headers["etag"]
        async with self._asked(method, url, wish, headers=headers, body=body) as response:
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_BODY_BYTES:
                    message = f"{self.place} was asked to {wish.what}, and answers more than {MAX_BODY_BYTES} bytes."
                    raise JobError(Category.UPSTREAM, message)
            heard = Heard(response.status_code, _lowered(response.headers), bytes(content))
        if heard.status == _NOT_MODIFIED and known is not None:
            return known
        if method == "GET" and heard.status == _OK:
            self._kept.keep(url, self._token, heard)
        return heard

    @contextlib.asynccontextmanager
    async def _asked(
        self, method: str, url: str, wish: Wish, *, headers: Mapping[str, str], body: bytes | None = None
    ) -> AsyncGenerator[httpx.Response]:
        """One request, and the reading of its answer; what goes wrong on the way is a JobError."""
        try:
            async with (
                asyncio.timeout(self._whole_s),
                self._http.stream(method, url, headers=dict(headers), content=body) as response,
            ):
                yield response
        except (httpx.TimeoutException, TimeoutError) as error:
            raise JobError(Category.NETWORK, f"{self.place} did not {wish.what} in time.") from error
        except httpx.DecodingError as error:
            raise self.not_understood(wish) from error
        except (httpx.RequestError, httpx.InvalidURL) as error:
            why = str(error) or type(error).__name__
            raise JobError(Category.NETWORK, f"{self.place} cannot be reached to {wish.what}: {why}.") from error

    async def _tail(self, response: httpx.Response, wish: Wish, *, own: bool) -> str:
        if not response.is_success:
            if own:
                body = (await response.aread())[:MAX_BODY_BYTES]
                raise refusal(self.place, wish, response.status_code, _lowered(response.headers), body)
            message = f"{self.place} keeps its logs elsewhere, which answered {response.status_code}."
            raise JobError(Category.UPSTREAM, message)
        tail, read = bytearray(), 0
        async for chunk in response.aiter_bytes():
            read += len(chunk)
            tail = (tail + chunk)[-TAIL_BYTES - 1 :]
            if read > MAX_LOG_BYTES:
                break
        if len(tail) > TAIL_BYTES:  # a line, or a secret in it, that was cut in two would not be recognised
            tail = tail[tail.find(b"\n") + 1 :] if b"\n" in tail else bytearray()
        return tail.decode("utf-8", "replace")

    def _decoded(self, heard: Heard, wish: Wish, shape: type[T]) -> T:
        try:
            return msgspec.json.decode(heard.body, type=shape)
        except UNREADABLE as error:
            raise self.not_understood(wish) from error


def is_success(heard: Heard) -> bool:
    """Whether it was done."""
    return httpx.codes.is_success(heard.status)


def holds(text: str, marker: str) -> bool:
    """Whether a line of the text is the marker: in a quotation it is not."""
    return any(line.strip() == marker for line in text.splitlines())


def marked(text: str, marker: str) -> str:
    """The text, with the marker as its first line unless it has it."""
    return text if holds(text, marker) else f"{marker}\n{text}"


def first(items: list[T], fits: Callable[[T], bool]) -> T | None:
    """The first that fits."""
    return next((item for item in items if fits(item)), None)


def _lowered(headers: httpx.Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """The port is 443 where none is told, as no other scheme than https is spoken."""
    try:
        parts = urlsplit(url)
        port = parts.port or 443
    except ValueError:
        return "", None, None
    return parts.scheme, parts.hostname, port
