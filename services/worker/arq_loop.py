"""The worker's end of arq: a loop that wakes when a job is rung for, and that no lost or strange Redis can end."""

# arq leaves half of its attributes unannotated; what is used of them is pinned by version and by tests.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import structlog
from arq.constants import in_progress_key_prefix
from arq.worker import Worker, func
from redis.exceptions import RedisError

from services.worker.pace import PACE
from shared.queue import FUNCTION, WAKE, Queue, pack, unpack

Handler = Callable[[int, int], Awaitable[None]]

# The message wakes the loop; this is for the message that was lost.
POLL_S = 1.0
# Time-outs are the handler's; arq only wants to know one.
JOB_TIMEOUT_S = 7 * 24 * 3600
HEALTH_S = 15
FAREWELL_S = 2.0

log = structlog.stdlib.get_logger(__name__)


class WakingWorker(Worker):
    """arq's worker with our loop; calls `handler(job_id, dispatch)`, at most `slots` at a time, and retries nothing.

    The handler claims the job in the database or returns: one dispatch may reach two handlers, and one that takes
    nothing costs nothing. It must treat a cancellation as the request to stop and may then take its time.
    """

    def __init__(
        self, queue: Queue, handler: Handler, *, slots: int, poll_s: float = POLL_S, mark_s: float = PACE.mark_s
    ) -> None:
        async def run_job(ctx: dict[Any, Any], job_id: int, dispatch: int) -> None:  # noqa: ARG001  arq passes its context
            self._live.add((job_id, dispatch))
            try:
                await handler(job_id, dispatch)
            finally:
                self._live.discard((job_id, dispatch))
                self._woken.set()

        super().__init__(
            [func(run_job, name=FUNCTION, timeout=JOB_TIMEOUT_S, max_tries=1, keep_result=0)],
            queue_name=queue.name,
            redis_pool=queue.worker_client(),
            handle_signals=False,
            max_jobs=slots,
            poll_delay=poll_s,
            keep_result=0,
            max_tries=1,
            health_check_interval=HEALTH_S,
            health_check_key=f"{queue.name}:health:{uuid4().hex}",
            retry_jobs=False,
            job_serializer=pack,
            job_deserializer=unpack,
            log_results=False,
        )
        self._queue = queue
        self._mark_ms = round(mark_s * 1000)
        self._woken = asyncio.Event()
        self._live: set[tuple[int, int]] = set()
        self._failing = False
        self.last_tick = float("-inf")

    async def main(self) -> None:
        """Runs until cancelled; `last_tick` is the monotonic time of the last look into the queue that succeeded."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._wake_up())
            while True:
                self._woken.clear()
                await self._look()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.poll_delay_s):
                        await self._woken.wait()

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Start what there are slots for. arq's own way takes four round trips, and a lost Redis costs it a slot."""
        for raw in job_ids:
            if self.job_counter >= self.max_jobs:
                return
            arq_id = raw.decode(errors="replace")
            if arq_id not in self.tasks and await self._take(arq_id):
                self.job_counter += 1
                task = self.loop.create_task(self.run_job(arq_id, int(time.time() * 1000)))
                task.add_done_callback(self._free_slot)
                self.tasks[arq_id] = task

    def stop_picking(self) -> None:
        """Take nothing new; what runs goes on."""
        self.allow_pick_jobs = False

    async def drained(self) -> None:
        """Returns when no handler runs, whatever Redis does."""
        while self._live:
            self._woken.clear()
            await self._woken.wait()

    async def close(self) -> None:
        """Ask what runs to stop, wait until it has stopped, hang up. A lost Redis holds this up for two seconds."""
        self.stop_picking()
        tasks = [task for task in (self.main_task, *self.tasks.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await self.drained()
        with contextlib.suppress(RedisError, OSError):
            async with asyncio.timeout(FAREWELL_S):
                if tasks:
                    await asyncio.wait(tasks)
                await self.pool.delete(self.health_check_key)
        await self.pool.aclose(close_connection_pool=True)

    async def _wake_up(self) -> None:
        async with contextlib.aclosing(self._queue.listen(WAKE)) as line:
            async for _ in line:
                self._woken.set()

    async def _look(self) -> None:
        try:
            await self._poll_iteration()
        except (RedisError, OSError) as error:
            if not self._failing:
                log.warning("queue_unreadable", error=f"{type(error).__name__}: {error}")
            self._failing = True
        else:
            self._failing = False
            self.last_tick = time.monotonic()

    async def _take(self, arq_id: str) -> bool:
        mark = in_progress_key_prefix + arq_id
        async with self.pool.pipeline(transaction=True) as pipe:
            pipe.set(mark, b"1", px=self._mark_ms, nx=True)
            pipe.zscore(self.queue_name, arq_id)
            marked, score = await pipe.execute()
        if marked and score is None:  # finished elsewhere between our look and our mark
            await self.pool.delete(mark)
        return bool(marked) and score is not None

    def _free_slot(self, _: "asyncio.Task[None]") -> None:
        self.job_counter -= 1
        self._woken.set()
