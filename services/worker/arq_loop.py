"""The worker's end of arq: a loop that wakes when a job is rung for, and that no lost or strange Redis can end."""

# arq leaves half of its attributes unannotated; what is used of them is pinned by version and by tests.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import msgspec
import structlog
from arq.constants import in_progress_key_prefix, job_key_prefix
from arq.worker import Worker, func
from redis.exceptions import RedisError

from services.worker.pace import PACE
from shared.queue import FUNCTION, WAKE, Queue, end_tasks, pack, unpack

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
        self._call = run_job
        # What was rung for since the last round, and whether anything else may lie in the queue.
        self._rung: deque[bytes] = deque(maxlen=slots)
        self._behind = True
        self._look_at = time.monotonic()
        self._failing = False
        self.last_tick = float("-inf")

    async def main(self) -> None:
        """Runs until cancelled; `last_tick` is the monotonic time of the last look into the queue that succeeded."""
        listening = asyncio.create_task(self._wake_up(), name="arq listens")
        listening.add_done_callback(lambda _: self._woken.set())
        try:
            while not listening.done():
                self._woken.clear()
                await self._round()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(self._look_at):
                        await self._woken.wait()
            await listening
        finally:
            await end_tasks(listening)

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Start what there are slots for; arq's own way takes four round trips each, and a lost Redis costs a slot."""
        names = (raw.decode(errors="replace") for raw in job_ids)
        waiting = [arq_id for arq_id in names if arq_id not in self.tasks]
        while waiting and (free := self.max_jobs - self.job_counter) > 0:
            for arq_id, payload in await self._take(waiting[:free]):
                self.job_counter += 1
                task = self.loop.create_task(self._run(arq_id, payload))
                task.add_done_callback(self._free_slot)
                self.tasks[arq_id] = task
            del waiting[:free]
        self._behind = bool(waiting) or len(job_ids) >= self.queue_read_limit

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
            async for heard in line:
                if heard.channel:
                    self._rung.append(heard.message.encode())
                else:
                    self._behind = True
                self._woken.set()

    async def _round(self) -> None:
        """Start what was rung for; look into the queue when it may hold more than that."""
        rung = [*self._rung]
        self._rung.clear()
        try:
            if self._behind or time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + self.poll_delay_s
                self._behind = self._behind or bool(rung)  # until a look with a free slot says otherwise
                await self._poll_iteration()
                self.last_tick = time.monotonic()
            elif rung and self.allow_pick_jobs:
                await self.start_jobs(rung)
        except (RedisError, OSError) as error:
            if not self._failing:
                log.warning("queue_unreadable", error=f"{type(error).__name__}: {error}")
            self._failing = self._behind = True
        else:
            self._failing = False

    async def _take(self, arq_ids: list[str]) -> list[tuple[str, bytes | None]]:
        """Those of the dispatches that are ours now, with their payloads, in one round trip for all."""
        async with self.pool.pipeline(transaction=True) as pipe:
            for arq_id in arq_ids:
                pipe.set(in_progress_key_prefix + arq_id, b"1", px=self._mark_ms, nx=True)
                pipe.zscore(self.queue_name, arq_id)
                pipe.get(job_key_prefix + arq_id)
            answers = await pipe.execute()
        found = [(arq_id, *answers[3 * place : 3 * place + 3]) for place, arq_id in enumerate(arq_ids)]
        # finished elsewhere between our look and our mark
        if gone := [arq_id for arq_id, marked, score, _ in found if marked and score is None]:
            await self.pool.delete(*(in_progress_key_prefix + arq_id for arq_id in gone))
        return [(arq_id, payload) for arq_id, marked, score, payload in found if marked and score is not None]

    async def _run(self, arq_id: str, payload: bytes | None) -> None:
        """Call the handler for one dispatch, once, and remove the dispatch whatever came of it."""
        try:
            job_id, dispatch = unpack(payload or b"")["a"]
            await self._call({}, job_id, dispatch)
            self.jobs_complete += 1
        except msgspec.MsgspecError as error:
            log.warning("strange_dispatch", arq_id=arq_id, error=str(error))
        except asyncio.CancelledError:
            log.info("dispatch_cut_off", arq_id=arq_id)
        except Exception:  # of whatever kind: the loop goes on, and the reconciler finds the job
            self.jobs_failed += 1
            log.exception("dispatch_failed", arq_id=arq_id)
        await asyncio.shield(self._forget(arq_id))

    async def _forget(self, arq_id: str) -> None:
        async with self.pool.pipeline(transaction=True) as pipe:
            pipe.delete(in_progress_key_prefix + arq_id, job_key_prefix + arq_id)
            pipe.zrem(self.queue_name, arq_id)
            await pipe.execute()

    def _free_slot(self, _: "asyncio.Task[None]") -> None:
        self.job_counter -= 1
        self._woken.set()
