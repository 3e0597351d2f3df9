"""The arq producer door: rings the worker for a job row that is already committed. What Redis loses, the rows keep."""

# redis-py annotates its arguments by half; its answers are checked here before they leave.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Any, Literal, Protocol

import msgspec
import structlog
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from arq.jobs import serialize_job
from fakeredis import FakeAsyncRedisConnection, FakeServer
from msgspec import Meta
from redis.asyncio import ConnectionPool
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.failpoints import fp

FUNCTION = "run_job"
WAKE = "wake"

# A caller never waits longer for a dead Redis, and during the pause after a loss nobody waits at all.
CALL_TIMEOUT_S = 0.5
PAUSE_AFTER_LOSS_S = 1.0
PATIENT_TIMEOUT_S = 2.0
SILENCE_BEFORE_PING_S = 20.0
# How often a task is cancelled that has not ended of it.
AGAIN_S = 0.1
# arq orders by the score and starts nothing whose score lies in the future: 2001-01-01 plus the priority in seconds is
# past on every clock, so that clocks which disagree delay nothing. Within a priority the job's number decides, in
# thousandths: of equal scores, arq would take job 10 before job 9.
FIRST_SCORE_MS = 978_307_200_000
LAST_TIME_MS = 4_102_444_800_000
EXPIRES_MS = 7 * 24 * 3600 * 1000

log = structlog.stdlib.get_logger(__name__)


class Doorbell(Protocol):
    """What the workflow needs of the queue."""

    async def ring(self, job_id: int, dispatch: int, priority: int) -> bool:
        """Tell a worker that this dispatch of the job waits; `False` when nobody could be told. Never raises."""
        ...

    async def publish(self, channel: str, message: str) -> bool:
        """Tell whoever listens to the channel now; `False` when Redis could not be told. Never raises."""
        ...


class Heard(msgspec.Struct, frozen=True):
    """A message, or with an empty channel a gap: the line was (re)opened, anything may have been missed before."""

    channel: str = ""
    message: str = ""


class Payload(msgspec.Struct, frozen=True):
    """arq's job format, as far as we accept it; whatever else lies in the queue is refused, never called."""

    f: Literal["run_job"]
    a: tuple[int, int]
    k: Annotated[dict[str, int], Meta(max_length=0)]
    t: None
    et: Annotated[int, Meta(ge=0, le=LAST_TIME_MS)]


def pack(value: object) -> bytes:
    """Serializer for arq; what msgpack does not know goes in as its `repr` (arq puts exceptions into results)."""
    return msgspec.msgpack.encode(value, enc_hook=repr)


def unpack(data: bytes) -> dict[str, Any]:
    """Deserializer for arq; raises on everything but a call of `run_job` with two whole numbers."""
    return msgspec.structs.asdict(msgspec.msgpack.decode(data, type=Payload))


def hurried() -> dict[str, Any]:
    """Connection options for callers who have somebody waiting: one retry, for a connection that died in the pool."""
    return {
        "socket_timeout": CALL_TIMEOUT_S,
        "socket_connect_timeout": CALL_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 1),
        "retry_on_error": [RedisConnectionError, OSError],
    }


def patient() -> dict[str, Any]:
    """Connection options for arq's worker: a lost Redis is waited for without end, a hung one is noticed."""
    return {
        "socket_timeout": PATIENT_TIMEOUT_S,
        "socket_connect_timeout": PATIENT_TIMEOUT_S,
        "retry": Retry(ExponentialBackoff(cap=1, base=0.05), -1),
        "retry_on_error": [RedisConnectionError, RedisTimeoutError, OSError],
    }


class Queue:
    """One instance's corner of a Redis server: `instance` keeps those who share it apart, since all ids start at 1."""

    def __init__(
        self, make_pool: Callable[[dict[str, Any]], ConnectionPool], instance: str, *, inside: bool = False
    ) -> None:
        self.inside = inside  # of this process, without a server
        self._make_pool = make_pool
        self._instance = instance
        self._redis = self._client(hurried())
        self._reachable = True
        self._silent_until = 0.0

    @classmethod
    def from_url(cls, url: str, instance: str) -> "Queue":
        """For a real server; nothing is connected yet."""
        return cls(lambda manners: ConnectionPool.from_url(url, **manners), instance)

    @classmethod
    def from_fake(cls, server: FakeServer, instance: str) -> "Queue":
        """For one process without a Redis; all its queues share the `FakeServer`."""
        return cls(
            lambda manners: ConnectionPool(connection_class=FakeAsyncRedisConnection, server=server, **manners),
            instance,
            inside=True,
        )

    @property
    def name(self) -> str:
        """The arq queue: a sorted set in Redis."""
        return f"deksdenflow:{self._instance}:run"

    def worker_client(self) -> ArqRedis:
        """A client of its own for arq's worker, which waits for a lost Redis for ever instead of giving up."""
        return self._client(patient())

    async def ring(self, job_id: int, dispatch: int, priority: int) -> bool:
        """See `Doorbell`. Ringing twice for one dispatch is the same as once.

        The lowest priority number goes first, then the oldest job.
        """
        arq_id = f"{self._instance}.{job_id}.{dispatch}"
        now_ms = int(time.time() * 1000)
        score = FIRST_SCORE_MS + priority * 1000 + job_id % 1_000_000 / 1000
        payload = serialize_job(FUNCTION, (job_id, dispatch), {}, None, now_ms, serializer=pack)

        async def enqueue() -> bool:
            # What `enqueue_job` does, in one round trip instead of four: a job key that is there already stays, and
            # so does its place in the queue. arq removes both together, so the two can only be there together.
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(job_key_prefix + arq_id, payload, px=EXPIRES_MS, nx=True)
                pipe.zadd(self.name, {arq_id: score}, nx=True)
                pipe.publish(self._channel(WAKE), arq_id)
                fp("bell_in_hand")
                await pipe.execute()
                fp("bell_sounded")
            return True

        return await self._quickly(enqueue)

    async def publish(self, channel: str, message: str) -> bool:
        """See `Doorbell`."""

        async def publish() -> bool:
            await self._redis.publish(self._channel(channel), message)
            fp("word_said")
            return True

        return await self._quickly(publish)

    async def ping(self) -> bool:
        """Whether Redis answers now; asks even while `ring` and `publish` spare it."""
        self._silent_until = 0.0
        return await self._quickly(self._redis.ping)

    async def listen(self, *channels: str) -> AsyncGenerator[Heard]:
        """What is said on the channels, for ever, through any outage; each (re)connection starts with a gap."""
        names = {self._channel(channel): channel for channel in channels}
        while True:
            line = self._redis.pubsub()
            try:
                await line.subscribe(*names)
                while True:
                    if heard := await _next_heard(line, names):
                        self._note_return()
                        yield heard
            except (RedisError, OSError) as error:
                self._note_loss(error)
            finally:
                await line.aclose()
            await asyncio.sleep(PAUSE_AFTER_LOSS_S)

    async def close(self) -> None:
        """Close the connections; a server that does not answer cannot hold us up."""
        await self._redis.aclose(close_connection_pool=True)

    def _client(self, manners: dict[str, Any]) -> ArqRedis:
        pool = self._make_pool(manners)
        return ArqRedis(pool, job_serializer=pack, job_deserializer=unpack, default_queue_name=self.name)

    def _channel(self, channel: str) -> str:
        return f"deksdenflow:{self._instance}:{channel}"

    async def _quickly(self, call: Callable[[], Awaitable[bool]]) -> bool:
        now = time.monotonic()
        if now < self._silent_until:
            return False
        if not self._reachable:
            self._silent_until = now + PAUSE_AFTER_LOSS_S  # one caller tries; the others do not wait with it
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                answer = await call()
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            self._silent_until = time.monotonic() + PAUSE_AFTER_LOSS_S
            self._note_loss(error)
            return False
        self._silent_until = 0.0
        self._note_return()
        return answer

    def _note_loss(self, error: Exception) -> None:
        if self._reachable:
            self._reachable = False
            log.warning("redis_lost", error=f"{type(error).__name__}: {error}", effect="jobs wait in the database")

    def _note_return(self) -> None:
        if not self._reachable:
            self._reachable = True
            log.info("redis_back")


async def end_tasks(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel until all have ended, also where the caller is being cancelled.

    Once is not enough: before Python 3.12 `asyncio.wait_for`, by which redis-py sends, drops a cancellation that comes
    at the moment when it is done.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait(pending, timeout=AGAIN_S)


async def _next_heard(line: PubSub, names: dict[str, str]) -> Heard | None:
    """What comes next on the line; asks a line that is silent for long whether it is still there."""
    raw = await line.get_message(timeout=SILENCE_BEFORE_PING_S)
    if raw is None:
        await line.ping()
        raw = await line.get_message(timeout=PATIENT_TIMEOUT_S)
    match raw:
        case None:
            raise RedisConnectionError("the subscription is silent")
        case {"type": "subscribe"}:
            return Heard()  # redis-py subscribes again by itself after a reconnection, and then tells us so
        case {"type": "message", "channel": bytes(channel), "data": bytes(message)}:
            return Heard(channel=names[channel.decode()], message=message.decode(errors="replace"))
        case _:
            return None
