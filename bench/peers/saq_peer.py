"""saq as it comes."""

import asyncio
import logging
import sys
from typing import Any

import driver
from saq import Queue, Worker

PIPE = driver.opened_pipe()


async def noop(_: Any, *, number: int) -> None:
    """The job."""
    driver.mark(PIPE, driver.BOTH, number)


async def work() -> None:
    """Run the worker."""
    logging.disable()
    await Worker(Queue.from_url(driver.URL), functions=[noop], concurrency=driver.CONCURRENCY).start()


async def drive() -> None:
    """Enqueue."""
    queue = Queue.from_url(driver.URL)

    async def enqueue(watch: driver.Watch, number: int) -> None:
        watch.send(number)
        await queue.enqueue("noop", number=number)

    await driver.drive(enqueue)


if __name__ == "__main__":
    asyncio.run(work() if sys.argv[1] == "work" else drive())
