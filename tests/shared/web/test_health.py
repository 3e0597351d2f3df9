"""Readiness is the sum of its checks, and a check that hangs or fails is a no."""

import asyncio

import httpx
from fakeredis import FakeServer
from litestar import Litestar

from shared.queue import Queue
from shared.web.health import Check, CheckNow, health_routes, redis_check


async def readiness(**checks: CheckNow) -> httpx.Response:
    app = Litestar(health_routes(checks), logging_config=None, openapi_config=None)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        return await client.get("/health/ready")


async def fine() -> Check:
    return Check(ok=True, detail="migration 1")


async def bad() -> Check:
    return Check(ok=False, detail="Redis does not answer")


async def broken() -> Check:
    raise ValueError("a password, perhaps")


async def hanging() -> Check:
    await asyncio.sleep(3600)
    return Check(ok=True)


async def test_all_checks_fine_is_ready() -> None:
    answer = await readiness(database=fine)
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "ready", "checks": {"database": {"ok": True, "detail": "migration 1"}}},
    )


async def test_one_bad_check_is_unready() -> None:
    answer = await readiness(database=fine, redis=bad)
    assert (answer.status_code, answer.json()["status"]) == (503, "unready")
    assert answer.json()["checks"]["redis"] == {"ok": False, "detail": "Redis does not answer"}


async def test_a_check_that_raises_is_a_no_that_tells_no_secret() -> None:
    answer = await readiness(database=broken)
    assert (answer.status_code, answer.json()["checks"]["database"]["detail"]) == (503, "ValueError")


async def test_a_check_that_hangs_is_a_no_in_time() -> None:
    async with asyncio.timeout(10):
        answer = await readiness(sandbox=hanging)
    assert (answer.status_code, answer.json()["checks"]["sandbox"]["ok"]) == (503, False)


async def test_where_there_is_no_redis_nothing_says_that_one_works() -> None:
    queue = Queue.from_fake(FakeServer(version=(7,)), "here")
    assert await redis_check(queue)() == Check(ok=True, detail="there is none; the queue is inside of this process")
    await queue.close()
