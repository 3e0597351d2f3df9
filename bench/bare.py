"""The least that could serve the same row: a Litestar route for a read, for a write, for a delivery, on aiosqlite."""

import asyncio
import hashlib
import hmac
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiosqlite
import msgspec
import uvicorn
from litestar import Litestar, Request, get, post
from litestar.datastructures import State
from litestar.exceptions import PermissionDeniedException

SECRET = b"bench-webhook-token-0123456789abcdef"


class Project(msgspec.Struct):
    """The columns that the real route shows."""

    id: int
    name: str
    git_url: str
    base_branch: str
    version: int
    created_at: int


class NewRun(msgspec.Struct):
    """What the real route is given."""

    description: str


@get("/projects/{project_id:int}")
async def read(project_id: int, state: State) -> Project:
    """One row by its key."""
    cursor = await state.db.execute(
        "SELECT id, name, git_url, base_branch, version, created_at FROM projects WHERE id = ?", (project_id,)
    )
    row = await cursor.fetchone()
    await cursor.close()
    return Project(*row)


@post("/runs")
async def write(data: NewRun, state: State) -> NewRun:
    """One row and one line of a log, in one transaction."""
    async with state.lock:
        await state.db.execute("BEGIN IMMEDIATE")
        await state.db.execute("INSERT INTO bare_runs (description) VALUES (?)", (data.description,))
        await state.db.execute("INSERT INTO bare_events (text) VALUES ('opened')")
        await state.db.execute("COMMIT")
    return data


@post("/deliveries", status_code=201)
async def deliver(request: Request[Any, Any, Any], state: State) -> None:
    """A delivery as it came, once its signature is found to be right."""
    body = await request.body()
    digest = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(f"sha256={digest}", request.headers["x-hub-signature-256"]):
        raise PermissionDeniedException
    async with state.lock:
        await state.db.execute("BEGIN IMMEDIATE")
        await state.db.execute(
            "INSERT INTO bare_deliveries (key, event, body) VALUES (?, ?, ?)",
            (request.headers["x-github-delivery"], request.headers["x-github-event"], body),
        )
        await state.db.execute("COMMIT")


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncGenerator[None]:
    """Open the same file with the same durability."""
    async with aiosqlite.connect(os.environ["BENCH_DB"], isolation_level=None) as db:
        for statement in (
            "PRAGMA journal_mode=WAL",
            "PRAGMA synchronous=FULL",
            "PRAGMA busy_timeout=30000",
            "CREATE TABLE IF NOT EXISTS bare_runs (id INTEGER PRIMARY KEY, description TEXT)",
            "CREATE TABLE IF NOT EXISTS bare_events (id INTEGER PRIMARY KEY, text TEXT)",
            "CREATE TABLE IF NOT EXISTS bare_deliveries (id INTEGER PRIMARY KEY, key TEXT UNIQUE, event TEXT, body)",
        ):
            await db.execute(statement)
        app.state.db = db
        app.state.lock = asyncio.Lock()
        yield


app = Litestar([read, write, deliver], lifespan=[lifespan], logging_config=None, openapi_config=None)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False)
