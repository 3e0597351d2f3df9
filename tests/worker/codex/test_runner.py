"""One run of Codex: what comes back, what is kept, and that nothing survives it."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from services.local.scripted_model import ScriptedModel
from services.worker.codex.config import Mode, Sandbox
from services.worker.codex.leftovers import RunMarker
from services.worker.codex.request import CodexFailed
from services.worker.codex.runner import run_codex
from shared.errors import Category, JobError
from shared.schemas.codex_events import CommandExecution, ItemStarted, ThreadStarted, Unknown, Usage
from tests.waiting import eventually
from tests.worker.codex.ground import ANSWER, SCHEMA, Ground, Heard, alive, needs_sandbox, script

CHANGE = {"command": "printf 'def add(a, b):\\n    return a + b\\n' > calc.py"}
DONE = {"answer": ANSWER, "usage": {"input_tokens": 100, "cached_input_tokens": 40, "output_tokens": 10}}


async def test_a_turn_gives_its_answer_its_thread_and_what_it_used(ground: Ground, heard: Heard) -> None:
    async with ScriptedModel(script(CHANGE | {"usage": {"input_tokens": 50}}, DONE)) as model:
        result = await run_codex(ground.request(model.base_url), on_event=heard)
    assert json.loads(result.message) == ANSWER
    assert (result.rc, result.commands, result.usage.input_tokens, result.usage.cached_input_tokens) == (0, 1, 150, 40)
    assert heard.events[0] == ThreadStarted(result.thread_id or "")
    assert "a + b" in (ground.worktree / "calc.py").read_text()
    asked = model.requests[0].asked
    assert asked is not None
    assert b'"strict":true' in model.requests[0].body
    assert ground.lock_is_free()


async def test_a_thread_is_resumed_in_a_later_attempt_and_pays_only_for_itself(ground: Ground, heard: Heard) -> None:
    async with ScriptedModel(script(DONE, DONE)) as model:
        first_request = ground.request(model.base_url)
        first = await run_codex(first_request, on_event=heard)
        second = await run_codex(
            ground.request(
                model.base_url,
                prompt="Once more.",
                thread_id=first.thread_id,
                resume_from=first_request.attempt_dir,
                usage_before=first.usage_total,
            ),
            on_event=heard,
        )
    assert second.thread_id == first.thread_id
    assert second.usage == first.usage
    assert second.usage_total.input_tokens == 200
    assert b"Once more." in model.requests[1].body
    assert b"Do it." in model.requests[1].body


async def test_a_thread_whose_record_is_gone_is_a_lost_session(ground: Ground, heard: Heard) -> None:
    with pytest.raises(JobError) as caught:
        await run_codex(ground.request(thread_id="01a202d1-e232-7da0-a02a-b4a1e690703d"), on_event=heard)
    assert caught.value.category is Category.SESSION_LOST


async def test_what_is_kept_is_redacted(ground: Ground, heard: Heard) -> None:
    async with ScriptedModel(script({"command": "echo hunter2"}, {"answer": {"summary": "hunter2"}})) as model:
        request = ground.request(model.base_url, prompt="The secret is hunter2.")
        result = await run_codex(request, on_event=heard, redact=lambda text: text.replace("hunter2", "[redacted]"))
    assert json.loads(result.message) == {"summary": "[redacted]"}
    kept = [path for path in request.attempt_dir.iterdir() if path.is_file()]
    assert {path.name for path in kept} >= {"prompt.md", "events.jsonl", "stderr.txt", "exit.json"}
    assert not [path.name for path in kept if b"hunter2" in path.read_bytes()]


async def test_only_the_config_and_the_sessions_stay_of_codex_home(ground: Ground, heard: Heard) -> None:
    async with ScriptedModel(script(DONE)) as model:
        request = ground.request(model.base_url)
        await run_codex(request, on_event=heard)
    assert {path.name for path in (request.attempt_dir / "codex_home").iterdir()} == {"config.toml", "sessions"}
    assert not (request.attempt_dir / "tmp").exists()


@pytest.mark.parametrize(
    ("turn", "category"),
    [
        ({"error": {"status": 401, "message": "bad key"}}, Category.AUTH),
        ({"error": {"status": 404, "message": "no such model"}}, Category.CONFIG),
        ({"error": {"status": 400, "message": "no"}}, Category.BAD_REQUEST),
        ({"error": {"status": 429, "headers": {"retry-after": "0"}}}, Category.RATE_LIMITED),
        ({"error": {"status": 429, "code": "insufficient_quota"}}, Category.QUOTA),
        ({"error": {"status": 500}}, Category.UPSTREAM),
        ({"failed": {"code": "context_length_exceeded"}}, Category.TOO_LONG),
        ({"incomplete": "max_output_tokens"}, Category.TOO_LONG),
        ({"cut": 1}, Category.NETWORK),
        ({"garbage": "not_http"}, Category.NETWORK),
        ({"garbage": "bad_event"}, Category.NETWORK),
        ({"garbage": "bad_item"}, Category.NO_ANSWER),
    ],
    ids=lambda value: value if isinstance(value, Category) else "+".join(map(str, value.values())),
)
async def test_what_the_model_service_does_wrong_has_a_category(
    ground: Ground, heard: Heard, turn: dict[str, object], category: Category
) -> None:
    async with ScriptedModel(script(turn | {"times": "always"})) as model:
        with pytest.raises(CodexFailed) as caught:
            await run_codex(ground.request(model.base_url), on_event=heard)
    assert caught.value.category is category
    assert caught.value.result.thread_id


async def test_a_service_that_is_not_there_is_a_network_failure_and_not_a_wait(ground: Ground, heard: Heard) -> None:
    with pytest.raises(CodexFailed) as caught:
        await run_codex(ground.request("http://127.0.0.1:9/v1"), on_event=heard)
    assert caught.value.category is Category.NETWORK


@pytest.mark.parametrize("hang", ["before_headers", "after_headers"])
async def test_a_service_that_says_nothing_is_cut_off(ground: Ground, heard: Heard, hang: str) -> None:
    async with ScriptedModel(script({"hang": hang, "times": "always"})) as model:
        with pytest.raises(CodexFailed) as caught:
            await run_codex(ground.request(model.base_url, silence_timeout_s=1.5), on_event=heard)
    assert caught.value.category is Category.SILENCE


async def test_the_time_limit_of_the_step_cuts_off_a_run_that_talks(ground: Ground, heard: Heard) -> None:
    async with ScriptedModel(script(*[{"command": "sleep 0.2"}] * 30, DONE)) as model:
        with pytest.raises(CodexFailed) as caught:
            await run_codex(ground.request(model.base_url, step_timeout_s=1.5), on_event=heard)
    assert caught.value.category is Category.TIMEOUT
    assert caught.value.result.commands > 0


async def test_no_key_and_no_gateway_is_an_error_before_anything_starts(ground: Ground, heard: Heard) -> None:
    with pytest.raises(JobError) as caught:
        await run_codex(ground.request(base_url=None, api_key=None), on_event=heard)
    assert caught.value.category is Category.AUTH
    assert heard.events == []


async def test_a_prompt_that_is_too_long_says_so(ground: Ground, heard: Heard) -> None:
    with pytest.raises(CodexFailed) as caught:
        await run_codex(ground.request(prompt="x" * 1_100_000), on_event=heard)
    assert caught.value.category is Category.PROMPT_TOO_LARGE


async def test_stopping_ends_a_command_of_the_agent_and_its_detached_child(ground: Ground, heard: Heard) -> None:
    stop = asyncio.Event()
    command = "setsid sleep 4711 & echo $! > pids; sleep 4712"
    async with ScriptedModel(script({"command": command}, DONE)) as model:
        request = ground.request(model.base_url, sandbox=Sandbox.OFF)
        running = asyncio.create_task(run_codex(request, on_event=heard, stop=stop))
        await heard.wait_for(lambda event: isinstance(event, ItemStarted) and isinstance(event.item, CommandExecution))
        await eventually(lambda: _has_content(ground.worktree / "pids"))
        detached = int((ground.worktree / "pids").read_text())
        assert alive(detached)
        stop.set()
        with pytest.raises(CodexFailed) as caught:
            await running
    assert caught.value.category is Category.CANCELLED
    assert not alive(detached)
    assert ground.lock_is_free()


async def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


@pytest.mark.parametrize("way", ["stop", "cancel"])
async def test_a_tree_that_ignores_requests_to_end_is_killed(ground: Ground, heard: Heard, way: str) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(run_codex(ground.request(binary=ground.fake("stubborn")), on_event=heard, stop=stop))
    pids = await heard.pids()
    assert set(pids) == {"codex", "child", "session", "orphan"}
    assert all(map(alive, pids.values()))
    if way == "stop":
        stop.set()
    else:
        running.cancel()
    with pytest.raises((CodexFailed, asyncio.CancelledError)):
        await running
    assert not [name for name, pid in pids.items() if alive(pid)]
    assert ground.lock_is_free()


async def test_a_second_cancellation_does_not_cut_the_clean_up_short(ground: Ground, heard: Heard) -> None:
    running = asyncio.create_task(run_codex(ground.request(binary=ground.fake("stubborn")), on_event=heard))
    pids = await heard.pids()
    running.cancel()
    while not running.done():
        await asyncio.sleep(0.05)
        running.cancel()
    assert running.cancelled()
    assert not [name for name, pid in pids.items() if alive(pid)]


async def test_a_worker_that_is_killed_takes_its_agent_with_it(ground: Ground, tmp_path: Path) -> None:
    program = tmp_path / "worker.py"
    program.write_text(_WORKER)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(program),
        str(ground.root),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    pids = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    assert not ground.lock_is_free()
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()

    async def everybody_is_dead() -> bool:
        return not any(map(alive, pids.values())) and ground.lock_is_free()

    await eventually(everybody_is_dead)


_WORKER = """
import asyncio, json, sys
from pathlib import Path
from tests.worker.codex.ground import Ground, Heard
from services.worker.codex.runner import run_codex

async def main(root):
    ground = Ground.__new__(Ground)
    ground.__dict__.update(root=root, mirror=root / "repos/1.git", worktree=root / "trees/1",
                           lock_file=root / "trees/1.lock", _attempts=0)
    heard = Heard()
    running = asyncio.create_task(run_codex(ground.request(binary=ground.fake("stubborn")), on_event=heard))
    print(json.dumps(await heard.pids()), flush=True)
    await running

asyncio.run(main(Path(sys.argv[1])))
"""


async def test_a_listener_that_fails_ends_the_run(ground: Ground, heard: Heard) -> None:
    async def fails_later(event: object) -> None:
        await heard(event)  # pyright: ignore[reportArgumentType]
        if len(heard.events) > 1:
            raise RuntimeError("the database is gone")

    with pytest.raises(RuntimeError, match="the database is gone"):
        await run_codex(ground.request(binary=ground.fake("stubborn")), on_event=fails_later)
    assert not [pid for pid in (await heard.pids()).values() if alive(pid)]


async def test_a_process_that_outlives_a_good_end_is_killed_too(ground: Ground, heard: Heard) -> None:
    result = await run_codex(ground.request(binary=ground.fake("leaves_a_daemon")), on_event=heard)
    assert json.loads(result.message) == {"summary": "fake"}
    assert not alive((await heard.pids())["orphan"])


async def test_of_two_runs_in_one_worktree_the_second_is_told_to_wait(ground: Ground, heard: Heard) -> None:
    stop = asyncio.Event()
    first = asyncio.create_task(run_codex(ground.request(binary=ground.fake("stubborn")), on_event=heard, stop=stop))
    await heard.pids()
    other = ground.request(binary=ground.fake("stubborn"), marker=RunMarker(ground.root.name, 8, 1))
    with pytest.raises(CodexFailed) as caught:
        await run_codex(other, on_event=Heard())
    assert caught.value.category is Category.BUSY
    stop.set()
    with pytest.raises(CodexFailed):
        await first


async def test_a_new_attempt_kills_what_an_earlier_one_of_its_job_left(ground: Ground, heard: Heard) -> None:
    first = asyncio.create_task(run_codex(ground.request(binary=ground.fake("stubborn")), on_event=heard))
    pids = await heard.pids()
    result = await run_codex(ground.request(binary=ground.fake("works_silently")), on_event=Heard())
    assert result.rc == 0
    assert not [pid for pid in pids.values() if alive(pid)]
    with pytest.raises(CodexFailed) as caught:
        await first
    assert caught.value.category is Category.LOST


async def test_a_run_whose_supervisor_is_killed_is_lost_at_once_and_leaves_nobody(ground: Ground, heard: Heard) -> None:
    running = asyncio.create_task(run_codex(ground.request(binary=ground.fake("stubborn")), on_event=heard))
    pids = await heard.pids()
    supervisor = int(Path(f"/proc/{pids['codex']}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(supervisor, signal.SIGKILL)
    with pytest.raises(CodexFailed) as caught:
        await asyncio.wait_for(running, 10)
    assert caught.value.category is Category.LOST
    assert not [name for name, pid in pids.items() if alive(pid)]


async def test_a_run_that_failed_still_tells_what_it_used(ground: Ground, heard: Heard) -> None:
    paid = {"command": "echo hi", "usage": {"input_tokens": 70, "output_tokens": 7}}
    async with ScriptedModel(script(paid, {"error": {"status": 401}, "times": "always"})) as model:
        with pytest.raises(CodexFailed) as caught:
            await run_codex(ground.request(model.base_url), on_event=heard)
    assert caught.value.result.usage == Usage(input_tokens=70, output_tokens=7)


@pytest.mark.parametrize("model_name", ["mock-model", "gpt-5.5", "gpt-6-sol"])
async def test_every_tool_protocol_can_run_commands_and_patch(ground: Ground, heard: Heard, model_name: str) -> None:
    patch = "*** Begin Patch\n*** Add File: new.txt\n+hello\n*** End Patch"
    async with ScriptedModel(script({"command": "echo hi > shell.txt"}, {"patch": patch}, DONE)) as model:
        result = await run_codex(ground.request(model.base_url, model=model_name), on_event=heard)
    assert json.loads(result.message) == ANSWER
    assert (ground.worktree / "shell.txt").read_text() == "hi\n"
    assert (ground.worktree / "new.txt").read_text() == "hello\n"
    assert result.file_changes == 1


async def test_folders_of_any_depth_do_not_stop_the_tidying(ground: Ground, heard: Heard) -> None:
    deep = "cd $TMPDIR && mkdir -p $(printf 'd/%.0s' $(seq 1100)) && chmod 0 d && echo dug"
    async with ScriptedModel(script({"command": deep}, DONE)) as model:
        request = ground.request(model.base_url)
        await run_codex(request, on_event=heard)
    assert b"dug" in model.requests[-1].body
    assert not (request.attempt_dir / "tmp").exists()
    assert not (request.attempt_dir / "rubbish").exists()


async def test_a_line_that_is_too_long_is_dropped_and_told(ground: Ground, heard: Heard) -> None:
    request = ground.request(binary=ground.fake("endless_line"))
    result = await run_codex(request, on_event=heard)
    assert json.loads(result.message) == {"summary": "fake"}
    assert Unknown(f"line of {40 << 20} bytes dropped") in heard.events
    assert (request.attempt_dir / "events.jsonl").stat().st_size < 10_000


async def test_bytes_that_are_no_events_do_no_harm(ground: Ground, heard: Heard) -> None:
    result = await run_codex(ground.request(binary=ground.fake("garbage")), on_event=heard)
    assert json.loads(result.message) == {"summary": "fake"}
    assert Unknown("from.the.future") in heard.events


async def test_stderr_is_capped_and_its_tail_comes_with_the_failure(ground: Ground, heard: Heard) -> None:
    request = ground.request(binary=ground.fake("noisy"))
    with pytest.raises(CodexFailed) as caught:
        await run_codex(request, on_event=heard, redact=lambda text: text.replace("sk-test-key", "[redacted]"))
    assert "line 99999 of many, with [redacted]" in caught.value.stderr_tail
    assert len(caught.value.stderr_tail) <= 4000
    assert (request.attempt_dir / "stderr.txt").stat().st_size < (1 << 20) + 100


@pytest.mark.parametrize(("mode", "category"), [("panic", Category.CRASH), ("dies", Category.KILLED)])
async def test_a_crash_and_a_kill_have_their_categories(
    ground: Ground, heard: Heard, mode: str, category: Category
) -> None:
    with pytest.raises(CodexFailed) as caught:
        await run_codex(ground.request(binary=ground.fake(mode)), on_event=heard)
    assert caught.value.category is category
    assert caught.value.result.thread_id == "fake-thread"


async def test_a_binary_that_cannot_be_started_says_so(ground: Ground, heard: Heard) -> None:
    with pytest.raises(CodexFailed) as caught:
        await run_codex(ground.request(binary=ground.root / "nothing"), on_event=heard)
    assert caught.value.category is Category.CODEX_MISSING


async def test_silence_while_a_command_runs_is_the_commands_own(ground: Ground, heard: Heard) -> None:
    request = ground.request(binary=ground.fake("works_silently"), silence_timeout_s=0.5)
    assert (await run_codex(request, on_event=heard)).rc == 0


@needs_sandbox
async def test_a_reading_run_changes_nothing(ground: Ground, heard: Heard) -> None:
    async with ScriptedModel(script(CHANGE, DONE)) as model:
        await run_codex(ground.request(model.base_url, mode=Mode.READ, output_schema=SCHEMA), on_event=heard)
    assert ground.git("-C", str(ground.worktree), "status", "--porcelain") == ""
