"""The queue's door: what it writes, and how it behaves while Redis is away, slow or strange."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing

import msgspec
import pytest
import redis.asyncio
from arq.connections import ArqRedis
from fakeredis import FakeServer
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from shared.queue import CALL_TIMEOUT_S, PAUSE_AFTER_LOSS_S, WAKE, Heard, Queue, end_tasks, pack, unpack
from tests.fakes.redis_server import RedisServer
from tests.waiting import eventually

pytest_plugins = ["tests.fakes.plugin"]


@pytest.fixture(params=["real", "fake"])
async def queue(request: pytest.FixtureRequest) -> AsyncIterator[Queue]:
    if request.param == "real":
        one = Queue.from_url(request.getfixturevalue("redis_url"), "here")
    else:
        one = Queue.from_fake(FakeServer(version=(7,)), "here")
    yield one
    await one.close()


@pytest.fixture
async def raw(queue: Queue) -> AsyncIterator[ArqRedis]:
    client = queue.worker_client()
    yield client
    await client.aclose(close_connection_pool=True)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as entered:
        yield entered


def seconds_since(start: float) -> float:
    return time.monotonic() - start


async def test_ringing_enqueues_the_job_as_arq_itself_would(queue: Queue, raw: ArqRedis):
    assert await queue.ring(7, 2, 5) is True
    (job,) = await raw.queued_jobs()
    assert (job.job_id, job.function, list(job.args), job.kwargs) == ("here.7.2", "run_job", [7, 2], {})


async def test_an_entry_expires_after_a_week_not_after_a_day(queue: Queue, raw: ArqRedis):
    await queue.ring(7, 2, 5)
    assert 6.9 * 86400 < await raw.ttl("arq:job:here.7.2") <= 7 * 86400


async def test_the_lowest_priority_number_stands_first_and_every_score_is_past(queue: Queue, raw: ArqRedis):
    for job_id, priority in ((1, 50), (2, -50), (3, 0)):
        await queue.ring(job_id, 1, priority)
    entries = await raw.zrange(queue.name, 0, -1, withscores=True)
    assert [entry for entry, _ in entries] == [b"here.2.1", b"here.3.1", b"here.1.1"]
    assert all(0 < score < 1_000_000_000_000 for _, score in entries)


async def test_ringing_twice_for_one_dispatch_is_the_same_as_once(queue: Queue, raw: ArqRedis):
    await queue.ring(7, 1, 5)
    first = await raw.get("arq:job:here.7.1")
    assert await queue.ring(7, 1, 0) is True
    assert await raw.get("arq:job:here.7.1") == first
    assert await raw.zrange(queue.name, 0, -1, withscores=True) == [(b"here.7.1", 978_307_205_000.007)]


async def test_a_new_dispatch_of_a_job_is_an_entry_of_its_own(queue: Queue, raw: ArqRedis):
    await queue.ring(7, 1, 5)
    await queue.ring(7, 2, 5)
    assert await raw.zcard(queue.name) == 2


async def test_half_an_entry_is_made_whole_again(queue: Queue, raw: ArqRedis):
    await queue.ring(7, 1, 5)
    await raw.delete("arq:job:here.7.1")
    await queue.ring(7, 1, 5)
    assert await raw.exists("arq:job:here.7.1")
    await raw.delete(queue.name)
    await queue.ring(7, 1, 5)
    assert await raw.zcard(queue.name) == 1


async def test_two_instances_on_one_server_do_not_take_each_others_jobs(redis_url: str):
    one, other = Queue.from_url(redis_url, "one"), Queue.from_url(redis_url, "other")
    await one.ring(1, 1, 0)
    await other.ring(1, 1, 0)
    client = one.worker_client()
    assert await client.zrange(one.name, 0, -1) == [b"one.1.1"]
    assert await client.zrange(other.name, 0, -1) == [b"other.1.1"]
    assert await client.exists("arq:job:one.1.1", "arq:job:other.1.1") == 2
    for each in (one, other):
        await each.close()
    await client.aclose(close_connection_pool=True)


async def test_a_password_with_odd_characters_in_the_url_is_understood(redis_server: RedisServer):
    async with redis.asyncio.Redis.from_url(redis_server.url) as admin:
        await admin.config_set("requirepass", "p@ss/w:rd%")
    queue = Queue.from_url(redis_server.url.replace("redis://", "redis://:p%40ss%2Fw%3Ard%25@"), "here")
    assert await queue.ping() is True
    assert await Queue.from_url(redis_server.url, "here").ping() is False
    await queue.close()


def test_the_payload_of_our_own_call_survives_the_way():
    data = pack({"t": None, "f": "run_job", "a": (7, 2), "k": {}, "et": 1_700_000_000_000})
    assert unpack(data) == {"t": None, "f": "run_job", "a": (7, 2), "k": {}, "et": 1_700_000_000_000}


@pytest.mark.parametrize(
    "change",
    [
        {"f": "os.system"},
        {"a": (7,)},
        {"a": ("7", 2)},
        {"a": (7, 2, 3)},
        {"k": {"x": 1}},
        {"t": 3},
        {"et": -1},
        {"et": 1 << 62},
        {"et": None},
    ],
)
def test_any_other_payload_is_refused(change: dict[str, object]):
    payload = {"t": None, "f": "run_job", "a": (7, 2), "k": {}, "et": 1_700_000_000_000}
    with pytest.raises(msgspec.ValidationError):
        unpack(pack({**payload, **change}))


@pytest.mark.parametrize("data", [b"", b"\x80\x04}.", b"cos\nsystem\n(S'true'\ntR."])
def test_a_pickle_or_nothing_is_refused(data: bytes):
    with pytest.raises(msgspec.MsgspecError):
        unpack(data)


async def test_while_redis_is_away_nobody_waits_and_nothing_is_raised(redis_server: RedisServer):
    queue = Queue.from_url(redis_server.url, "here")
    redis_server.kill9()
    start = time.monotonic()
    answers = [await queue.ring(job_id, 1, 0) for job_id in range(200)]
    assert not any(answers)
    assert await queue.publish(WAKE, "x") is False
    assert await queue.ping() is False
    assert seconds_since(start) < 3 * CALL_TIMEOUT_S
    await queue.close()


async def test_a_redis_that_hangs_costs_one_caller_half_a_second_per_pause(redis_server: RedisServer):
    queue = Queue.from_url(redis_server.url, "here")
    assert await queue.ring(1, 1, 0)
    redis_server.freeze()
    start = time.monotonic()
    assert await queue.ring(2, 1, 0) is False
    assert CALL_TIMEOUT_S * 0.8 < seconds_since(start) < CALL_TIMEOUT_S + 0.4
    start = time.monotonic()
    assert not any([await queue.ring(job_id, 1, 0) for job_id in range(100)])
    assert seconds_since(start) < 0.2
    await asyncio.sleep(PAUSE_AFTER_LOSS_S)
    start = time.monotonic()
    assert not any(await asyncio.gather(*(queue.ring(job_id, 1, 0) for job_id in range(100))))
    assert seconds_since(start) < CALL_TIMEOUT_S + 0.4
    await queue.close()


async def test_after_a_hang_the_answers_belong_to_their_questions_again(redis_server: RedisServer):
    queue = Queue.from_url(redis_server.url, "here")
    redis_server.freeze()
    assert await queue.ring(1, 1, 0) is False
    redis_server.thaw()
    await eventually(lambda: queue.ring(2, 1, 0))
    client = queue.worker_client()
    assert {job.job_id for job in await client.queued_jobs()} >= {"here.2.1"}
    assert await queue.ping() is True
    await client.aclose(close_connection_pool=True)
    await queue.close()


async def test_ringing_works_again_soon_after_redis_is_back(redis_server: RedisServer):
    queue = Queue.from_url(redis_server.url, "here")
    assert await queue.ring(1, 1, 0)
    redis_server.kill9()
    assert await queue.ring(2, 1, 0) is False
    redis_server.start()
    start = time.monotonic()
    await eventually(lambda: queue.ring(3, 1, 0))
    assert seconds_since(start) < PAUSE_AFTER_LOSS_S + 0.5
    await queue.close()


async def test_a_quick_restart_between_two_rings_is_not_even_noticed(redis_server: RedisServer):
    queue = Queue.from_url(redis_server.url, "here")
    assert await queue.ring(1, 1, 0)
    redis_server.restart()
    assert await queue.ring(2, 1, 0) is True
    await queue.close()


async def test_the_log_says_once_that_redis_went_and_once_that_it_came_back(redis_server: RedisServer):
    queue = Queue.from_url(redis_server.url, "here")
    redis_server.kill9()
    with capture_logs() as records:
        for _ in range(5):
            await queue.ping()
        redis_server.start()
        for _ in range(5):
            await queue.ping()
    assert [record["event"] for record in records] == ["redis_lost", "redis_back"]
    await queue.close()


async def test_a_ping_asks_redis_even_while_others_are_spared(redis_server: RedisServer):
    queue = Queue.from_url(redis_server.url, "here")
    redis_server.kill9()
    assert await queue.ring(1, 1, 0) is False
    redis_server.start()
    assert await queue.ping() is True
    assert await queue.ring(1, 1, 0) is True
    await queue.close()


async def test_a_redis_that_is_full_refuses_and_the_caller_lives(redis_server: RedisServer):
    queue = Queue.from_url(redis_server.url, "here")
    async with redis.asyncio.Redis.from_url(redis_server.url) as admin:
        await admin.config_set("maxmemory", "1")
        with pytest.raises(ResponseError):
            await admin.set("x", "y")
    assert await queue.ring(1, 1, 0) is False
    await queue.close()


async def test_what_is_published_is_heard_after_a_gap(queue: Queue):
    async with aclosing(queue.listen("event", "cancel")) as heard:
        assert [await anext(heard), await anext(heard)] == [Heard(), Heard()]
        assert await queue.publish("event", "5") is True
        assert await anext(heard) == Heard(channel="event", message="5")
        await queue.publish("other", "6")
        await queue.publish("cancel", "ü7")
        assert await anext(heard) == Heard(channel="cancel", message="ü7")


async def test_ringing_wakes_who_listens(queue: Queue):
    async with aclosing(queue.listen(WAKE)) as heard:
        assert await anext(heard) == Heard()
        await queue.ring(7, 2, 0)
        assert await anext(heard) == Heard(channel="wake", message="here.7.2")


async def test_messages_of_another_instance_are_not_heard(redis_url: str, stack: AsyncExitStack):
    here, there = Queue.from_url(redis_url, "here"), Queue.from_url(redis_url, "there")
    for each in (here, there):
        stack.push_async_callback(each.close)
    heard = await stack.enter_async_context(aclosing(here.listen(WAKE)))
    await anext(heard)
    await there.ring(1, 1, 0)
    await here.ring(2, 1, 0)
    assert (await anext(heard)).message == "here.2.1"


async def test_a_listener_survives_an_outage_and_is_told_of_the_gap(redis_server: RedisServer, stack: AsyncExitStack):
    queue = Queue.from_url(redis_server.url, "here")
    stack.push_async_callback(queue.close)
    heard = await stack.enter_async_context(aclosing(queue.listen("event")))
    assert await anext(heard) == Heard()
    redis_server.kill9()
    waiting = asyncio.create_task(anext(heard))
    await eventually(lambda: asyncio.sleep(0, not waiting.done()))
    redis_server.start()
    assert await asyncio.wait_for(waiting, 10) == Heard()
    await queue.publish("event", "after")
    assert await asyncio.wait_for(anext(heard), 10) == Heard(channel="event", message="after")


async def test_a_listener_may_start_before_redis_does(redis_server: RedisServer, stack: AsyncExitStack):
    redis_server.kill9()
    queue = Queue.from_url(redis_server.url, "here")
    stack.push_async_callback(queue.close)
    heard = await stack.enter_async_context(aclosing(queue.listen("event")))
    waiting = asyncio.create_task(anext(heard))
    await asyncio.sleep(0)
    redis_server.start()
    assert await asyncio.wait_for(waiting, 10) == Heard()


async def test_closing_a_queue_whose_redis_hangs_takes_no_time(redis_server: RedisServer):
    queue = Queue.from_url(redis_server.url, "here")
    await queue.ring(1, 1, 0)
    redis_server.freeze()
    start = time.monotonic()
    await queue.close()
    assert seconds_since(start) < 1


async def _stubborn(drops: int) -> None:
    """Takes its first cancellations for something else, as `asyncio.wait_for` may before Python 3.12."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if drops == 0:
                raise
            drops -= 1


async def test_a_task_that_drops_its_cancellation_is_cancelled_again_until_it_has_ended() -> None:
    tasks = [asyncio.create_task(_stubborn(drops)) for drops in (0, 1, 2)]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end_tasks(*tasks)
    assert all(task.cancelled() for task in tasks)


async def test_who_ends_tasks_ends_them_all_also_when_it_is_cancelled_meanwhile() -> None:
    stubborn = asyncio.create_task(_stubborn(2))
    await asyncio.sleep(0)
    ending = asyncio.create_task(end_tasks(stubborn))
    await asyncio.sleep(0)
    ending.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait([ending])
    assert stubborn.cancelled()
