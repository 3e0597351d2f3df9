"""What a step costs beyond its Codex call and its git commands, and where that time goes.

python -m bench.step        the real worker, which notes when its subprocesses and transactions began and ended
"""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
from msgspec.structs import replace

from bench import stage
from bench.calls import ask, until
from bench.rows import Row
from services.worker.service import run_worker
from shared.redaction import Redactor
from shared.runtime import Runtime, open_runtime, run_service
from shared.settings import Settings
from shared.web.server import stop_on_signals
from shared.workflow.door import Workflow
from shared.workflow.jobs import claim_job, release
from shared.workflow.unit import Caller
from tests.processes.services import Service

STEPS = 10
TARGET_MS = 50

# Answers its version and the probe like Codex; as an agent it changes one file, and notes when it began and ended. Bash
# knows the time by itself, in microseconds: to ask `date` would be two processes more, paid for by what is measured.
STUB = """#!/bin/bash
case "$1" in
  --version) echo "codex-cli 0.163.0"; exit 0 ;;
  sandbox) exit 0 ;;
esac
began=${EPOCHREALTIME/[.,]/}000
echo "$began" > changed.txt
cat <<'END'
{"type":"thread.started","thread_id":"bench-thread"}
{"type":"item.completed","item":{"id":"i","type":"agent_message","text":%s}}
{"type":"turn.completed","usage":{"input_tokens":5,"output_tokens":1}}
END
echo "agent $began ${EPOCHREALTIME/[.,]/}000" >> "%s"
"""
ANSWER = {
    "summary": "Changed a file.",
    "notes": "None.",
    "commit_type": "feat",
    "commit_scope": "",
    "commit_subject": "change a file",
}


class Span(msgspec.Struct, frozen=True, order=True):
    """From when to when, in nanoseconds since 1970, something went on."""

    begin: int
    end: int
    kind: str = ""


class Notes:
    """Spans as lines of a file; each is written at once."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, kind: str, begin: int) -> None:
        """It ended now."""
        os.write(self._file, f"{kind} {begin} {time.time_ns()}\n".encode())


class NotingFlow(Workflow):
    """Notes every transaction."""

    def __init__(self, runtime: Runtime, notes: Notes) -> None:
        super().__init__(runtime.database, runtime.queue, runtime.flow.rules)
        self._notes = notes

    async def run(self, caller: Caller, verb: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run the verb, and note it."""
        begin = time.time_ns()
        result = await super().run(caller, verb, *args, **kwargs)
        self._notes.note({claim_job: "claim", release: "release"}.get(verb, "database"), begin)
        return result


class NotingLoop(asyncio.SelectorEventLoop):
    """Notes every subprocess, from before its fork until its end is known."""

    notes: Notes

    async def subprocess_exec(self, protocol_factory: Any, *command: Any, **options: Any) -> Any:  # type: ignore[override]
        """See the base class."""
        begin = time.time_ns()
        kind = "git" if Path(command[0]).name == "git" else "supervisor"

        def noting() -> asyncio.SubprocessProtocol:
            protocol = protocol_factory()
            told = protocol.process_exited

            def exited() -> None:
                self.notes.note(kind, begin)
                told()

            protocol.process_exited = exited
            return protocol

        return await super().subprocess_exec(noting, *command, **options)


class NotingPolicy(asyncio.DefaultEventLoopPolicy):
    """Makes loops that note."""

    _loop_factory = NotingLoop


async def work(settings: Settings, redactor: Redactor) -> None:
    """Run the worker."""
    async with open_runtime(settings, "worker", redactor=redactor) as runtime:
        noted = replace(runtime, flow=NotingFlow(runtime, NotingLoop.notes))
        await run_worker(noted, stop_on_signals(), allow_local=True)


async def measured(folder: Path, redis_url: str) -> list[Row]:
    """Steps one by one, each in a run of its own: from the POST that runs it to the commit of its result."""
    notes = folder / "spans"
    environment = stage.environment(folder, redis_url)
    Path(environment["DEKSDENFLOW_CODEX_BIN"]).write_text(
        STUB % (msgspec.json.encode(msgspec.json.encode(ANSWER).decode()).decode(), notes)
    )
    worker = {**environment, "PATH": os.environ["PATH"], "HOME": str(folder), "BENCH_NOTES": str(notes)}
    with stage.process([sys.executable, "-m", "bench.step"], worker, stage.ROOT, folder / "step.log"):
        async with (
            Service("api", environment, folder) as api,
            httpx.AsyncClient(base_url=api.url, headers=dict(stage.AUTHORIZED), timeout=30) as client,
        ):
            project = {"name": "bench", "git_url": str(stage.make_repository(folder)), "base_branch": "main"}
            await ask(client, "POST", "/projects", project)
            await until(lambda jobs: all(job["status"] == "succeeded" for job in jobs), client, "/queues/jobs")
            steps = [await _one(client, number, notes) for number in range(STEPS)]
    return _rows(steps[1:])  # the first one finds out what the others know


async def _one(client: httpx.AsyncClient, number: int, notes: Path) -> dict[str, float]:
    run = await ask(client, "POST", "/projects/1/protocols", {"description": f"step {number}"})
    step = await ask(client, "POST", f"/protocols/{run['id']}/steps", {"step_name": "One", "step_type": "work"})
    await ask(client, "POST", f"/protocols/{run['id']}/actions/start", {"plan": False})
    before = len(notes.read_text().splitlines())
    posted = time.time_ns()
    await ask(client, "POST", f"/steps/{step['id']}/actions/run")
    done = await until(lambda each: each["status"] in {"needs_qa", "failed"}, client, f"/steps/{step['id']}")
    if done["status"] == "failed":
        raise RuntimeError(f"the step failed: {await ask(client, 'GET', '/queues/jobs?limit=1')}")
    spans = _spans(notes, before)
    while not any(span.kind == "release" for span in spans):  # noted just after everybody can see it
        await asyncio.sleep(0.01)
        spans = _spans(notes, before)
    claimed = next(span for span in spans if span.kind == "claim")
    released = next(span for span in spans if span.kind == "release")
    whole = Span(posted, released.end)
    # What goes on at the same time is counted once, for the first of these.
    kinds = {
        "git": {"git"},
        "agent": {"agent"},
        "until it is claimed": {"claim"},
        "transactions after that": {"database", "release"},
        "supervisor's start and end": {"supervisor"},
    }
    spans.append(Span(posted, claimed.end, "claim"))
    parts: dict[str, float] = {}
    seen: list[Span] = []
    for name, kind in kinds.items():
        seen += [span for span in spans if span.kind in kind]
        parts[name] = _covered(seen, within=whole) - sum(parts.values())
    parts["the worker itself: files, /proc, events"] = _covered([whole], within=whole) - sum(parts.values())
    return parts


def _spans(notes: Path, before: int) -> list[Span]:
    lines = (line.split() for line in notes.read_text().splitlines()[before:])
    return [Span(int(begin), int(end), kind) for kind, begin, end in lines]


def _covered(spans: Sequence[Span], *, within: Span) -> float:
    """How many milliseconds of a span are covered by others, however they overlap."""
    covered, reached = 0, within.begin
    for span in sorted(spans):
        begin, end = max(span.begin, reached), min(span.end, within.end)
        if end > begin:
            covered, reached = covered + end - begin, end
    return covered / 1e6


def _rows(steps: Sequence[dict[str, float]]) -> list[Row]:
    typical = {name: statistics.median(step[name] for step in steps) for name in steps[0]}
    whole = statistics.median(sum(step.values()) for step in steps)
    rest = statistics.median(sum(step.values()) - step["git"] - step["agent"] for step in steps)
    git, agent = typical.pop("git"), typical.pop("agent")
    return [
        Row(
            "a step beyond Codex and git",
            f"median {rest:.0f} ms",
            f"of {whole:.0f} ms, with git's {git:.0f} ms and {agent:.0f} ms of a small agent",
            f"under {TARGET_MS} ms",
            rest < TARGET_MS,
        ),
        *(Row(f"  {name}", f"{part:.1f} ms") for name, part in typical.items()),
    ]


if __name__ == "__main__":
    NotingLoop.notes = Notes(Path(os.environ["BENCH_NOTES"]))
    asyncio.set_event_loop_policy(NotingPolicy())
    sys.exit(run_service(work))
