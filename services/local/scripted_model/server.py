"""The scripted model server: accepts connections, asks the player, keeps what it heard."""

import asyncio
from collections.abc import Callable
from itertools import count
from types import TracebackType
from typing import Self

import h11
import msgspec
from msgspec import Struct

from services.local.scripted_model.asked import Asked, Mark, read_request
from services.local.scripted_model.player import Player, Unscripted
from services.local.scripted_model.reply import Reply, refusal, reply_to
from services.local.scripted_model.script import Script
from services.local.scripted_model.wire import Wire

_PATH = "/v1/responses"


class Heard(Struct, frozen=True):
    """One request as it came, and in `told` what was done with it; `place` when it was a turn of the script.

    Header names are in lower case. `asked` is None when it was no request of the Responses API.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    told: str
    asked: Asked | None = None
    place: Mark | None = None


class ScriptedModel:
    """The server as an async context manager: `async with ScriptedModel(script) as model: model.base_url`.

    `requests` grows by one per request, oldest first. `log` gets one line per request.
    """

    def __init__(
        self, script: Script, *, host: str = "127.0.0.1", port: int = 0, log: Callable[[str], None] | None = None
    ) -> None:
        self.requests: list[Heard] = []
        self._player = Player(script)
        self._host, self._port, self._log = host, port, log
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._numbers = count(1)

    @property
    def base_url(self) -> str:
        """What goes into Codex's `base_url`."""
        if self._server is None:
            raise RuntimeError("the server is not running")
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self._host, self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is None:
            return
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._converse(Wire(reader, writer)))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _converse(self, wire: Wire) -> None:
        """Serves one connection until either side is done with it."""
        try:
            while (received := await wire.receive()) is not None:
                await wire.send(self._reply(*received))
        except (ConnectionError, h11.RemoteProtocolError) as error:
            self._say(f"a client left, or spoke no HTTP: {error}")
        finally:
            wire.drop()

    def _reply(self, head: h11.Request, body: bytes) -> Reply:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        method, path = head.method.decode(), head.target.decode("latin-1").partition("?")[0]
        heard = Heard(method, path, headers, body, "")
        if (method, path) != ("POST", _PATH):
            told = f"this scripted model server answers POST {_PATH} and nothing else, not {method} {path}"
            return self._note(heard, told, refusal(404, told, "not_found"))
        try:
            asked = read_request(headers, body)
        except msgspec.DecodeError as error:
            told = f"not a request of the Responses API: {error}"
            return self._note(heard, told, refusal(400, told, "unreadable"))
        heard = msgspec.structs.replace(heard, asked=asked)
        try:
            play = self._player.next(asked)
        except Unscripted as error:
            return self._note(heard, str(error), refusal(400, str(error), "unscripted"))
        heard = msgspec.structs.replace(heard, place=play.place)
        return self._note(heard, play.told, reply_to(play, f"resp_{next(self._numbers)}"))

    def _note(self, heard: Heard, told: str, reply: Reply) -> Reply:
        self.requests.append(msgspec.structs.replace(heard, told=told))
        asked = f" {heard.asked.model} {heard.asked.thread}" if heard.asked else ""
        self._say(f"{heard.method} {heard.path}{asked}: {told}")
        return reply

    def _say(self, line: str) -> None:
        if self._log is not None:
            self._log(line)
