"""The server: a free port, requests that may finish, and an end when it is asked for."""

import asyncio
import signal
import subprocess
import sys

import httpx
import pytest
from litestar import Litestar, get

from shared.errors import StartupError
from shared.web.server import serve


class Server:
    """A served app that is stopped by its test."""

    def __init__(self, app: Litestar, *, port: int = 0, grace_s: float = 5) -> None:
        self.stop = asyncio.Event()
        self.url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(
            serve(
                app,
                name="test",
                host="127.0.0.1",
                port=port,
                grace_s=grace_s,
                stop=self.stop,
                bound=self.url.set_result,
            )
        )

    async def end(self) -> None:
        self.stop.set()
        async with asyncio.timeout(20):
            await self.task


def app_with(*handlers: object) -> Litestar:
    return Litestar(list(handlers), logging_config=None, openapi_config=None)  # pyright: ignore[reportArgumentType]


@get("/")
async def root() -> str:
    return "here"


async def test_port_zero_takes_a_free_one_and_tells_it() -> None:
    server = Server(app_with(root))
    async with httpx.AsyncClient() as client:
        answer = await client.get(await server.url)
    assert answer.text == "here"
    assert "server" not in answer.headers
    await server.end()


async def test_a_taken_port_is_said_in_one_line() -> None:
    server = Server(app_with(root))
    port = int((await server.url).rpartition(":")[2])
    with pytest.raises(StartupError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use"):
        await Server(app_with(root), port=port).task
    await server.end()


async def test_a_request_under_way_may_finish() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    @get("/slow")
    async def slow() -> str:
        begun.set()
        await go_on.wait()
        return "done"

    server = Server(app_with(slow))
    async with httpx.AsyncClient() as client:
        asked = asyncio.create_task(client.get(f"{await server.url}/slow"))
        await begun.wait()
        server.stop.set()
        go_on.set()
        assert (await asked).text == "done"
    await server.end()


async def test_a_request_that_does_not_finish_is_cut_after_the_grace() -> None:
    begun = asyncio.Event()

    @get("/endless")
    async def endless() -> str:
        begun.set()
        await asyncio.sleep(3600)
        return "never"

    server = Server(app_with(endless), grace_s=1)
    async with httpx.AsyncClient(timeout=60) as client:
        asked = asyncio.create_task(client.get(f"{await server.url}/endless"))
        await begun.wait()
        await server.end()
        answer = await asyncio.gather(asked, return_exceptions=True)
    assert isinstance(answer[0], httpx.HTTPError) or answer[0].status_code == 500  # pyright: ignore[reportAttributeAccessIssue]


async def test_a_cancelled_server_closes_its_port() -> None:
    server = Server(app_with(root))
    url = await server.url
    server.task.cancel()
    await asyncio.gather(server.task, return_exceptions=True)
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


IMPATIENT = """
import asyncio
from shared.web.server import stop_on_signals

async def main():
    stop = stop_on_signals()
    print("up", flush=True)
    await stop.wait()
    print("asked", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_a_second_signal_ends_the_process_at_once_and_without_a_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", IMPATIENT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGINT)
        while process.stdout.readline() != "asked\n":
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in said
