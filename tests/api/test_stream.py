"""Event streams over real HTTP: nothing lost, nothing twice, and open streams keep nobody from stopping."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.api.feed import Feed, Gap, Measure, Wanted
from shared.errors import Category
from shared.queue import Queue
from shared.repository import meta
from shared.schemas.reports import Failed, Usage
from shared.schemas.statuses import JobKind
from shared.web.server import serve
from shared.workflow import line as line_verbs
from shared.workflow.door import Workflow
from shared.workflow.jobs import note_attempt, release
from tests.api.house import ADMIN, WORKER, House, open_house

SOON_S = 10.0


class Server:
    """A house whose API listens, and a second process's hand on the same database and Redis."""

    def __init__(self, house: House, url: str, elsewhere: Workflow, stop: asyncio.Event) -> None:
        self.house, self.url, self.elsewhere, self.stop = house, url, elsewhere, stop
        self.client = httpx.AsyncClient(base_url=url, headers=ADMIN, timeout=SOON_S)


@asynccontextmanager
async def open_server(folder: Path, redis: str) -> AsyncIterator[Server]:
    """Served until the body ends or sets `stop`."""
    async with open_house(folder, redis=redis, streams=True) as house:
        stop, url = asyncio.Event(), asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(
            serve(house.app, name="api", host="127.0.0.1", port=0, grace_s=5, stop=stop, bound=url.set_result)
        )
        queue = Queue.from_url(redis, await house.database.read(meta.instance))
        server = Server(house, await url, Workflow(house.database, queue, house.flow.rules), stop)
        try:
            yield server
        finally:
            stop.set()
            await serving
            await server.client.aclose()
            await queue.close()


@pytest.fixture
async def server(tmp_path: Path, redis_url: str) -> AsyncIterator[Server]:
    async with open_server(tmp_path, redis_url) as running:
        yield running


@asynccontextmanager
async def stream(
    server: Server, path: str = "/events/stream", **headers: str
) -> AsyncIterator[AsyncGenerator[dict[str, Any]]]:
    """The messages of a stream, each with id, event and data."""
    async with server.client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        frames = _frames(answer)
        try:
            yield frames
        finally:
            await frames.aclose()


async def _frames(answer: httpx.Response) -> AsyncGenerator[dict[str, Any]]:
    frame: dict[str, Any] = {}
    async for line in answer.aiter_lines():
        if not line and "data" in frame:
            yield {"id": int(frame["id"]), "event": frame.get("event", ""), "data": json.loads(frame["data"])}
        if not line:
            frame = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            frame[name] = value


async def take(frames: AsyncGenerator[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(SOON_S):
        return [await anext(frames) for _ in range(count)]


async def listening(server: Server, readers: int = 1) -> None:
    """Until so many streams are open, so that what happens next is news to them."""
    async with asyncio.timeout(SOON_S):
        while server.house.app.state.feed.readers != readers:
            await asyncio.sleep(0.01)


async def test_what_happens_comes_at_once_whichever_process_does_it(server: Server) -> None:
    async with stream(server) as frames:
        await listening(server)
        began = time.monotonic()
        await server.house.project()
        (first, *_) = await take(frames, 2)
        assert first["data"]["event_type"] == "project_registered"
        await server.elsewhere.run(WORKER, _shout)
        (told,) = await take(frames, 1)
        assert (told["data"]["event_type"], told["data"]["actor"]) == ("line_stopped", "worker")
        assert told["id"] == told["data"]["id"]
        assert time.monotonic() - began < 1.5  # well below the poll of two seconds: Redis told us


async def test_a_stream_that_was_cut_goes_on_without_loss_or_repetition(server: Server) -> None:
    await server.house.project()
    async with stream(server, "/events/stream?after=0") as frames:
        before = await take(frames, 2)
    await server.house.project("lib")
    async with stream(server, **{"last-event-id": str(before[-1]["id"])}) as frames:
        after = await take(frames, 2)
    numbers = [each["id"] for each in before + after]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_it_goes_on_over_a_restart_of_the_api(tmp_path: Path, redis_url: str) -> None:
    async with open_server(tmp_path, redis_url) as server:
        await server.house.project()
        async with stream(server, "/events/stream?after=0") as frames:
            (last, *_) = await take(frames, 1)
    async with open_server(tmp_path, redis_url) as server:
        await server.house.project("lib")
        async with stream(server, **{"last-event-id": str(last["id"])}) as frames:
            assert [each["id"] for each in await take(frames, 3)] == [2, 3, 4]


async def test_what_is_older_than_the_memory_is_read_from_the_table(server: Server) -> None:
    server.house.app.state.feed.measure = Measure(kept=3, page=4)
    async with stream(server) as live:
        await listening(server)
        for number in range(8):
            await server.house.project(f"p{number}")
        assert [each["id"] for each in await take(live, 16)] == list(range(1, 17))
        async with stream(server, "/events/stream?after=2") as late:
            assert [each["id"] for each in await take(late, 14)] == list(range(3, 17))


async def test_a_reader_whose_place_was_pruned_is_told_of_the_gap(server: Server) -> None:
    for number in range(3):
        await server.house.project(f"p{number}")
    await server.house.database.write(lambda tx: tx.run("DELETE FROM events WHERE id <= 4"))
    async with stream(server, **{"last-event-id": "1"}) as frames:
        gap, following = await take(frames, 2)
    assert (gap["event"], gap["data"]) == ("gap", {"asked": 1, "first": 5})
    assert following["id"] == 5


async def test_a_reader_that_is_ahead_of_the_table_is_told_so(server: Server) -> None:
    await server.house.project()
    async with stream(server, **{"last-event-id": "900"}) as frames:
        (gap,) = await take(frames, 1)
        assert gap["event"] == "gap"
        await server.house.project("lib")
        (news,) = await take(frames, 1)
        assert news["id"] == gap["data"]["first"]


async def test_a_stream_is_narrowed_by_project_protocol_step_and_type(server: Server) -> None:
    shop, lib = await server.house.project(), await server.house.project("lib")
    protocol_id, step_id = await server.house.executed(shop)
    await server.house.protocol(lib)
    for query, wanted in (
        (f"project_id={lib}", {"project_id": lib}),
        (f"protocol_run_id={protocol_id}", {"protocol_run_id": protocol_id}),
        (f"step_run_id={step_id}", {"step_run_id": step_id}),
        ("event_type=planned", {"event_type": "planned"}),
        ("event_type=planned&event_type=step_started", {}),
    ):
        every = (await server.client.get("/events?limit=500")).json()
        right = [each["id"] for each in reversed(every) if wanted.items() <= each.items()]
        if not wanted:
            right = [each["id"] for each in reversed(every) if each["event_type"] in {"planned", "step_started"}]
        async with stream(server, f"/events/stream?after=0&{query}") as frames:
            assert right
            assert [each["id"] for each in await take(frames, len(right))] == right


async def test_a_project_token_follows_its_own_project_alone(server: Server) -> None:
    shop, lib = await server.house.project(), await server.house.project("lib")
    token = await server.house.project_token(shop)
    server.client.headers.pop("authorization")
    foreign = await server.client.get(f"/events/stream?project_id={lib}", headers={"x-project-token": token})
    assert foreign.status_code == 404
    async with stream(server, "/events/stream?after=0", **{"x-project-token": token}) as frames:
        assert {each["data"]["project_id"] for each in await take(frames, 3)} == {shop}


async def test_a_revoked_token_ends_its_stream(server: Server) -> None:
    server.house.app.state.feed.measure = Measure(pause_s=0.05)
    shop = await server.house.project()
    token = await server.house.project_token(shop)
    async with server.client.stream("GET", "/events/stream", headers={"x-project-token": token}) as answer:
        await listening(server)
        await server.client.delete(f"/projects/{shop}/tokens/1")
        async with asyncio.timeout(SOON_S):
            assert [line async for line in answer.aiter_lines()]  # it ends, though nobody here ended it


@pytest.mark.parametrize("given", ["x", "-1", "1e3", "٣", "99999999999999999999", "9" * 5000])
async def test_a_last_event_id_that_is_none_of_ours_is_refused(server: Server, given: str) -> None:
    answer = await server.client.get("/events/stream", headers={"last-event-id": given.encode()})
    assert answer.status_code == 400
    assert "Last-Event-ID" in answer.json()["detail"]


async def test_two_hundred_streams_hear_everything_and_hold_up_no_shutdown(server: Server) -> None:
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        limits = httpx.Limits(max_connections=300)
        async with httpx.AsyncClient(base_url=server.url, headers=ADMIN, timeout=30, limits=limits) as many:
            heard = [group.create_task(_numbers(many, 10)) for _ in range(200)]
            await listening(server, 200)
            for number in range(5):
                await server.house.project(f"p{number}")
            assert (await server.client.get("/health")).status_code == 200
            assert {tuple(await each) for each in heard} == {tuple(range(1, 11))}
            await listening(server, 0)
            open_ones = [group.create_task(_numbers(many, 1000)) for _ in range(50)]
            await listening(server, 50)
            began = time.monotonic()
            server.stop.set()
            for each in open_ones:
                assert await each == []
            assert time.monotonic() - began < 4  # the grace is five


async def test_more_streams_than_the_service_can_bear_are_refused(server: Server) -> None:
    server.house.app.state.feed.measure = Measure(readers=1)
    async with stream(server):
        await listening(server)
        answer = await server.client.get("/events/stream")
        assert answer.status_code == 503
        assert "1 streams are open already" in answer.json()["detail"]


async def test_transcripts_are_streams_too(server: Server) -> None:
    server.house.app.state.feed.measure = Measure(readers=1)
    await server.house.planned(await server.house.project())
    await server.client.post("/protocols/1/actions/run_next_step")
    await server.house.claim(JobKind.EXECUTE)
    async with server.client.stream("GET", "/attempts/2/stream") as open_one:
        lines = open_one.aiter_lines()
        assert "retry" in await anext(lines)
        for other in ("/attempts/1/stream", "/events/stream"):
            assert (await server.client.get(other)).status_code == 503


async def test_without_redis_the_table_is_polled(tmp_path: Path) -> None:
    async with open_server(tmp_path, "redis://127.0.0.1:1/0") as server, stream(server) as frames:
        await listening(server)
        await server.house.project()
        assert [each["id"] for each in await take(frames, 2)] == [1, 2]


async def test_an_agents_work_is_shown_as_it_comes(server: Server) -> None:
    project = await server.house.project()
    await server.house.planned(project)
    await server.client.post("/protocols/1/actions/run_next_step")
    folder = server.house.settings.workspaces_dir / "attempts" / "2"
    folder.mkdir(parents=True)
    claim = await server.house.claim(JobKind.EXECUTE)
    job = (claim.job.id, claim.job.token)
    await server.house.flow.run(WORKER, note_attempt, *job, Usage(), "attempts/2")
    lines = folder / "events.jsonl"
    lines.write_text('{"type":"thread.started","thread_id":"t-1"}\n{"type":"item.started","item":{"ty')
    async with stream(server, "/attempts/2/stream") as frames:
        (thread,) = await take(frames, 1)
        assert (thread["data"]["kind"], thread["data"]["text"]) == ("thread", "t-1")
        with lines.open("a") as file:
            file.write('pe":"command_execution","command":"ls"}}\n')
        (command,) = await take(frames, 1)
        assert (command["data"]["kind"], command["data"]["text"], command["data"]["live"]) == ("command", "ls", True)
        with lines.open("a") as file:
            file.write('{"type":"turn.completed","usage":{"input_tokens":7,"output_tokens":3}}\nnot json\n')
        (tokens,) = await take(frames, 1)
        assert tokens["data"]["tokens"]["input_tokens"] == 7
        await server.house.flow.run(WORKER, release, *job, Failed(category=Category.POLICY, message="no"))
        (end,) = await take(frames, 1)
        assert end["event"] == "end"
    async with stream(server, "/attempts/2/stream", **{"last-event-id": str(thread["id"])}) as frames:
        assert [each["data"].get("kind") for each in await take(frames, 3)] == ["command", "tokens", None]


async def _numbers(client: httpx.AsyncClient, count: int) -> list[int]:
    found: list[int] = []
    async with client.stream("GET", "/events/stream") as answer:
        async for frame in _frames(answer):
            found.append(frame["id"])
            if len(found) == count:
                break
    return found


def _shout(unit: Any) -> None:
    line_verbs.stop_line(unit)


async def test_whoever_comes_while_the_first_one_begins_hears_nothing_old(house: House) -> None:
    await house.project("old")
    old = (await house.rows("SELECT max(id) AS id FROM events"))[0]["id"]
    feed = Feed(house.database, house.queue, Measure(poll_s=0.05))
    running = asyncio.create_task(feed.run())
    streams = [feed.follow(Wanted(), None) for _ in range(20)]
    first = [asyncio.create_task(anext(each)) for each in streams]
    for number in range(20):
        await house.project(f"new{number}")
    async with asyncio.timeout(SOON_S):
        heard = [await each for each in first]
    assert all(told.id > old for found in heard if not isinstance(found, Gap) for told in found)
    running.cancel()
    for each in streams:
        await each.aclose()
