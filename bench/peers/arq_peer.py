"""arq as it comes, with its default poll delay."""

import asyncio
import logging
import sys
from typing import Any

import driver
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker

POLL_S = 0.5
SETTINGS = RedisSettings.from_dsn(driver.URL)
PIPE = driver.opened_pipe()


async def noop(_: dict[str, Any], number: int) -> None:
    """The job."""
    driver.mark(PIPE, driver.BOTH, number)


def work() -> None:
    """Run the worker."""
    logging.disable()
    Worker([noop], redis_settings=SETTINGS, max_jobs=driver.CONCURRENCY, poll_delay=POLL_S).run()


async def drive() -> None:
    """Enqueue."""
    redis = await create_pool(SETTINGS)

    async def enqueue(watch: driver.Watch, number: int) -> None:
        watch.send(number)
        await redis.enqueue_job("noop", number)

    await driver.drive(enqueue, pause_s=(0, POLL_S))


if __name__ == "__main__":
    work() if sys.argv[1] == "work" else asyncio.run(drive())
