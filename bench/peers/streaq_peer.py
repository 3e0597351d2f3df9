"""streaq as it comes."""

import asyncio
import logging
import sys

import driver
from streaq import Worker

PIPE = driver.opened_pipe()
worker = Worker(redis_url=driver.URL, concurrency=driver.CONCURRENCY)


@worker.task
async def noop(number: int) -> None:
    """The job."""
    driver.mark(PIPE, driver.BOTH, number)


async def drive() -> None:
    """Enqueue."""
    async with worker:

        async def enqueue(watch: driver.Watch, number: int) -> None:
            watch.send(number)
            await noop.enqueue(number)

        await driver.drive(enqueue)


if __name__ == "__main__":
    logging.disable()
    if sys.argv[1] == "work":
        worker.run_sync()
    else:
        asyncio.run(drive())
