"""Running Codex once: under its supervisor, under watch, and surely dead afterwards."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import msgspec

from services.worker.codex import supervisor as supervisor_program
from services.worker.codex.attempt import AttemptFiles, environment_of, make_room, prepare, tidy, usage_by_record
from services.worker.codex.failures import Cut, classify
from services.worker.codex.leftovers import kill_earlier_runs, kill_run
from services.worker.codex.record import Redact, RedactedLog, Story
from services.worker.codex.request import CodexFailed, CodexRequest, CodexResult
from shared.errors import Category
from shared.failpoints import points
from shared.schemas.codex_events import Event, LineSplitter, Unknown, parse_event

OnEvent = Callable[[Event], Awaitable[None]]

_CHUNK = 1 << 16
_LOG_LIMIT = 64 << 20
_EVENTS_END = b'{"type":"deksdenflow.log_limit_reached"}\n'
_STDERR_LIMIT = 1 << 20
_STDERR_END = b"(the rest is left out)\n"
# The supervisor's own deadline is only for a worker that is stopped or stuck.
_SUPERVISOR_SLACK_S = 15.0
# For what an agent without a marker holds open after its supervisor was killed; nothing else takes that long.
_PIPES_S = 30.0
_POLL_S = 0.1


class _Exit(msgspec.Struct, frozen=True):
    """The part of exit.json that decides."""

    rc: int
    why: str


@points
async def run_codex(
    request: CodexRequest,
    *,
    on_event: OnEvent,
    redact: Redact = str,
    stop: asyncio.Event | None = None,
) -> CodexResult:
    """Run Codex to the end of one turn and return its answer.

    `on_event` is awaited for every event, the thread's id first; events are as Codex wrote them. The prompt as it is
    sent, everything that is kept in files, and what comes back have gone through `redact`. Raises CodexFailed for a
    run that gave no answer, also when `stop` was set, and JobError for one that could not begin. However this ends,
    by return, error or cancellation, no process of the run is left when it does.
    """
    files = make_room(request)
    try:
        async with _supervised(request, files) as process:
            # While it starts up, what it needs is made ready; nothing of the agent runs until `_begin`.
            await kill_earlier_runs(request.marker)
            await asyncio.to_thread(prepare, request, files, redact)
            begun = time.monotonic()
            story = Story(request.thread_id)
            events = RedactedLog(files.events, limit=_LOG_LIMIT, limit_notice=_EVENTS_END, redact=redact)
            stderr = RedactedLog(files.stderr, limit=_STDERR_LIMIT, limit_notice=_STDERR_END, redact=redact)
            with closing(events), closing(stderr):
                _begin(process)
                cut = await _follow(process, request, story, (events, stderr), on_event, stop)
    finally:
        await asyncio.to_thread(tidy, request, files)
    if story.usage_total is None and story.thread_id is not None:
        story.usage_total = await asyncio.to_thread(usage_by_record, story.thread_id, files)
    exited = _read_exit(files.exit)
    rc = None if exited is None else exited.rc
    result = story.result(rc, time.monotonic() - begun, request.usage_before, stderr.tail, redact)
    if exited is None and process.returncode == supervisor_program.EX_TEMPFAIL:
        raise CodexFailed(Category.BUSY, "Another run still holds the worktree; it is tried again shortly.", result)
    if exited is not None and exited.why == "deadline":
        cut = cut or Cut.TIMEOUT
    failure = classify(story.ending(rc, cut, stderr.tail))
    if failure is not None:
        raise CodexFailed(failure.category, redact(failure.message), result)
    return result


@asynccontextmanager
async def _supervised(request: CodexRequest, files: AttemptFiles) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Start the supervisor; everything that it started is dead when the body ended it (`_end`), or did not end well."""
    process = None
    try:
        process = await asyncio.create_subprocess_exec(
            *supervisor_program.program(sys.executable),
            str(request.lock_file),
            str(files.exit),
            str(files.prompt),
            str(request.step_timeout_s + _SUPERVISOR_SLACK_S),
            str(request.grace_s),
            *command_line(request, files),
            cwd=request.worktree,
            env=environment_of(request, files),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        yield process
    except BaseException:
        await _in_any_case(_end(process, request))
        raise


def _begin(process: asyncio.subprocess.Process) -> None:
    """Let the supervisor start Codex; if it has died meanwhile, its end tells."""
    assert process.stdin is not None  # noqa: S101  asked for by PIPE
    process.stdin.write(b"\n")


def command_line(request: CodexRequest, files: AttemptFiles) -> list[str]:
    """Return the argument vector of Codex; the prompt is on stdin."""
    resume = [] if request.thread_id is None else ["resume", request.thread_id]
    return [
        str(request.binary),
        "exec",
        "--json",
        "--strict-config",
        "--ignore-rules",
        "--output-schema",
        str(files.schema),
        "-C",
        str(request.worktree.resolve()),
        *resume,
        "-",
    ]


async def _follow(
    process: asyncio.subprocess.Process,
    request: CodexRequest,
    story: Story,
    logs: tuple[RedactedLog, RedactedLog],
    on_event: OnEvent,
    stop: asyncio.Event | None,
) -> Cut | None:
    """Read until the run is over or must be cut, and end it; return why it was cut."""
    assert process.stdout is not None  # noqa: S101  asked for by PIPE
    assert process.stderr is not None  # noqa: S101  asked for by PIPE
    reading = asyncio.create_task(_read_events(process.stdout, story, logs[0], on_event))
    draining = asyncio.create_task(_drain(process.stderr, logs[1]))
    watching = asyncio.create_task(_watch(story, request, stop))
    exiting = asyncio.create_task(_exit_of(process))
    try:
        while not exiting.done() and not watching.done():
            pending = {task for task in (reading, exiting, watching) if not task.done()}
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                await reading  # a listener that failed ends the run
        await _end(process, request)
        # Everybody who could write is dead, so what is left to read is in the pipes.
        read, _ = await asyncio.wait({reading, draining}, timeout=_PIPES_S)
        for task in read:
            task.result()
        return watching.result() if watching.done() else None
    finally:
        for task in (reading, draining, watching, exiting):
            task.cancel()
        await asyncio.gather(reading, draining, watching, exiting, return_exceptions=True)


async def _read_events(stream: asyncio.StreamReader, story: Story, log: RedactedLog, on_event: OnEvent) -> None:
    async for line in _lines(stream, LineSplitter()):
        await _tell(line, story, log, on_event)


async def _tell(line: bytes | int, story: Story, log: RedactedLog, on_event: OnEvent) -> None:
    if isinstance(line, int):
        event: Event = Unknown(f"line of {line} bytes dropped")
        log.write(b'{"type":"deksdenflow.line_dropped","bytes":%d}' % line)
    elif not line.strip():
        return
    else:
        event = parse_event(line)
        log.write(line)
    story.add(event)
    await on_event(event)


async def _drain(stream: asyncio.StreamReader, log: RedactedLog) -> None:
    async for line in _lines(stream, LineSplitter(limit=_CHUNK)):
        log.write(line if isinstance(line, bytes) else b"(a line of %d bytes)" % line)


async def _lines(stream: asyncio.StreamReader, splitter: LineSplitter) -> AsyncGenerator[bytes | int]:
    while chunk := await stream.read(_CHUNK):
        for line in splitter.feed(chunk):
            yield line
    for line in splitter.close():
        yield line


async def _watch(story: Story, request: CodexRequest, stop: asyncio.Event | None) -> Cut:
    """Return when the run must be cut, with the reason."""
    deadline = time.monotonic() + request.step_timeout_s
    stopped = stop or asyncio.Event()
    while True:
        now = time.monotonic()
        silent_until = (
            now + request.silence_timeout_s if story.tool_runs else story.heard_at + request.silence_timeout_s
        )
        if now >= deadline:
            return Cut.TIMEOUT
        if now >= silent_until:
            return Cut.SILENCE
        try:
            await asyncio.wait_for(stopped.wait(), min(deadline, silent_until) - now)
        except TimeoutError:
            continue
        return Cut.STOPPED


async def _end(process: asyncio.subprocess.Process | None, request: CodexRequest) -> None:
    """Let the supervisor end its tree; when it cannot, kill everything that bears the run's marker."""
    if process is not None and process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(_exit_of(process), request.grace_s + _SUPERVISOR_SLACK_S)
        except TimeoutError:
            process.kill()
            await _exit_of(process)
    await kill_run(request.marker)


async def _exit_of(process: asyncio.subprocess.Process) -> None:
    """Wait for the process alone: asyncio's own `wait` may also wait for pipes that others hold open."""
    waiting = asyncio.create_task(process.wait())
    try:
        while process.returncode is None:
            await asyncio.wait({waiting}, timeout=_POLL_S)
    finally:
        waiting.cancel()


async def _in_any_case(work: Awaitable[None]) -> None:
    """Await `work` to its end even when this task is cancelled meanwhile, and only then let the cancellation on."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    task.result()


def _read_exit(path: Path) -> _Exit | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Exit)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
