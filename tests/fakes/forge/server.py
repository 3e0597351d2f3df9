"""The fake forge as a whole: its repositories, what it was asked, its faults, and the post that carries deliveries."""

import asyncio
import base64
import os
import re
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec

from tests.fakes.deliveries import Sent
from tests.fakes.forge import github, gitlab
from tests.fakes.forge.repository import Repository
from tests.fakes.forge.wire import Answer, Asked, Server, as_json

GIT = re.compile(r"/(?P<name>.+?)\.git(?P<rest>/(info/refs|git-upload-pack|git-receive-pack))")

# Where GitHub keeps the logs of its jobs: another host, which must never see a token.
BLOBS = "blobs.elsewhere.test"

PATIENCE_S = 20.0


class Fault(msgspec.Struct):
    """The next `times` requests that match get this answer instead of theirs."""

    path: re.Pattern[str]
    answer: Answer | Callable[[Asked], Answer]
    method: str | None
    times: int
    after: bool  # what was asked is done all the same, only its answer is lost


class Hook(msgspec.Struct):
    """Where a repository's deliveries go, and the secret that signs them."""

    url: str
    secret: str


class Post:
    """Carries deliveries to the hooks, each in turn; `losing`, `twice` and `held` say how well it does that."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []  # all that the forge said, delivered or not
        self.answers: list[tuple[Sent, int]] = []
        self.held: list[tuple[Hook, Sent]] | None = None
        self.losing = False
        self.twice = False
        self._waiting: asyncio.Queue[tuple[Hook, Sent]] = asyncio.Queue()

    def take(self, hook: Hook | None, sent: Sent) -> None:
        self.sent.append(sent)
        if hook is None or self.losing:
            return
        for _ in range(2 if self.twice else 1):
            if self.held is not None:
                self.held.append((hook, sent))
            else:
                self._waiting.put_nowait((hook, sent))

    def hold(self) -> None:
        """Keep deliveries back until `release`."""
        self.held = []

    def release(self, order: Callable[[list[Any]], list[Any]] = list) -> None:
        """Let go what was held, in an order of one's own."""
        held, self.held = self.held or [], None
        for each in order(held):
            self._waiting.put_nowait(each)

    async def delivered(self) -> None:
        """Returns when nothing is on its way any more; what is held does not count."""
        async with asyncio.timeout(PATIENCE_S):
            await self._waiting.join()

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
            while True:
                hook, sent = await self._waiting.get()
                try:
                    answer = await client.post(hook.url, content=sent.body, headers=sent.headers(hook.secret))
                    self.answers.append((sent, answer.status_code))
                except httpx.HTTPError:
                    self.answers.append((sent, 0))
                finally:
                    self._waiting.task_done()


class FakeForge:
    """Runs as an async context manager; `asked` is every request of any host, oldest first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = Server(folder / "tls", self._answer)
        self._repositories: dict[tuple[str, str], Repository] = {}
        self._faults: list[Fault] = []
        self._posting: asyncio.Task[None] | None = None
        self._numbers = count(4001)
        self._hooks: dict[int, Hook] = {}
        self.asked: list[Asked] = []
        self.post = Post()
        self.logs: dict[str, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which git and httpx come here, whatever host they ask for."""
        return self._server.environment

    def repository(
        self, provider: str, host: str, full_name: str, *, token: str, first: Path | None = None
    ) -> Repository:
        """A new one with a first commit on `main`, or a copy of the `Origin` in the folder `first`.

        `token` opens it for git and for the API.
        """
        number = next(self._numbers)

        def tell(sent: Sent) -> None:
            self.post.take(self._hooks.get(number), sent)

        folder = self._folder / str(number)
        repository = Repository(
            folder, provider, host=host, full_name=full_name, number=number, token=token, tell=tell, first=first
        )
        self._repositories[host, full_name.lower()] = repository
        return repository

    def rename(self, repository: Repository, full_name: str) -> None:
        """The old name is answered by a redirect to the new one."""
        self._repositories[repository.host, full_name.lower()] = repository
        repository.full_name = full_name

    def hook(self, repository: Repository, url: str, secret: str) -> None:
        """From now on everything that happens is delivered there."""
        self._hooks[repository.id] = Hook(url, secret)

    def fault(
        self,
        path: str,
        answer: Answer | Callable[[Asked], Answer],
        *,
        method: str | None = None,
        times: int = 1,
        after: bool = False,
    ) -> None:
        """The next `times` requests whose host and path match this pattern get this answer, CUT or HANG.

        With `after` what was asked is done all the same, and only the answer is another one.
        """
        self._faults.append(Fault(re.compile(path), answer, method, times, after))

    def refuse(self, *, everybody: bool = True) -> None:
        """No connection is accepted any more, or all are again."""
        self._server.refusing = everybody

    def calls(self, method: str, path: str = "") -> list[Asked]:
        """The requests of a method whose host and path match this pattern."""
        return [one for one in self.asked if one.method == method and re.search(path, one.host + one.path)]

    def hosts_that_saw(self, token: str) -> set[str]:
        """Every host that was sent this text in any place of a request, Basic authentication included."""
        return {one.host for one in self.asked if any(token in text for text in _texts(one))}

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        self._posting = asyncio.create_task(self.post.run(), name="the fake forge's post")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._posting is not None
        self._posting.cancel()
        await asyncio.gather(self._posting, return_exceptions=True)
        await self._server.__aexit__(kind, error, trace)

    async def _answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        for fault in self._faults:
            if fault.times > 0 and fault.method in {None, asked.method} and fault.path.search(asked.host + asked.path):
                fault.times -= 1
                if fault.after:
                    await self._handled(asked)
                return fault.answer if isinstance(fault.answer, Answer) else fault.answer(asked)
        return await self._handled(asked)

    async def _handled(self, asked: Asked) -> Answer:
        if asked.host == BLOBS:
            log = self.logs.get(asked.path)
            return Answer(404) if log is None else Answer(200, log.encode(), {"content-type": "text/plain"})
        if found := GIT.fullmatch(asked.path):
            return await self._git(asked, found["name"], found["rest"])
        answer = None
        if asked.host == "api.github.com":
            answer = github.answer(self, "github.com", asked.path, asked)
        elif asked.path == "/api/graphql":
            answer = github.answer(self, asked.host, "/graphql", asked)
        elif asked.path.startswith("/api/v3/"):
            answer = github.answer(self, asked.host, asked.path.removeprefix("/api/v3"), asked)
        elif asked.path.startswith("/api/v4/"):
            answer = gitlab.answer(self, asked.host, asked.path.removeprefix("/api/v4"), asked)
        return with_date(answer or as_json({"message": "Not Found"}, 404))

    def find(self, provider: str, host: str, full_name: str) -> Repository | None:
        found = self._repositories.get((host, full_name.lower()))
        return found if found is not None and found.provider == provider else None

    def on(self, provider: str, host: str) -> Iterator[Repository]:
        """All repositories of a host."""
        for (where, _), repository in self._repositories.items():
            if where == host and repository.provider == provider:
                yield repository

    async def _git(self, asked: Asked, name: str, rest: str) -> Answer:
        repository = self._repositories.get((asked.host, name.lower()))
        login = _basic(asked.headers.get("authorization", ""))
        if repository is None or not login.endswith(f":{repository.token}"):
            return Answer(401, b"", {"www-authenticate": 'Basic realm="forge"'})
        process = await asyncio.create_subprocess_exec(
            "git",
            "http-backend",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(repository.origin.bare.parent),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": asked.headers.get("git-protocol", ""),
                "REQUEST_METHOD": asked.method,
                "PATH_INFO": f"/{repository.origin.bare.name}{rest}",
                "QUERY_STRING": str(httpx.QueryParams(asked.query)),
                "CONTENT_TYPE": asked.headers.get("content-type", ""),
                "CONTENT_LENGTH": str(len(asked.body)),
                "HTTP_CONTENT_ENCODING": asked.headers.get("content-encoding", ""),
                "REMOTE_USER": "somebody",
                "REMOTE_ADDR": "127.0.0.1",
            },
        )
        head, _, content = (await process.communicate(asked.body))[0].partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        if rest == "/git-receive-pack":
            repository.look_for_pushes()
        return Answer(int(headers.pop("Status", "200").split()[0]), content, headers)


def with_date(answer: Answer) -> Answer:
    """As every server says; a client takes the times of rate limits from it."""
    now = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    return Answer(answer.status, answer.body, {"date": now, **answer.headers})


def _basic(header: str) -> str:
    kind, _, given = header.partition(" ")
    return base64.b64decode(given).decode() if kind == "Basic" else ""


def _texts(asked: Asked) -> Iterator[str]:
    yield asked.path
    yield from asked.query.values()
    yield from asked.headers.values()
    yield _basic(asked.headers.get("authorization", ""))
    yield asked.body.decode("utf-8", "replace")
