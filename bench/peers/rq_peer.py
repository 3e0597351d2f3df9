"""rq with its pool of workers, each of which runs its jobs in its own process, without a fork for every one."""

import asyncio
import sys

import driver
from redis import Redis
from rq import Queue, SimpleWorker
from rq.worker_pool import WorkerPool

PIPE = driver.opened_pipe()


def noop(number: int) -> None:
    """The job."""
    driver.mark(PIPE, driver.BOTH, number)


def work() -> None:
    """Run the workers."""
    pool = WorkerPool(
        ["default"], Redis.from_url(driver.URL), num_workers=driver.CONCURRENCY, worker_class=SimpleWorker
    )
    pool.start(logging_level="ERROR")


async def drive() -> None:
    """Enqueue."""
    queue = Queue(connection=Redis.from_url(driver.URL))

    async def enqueue(watch: driver.Watch, number: int) -> None:
        watch.send(number)
        queue.enqueue("rq_peer.noop", number)

    await driver.drive(enqueue)


if __name__ == "__main__":
    work() if sys.argv[1] == "work" else asyncio.run(drive())
