"""How the other services are, as the API finds out: by real answers of what listens where they should be."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from services.api.neighbours import MAX_BYTES, neighbours
from shared.secret import Secret
from shared.settings import Settings

READY = b'{"status":"ready","checks":{"database":{"ok":true}}}'
STRANGE = [b'{"status":"\xff","checks":{}}', b'{"x":' * 5000, b"<html>", b"[]", READY + b" " * MAX_BYTES, b""]


@asynccontextmanager
async def saying(status: bytes, body: bytes) -> AsyncGenerator[int]:
    """What gives one answer to everybody; gives its port."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %s\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body))
        writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def worker_at(port: int) -> tuple[str, str]:
    """What is known of a worker that should listen there, and what is noted about that."""
    settings = Settings(redis_url=Secret("redis://nowhere.invalid"), worker_port=port, webhook_port=0)
    webhooks, worker = await neighbours(settings)
    assert (webhooks.state, webhooks.asked) == ("unknown", None)
    assert worker.asked == f"http://127.0.0.1:{port}/health/ready"
    return worker.state, worker.note


@pytest.mark.parametrize(("status", "state"), [(b"200 OK", "ready"), (b"503 Service Unavailable", "unready")])
async def test_a_service_that_answers_is_as_it_says(status: bytes, state: str) -> None:
    async with saying(status, READY.replace(b"ready", state.encode())) as port:
        assert await worker_at(port) == (state, "")


@pytest.mark.parametrize("body", STRANGE, ids=["bytes", "deep", "html", "list", "long", "nothing"])
async def test_what_is_none_of_ours_is_not_known(body: bytes) -> None:
    async with saying(b"200 OK", body) as port:
        state, note = await worker_at(port)
        assert (state, "Nothing of ours" in note) == ("unknown", True)


async def test_where_nothing_listens_nothing_is_known(free_port: int) -> None:
    assert (await worker_at(free_port))[0] == "unknown"
