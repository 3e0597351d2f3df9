"""Drives one queue from outside, and notes when its jobs are seen: on the standard library alone, in any environment.

A job tells that it was claimed and is done by a mark in a named pipe: one system call, the same for every queue. The
monotonic clock is one for all processes of a host.
"""

import asyncio
import json
import os
import random
import struct
import time
from collections.abc import Awaitable, Callable

MARK = struct.Struct("<cqq")
CLAIMED, DONE, BOTH = b"c", b"d", b"b"
ENQUEUERS = 10
CONCURRENCY = 10
WARM_UP = 200
START_S = 30.0

URL = os.environ.get("BENCH_REDIS", "")


def opened_pipe() -> int:
    """The pipe of the marks, for whoever writes them."""
    return os.open(os.environ["BENCH_MARKS"], os.O_RDWR)


def mark(pipe: int, what: bytes, key: int) -> None:
    """Say what has just become of the job with this key."""
    os.write(pipe, MARK.pack(what, key, time.monotonic_ns()))


class Watch:
    """What is known of the jobs: when each was enqueued, claimed and done, in nanoseconds."""

    def __init__(self) -> None:
        self.sent: dict[int, int] = {}
        self.claimed: dict[int, int] = {}
        self.done: dict[int, int] = {}
        self._pulse = asyncio.Event()
        self._pipe = os.open(os.environ["BENCH_MARKS"], os.O_RDWR | os.O_NONBLOCK)
        asyncio.get_running_loop().add_reader(self._pipe, self._read)

    def send(self, key: int) -> None:
        """The job is about to be told to the queue."""
        self.sent[key] = time.monotonic_ns()

    async def until_done(self, count: int, within_s: float) -> bool:
        """Whether so many jobs got done in time."""
        try:
            async with asyncio.timeout(within_s):
                while len(self.done) < count:
                    self._pulse.clear()
                    await self._pulse.wait()
        except TimeoutError:
            return False
        return True

    def _read(self) -> None:
        data = os.read(self._pipe, MARK.size * 1000)
        for what, key, at in MARK.iter_unpack(data):
            if what in {CLAIMED, BOTH}:
                self.claimed[key] = at
            if what in {DONE, BOTH}:
                self.done[key] = at
        self._pulse.set()


async def drive(
    enqueue: Callable[[Watch, int], Awaitable[object]], *, pause_s: tuple[float, float] = (0.01, 0.02)
) -> None:
    """Print the waits of jobs that come one by one to an idle worker, and the rate of many at once, as JSON.

    `enqueue(watch, number)` tells the queue of one job, and the watch just before. The pauses are what makes the
    worker idle; who polls needs ones as long as its interval, so as not to be met in step.
    """
    singles, many, limit_s = (int(part) for part in os.environ["BENCH_PLAN"].split())
    watch, dice = Watch(), random.Random(7)
    for number in range(WARM_UP):
        await enqueue(watch, -1 - number)
    if not await watch.until_done(WARM_UP, START_S):
        raise TimeoutError("the worker did nothing")
    _forget(watch)
    end = time.monotonic() + limit_s
    for number in range(singles):
        await asyncio.sleep(dice.uniform(*pause_s))
        await enqueue(watch, number)
        await watch.until_done(number + 1, limit_s)
        if time.monotonic() > end:
            break
    waits = [at - watch.sent[key] for key, at in watch.claimed.items()]
    _forget(watch)
    numbers = iter(range(singles, singles + many))

    async def some() -> None:
        for number in numbers:
            await enqueue(watch, number)
            await asyncio.sleep(0)

    began = time.monotonic_ns()
    sending = asyncio.gather(*(some() for _ in range(ENQUEUERS)))
    if await watch.until_done(many, limit_s):
        seconds = (max(watch.done.values()) - began) / 1e9
    else:
        seconds = float(limit_s)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    print(json.dumps({"waits": waits, "rate": len(watch.done) / seconds, "done": len(watch.done)}), flush=True)


def _forget(watch: Watch) -> None:
    for times in (watch.sent, watch.claimed, watch.done):
        times.clear()
