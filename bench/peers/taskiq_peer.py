"""taskiq with the broker of taskiq-redis that acknowledges: streams."""

import asyncio
import sys

import driver
from taskiq.cli.worker.cmd import WorkerCMD
from taskiq_redis import RedisStreamBroker

PIPE = driver.opened_pipe()
broker = RedisStreamBroker(driver.URL)


@broker.task(task_name="noop")
async def noop(number: int) -> None:
    """The job."""
    driver.mark(PIPE, driver.BOTH, number)


async def drive() -> None:
    """Enqueue."""
    await broker.startup()

    async def enqueue(watch: driver.Watch, number: int) -> None:
        watch.send(number)
        await noop.kiq(number)

    await driver.drive(enqueue)


if __name__ == "__main__":
    if sys.argv[1] == "work":
        concurrency = str(driver.CONCURRENCY)
        WorkerCMD().exec(["taskiq_peer:broker", "-w", "1", "--max-async-tasks", concurrency, "--log-level", "ERROR"])
    else:
        asyncio.run(drive())
