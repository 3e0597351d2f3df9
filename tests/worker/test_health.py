"""The worker's page: whether it can do its work, what is missing, and what it has done."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec

from services.worker.arq_loop import WakingWorker
from services.worker.health import _loop_check
from services.worker.jobs.footing import save_leftovers
from services.worker.reconcile import Ownership, Reconciler
from services.worker.service import run_worker
from shared.secret import Secret
from shared.workflow.protocols import run_next_step
from shared.workflow.unit import Caller
from tests.e2e.house import addition, answered, done
from tests.waiting import eventually
from tests.worker.codex.ground import CODEX, FAKE, needs_sandbox
from tests.worker.workshop import Workshop, open_workshop

TOKEN = "an-admin-token-for-tests-only"


@asynccontextmanager
async def page(shop: Workshop, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a running worker's page."""
    changed = msgspec.structs.replace(shop.runtime.settings, **({"worker_port": 0} | settings))
    stop, bound = asyncio.Event(), asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        runtime = msgspec.structs.replace(shop.runtime, settings=changed)
        group.create_task(run_worker(runtime, stop, allow_local=True, bound=bound.set_result))
        try:
            async with httpx.AsyncClient(base_url=await bound, timeout=10) as client:
                yield client
        finally:
            stop.set()


def program(folder: Path, mode: str) -> Path:
    """A program that answers to `--version` as Codex does, and to all else as the fake in this mode."""
    path = folder / "codex"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {FAKE} {mode} "$@"\n')
    path.chmod(0o755)
    return path


async def readiness(client: httpx.AsyncClient) -> tuple[int, dict[str, Any]]:
    answer = await client.get("/health/ready")
    return answer.status_code, answer.json()["checks"]


@needs_sandbox
async def test_a_worker_is_ready_when_codex_its_sandbox_and_both_loops_work(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop, page(shop) as client:

        async def ready() -> bool:
            return (await readiness(client))[0] == 200

        await eventually(ready)
        _, checks = await readiness(client)
        assert checks["codex"]["detail"].startswith("codex 0.163.0")
        assert checks["codex"]["detail"].endswith("sandbox required")
        assert checks["loop"] == {"ok": True}
        assert (await client.get("/health")).json() == {"status": "ok"}


async def test_without_codex_the_worker_lives_is_not_ready_and_says_how_to_install_it(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop, page(shop, codex_bin=ground_floor / "codex") as client:
        assert (await client.get("/health")).status_code == 200
        status, checks = await readiness(client)
        assert status == 503
        assert "codex_missing" in checks["codex"]["detail"]
        assert "pip install openai-codex-cli-bin" in checks["codex"]["detail"]


@needs_sandbox
async def test_without_a_sandbox_the_worker_is_not_ready_until_it_was_put_right(ground_floor: Path) -> None:
    broken = program(ground_floor, "no_sandbox")
    async with open_workshop(ground_floor) as shop, page(shop, codex_bin=broken, codex_sandbox="required") as client:
        status, checks = await readiness(client)
        assert status == 503
        assert "sandbox_missing" in checks["codex"]["detail"]
        assert "deploy/seccomp-worker.json" in checks["codex"]["detail"]
        broken.write_text(f'#!/bin/sh\nexec {CODEX} "$@"\n')
        _, checks = await readiness(client)
        assert checks["codex"]["ok"]


async def test_a_queue_that_was_not_read_for_a_while_is_told(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:

        async def nothing(job_id: int, dispatch: int) -> None: ...

        loop = WakingWorker(shop.runtime.queue, nothing, slots=1)
        ownership = Ownership(shop.workspaces / "workers", "me")
        reconciler = Reconciler(
            shop.runtime.flow,
            Caller("me"),
            ownership,
            live=(),
            marker=shop.doors.agent.marker_of,
            save=partial(save_leftovers, shop.doors),
        )
        check = _loop_check(loop, reconciler)
        assert (await check()).detail == "the reconcile loop stands still"
        reconciler.last_tick = asyncio.get_running_loop().time()
        assert "the queue was not read" in ((await check()).detail or "")
        loop.last_tick = reconciler.last_tick
        assert (await check()).ok
        ownership.close()
        await loop.close()


async def test_what_was_done_is_counted_and_shown_to_who_has_the_token(ground_floor: Path) -> None:
    play = answered("execute step 01", done(), addition("greeting.txt", ["hello"]))
    async with open_workshop(ground_floor, play, model_exec="the-model") as shop:
        await shop.open("Greet")
        await shop.call(run_next_step, 1)
        async with page(shop, api_token=Secret(TOKEN), worker_host="127.0.0.1") as client:
            assert (await client.get("/metrics")).status_code == 401
            await shop.until("SELECT id FROM step_runs WHERE status = 'needs_qa'")

            ended = '{job_type="execute_step_job",status="succeeded"}'

            async def told() -> str | None:
                text = (await client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})).text
                return text if f"jobs_processed_total{ended} 1.0" in text else None

            text = await eventually(told)
            assert 'jobs_duration_seconds_count{job_type="execute_step_job"} 1.0' in text
            (attempt,) = await shop.attempts()
            counted = f'model="the-model"}} {attempt["input_tokens"]:.1f}'
            assert f'codex_tokens_total{{job_type="execute_step_job",kind="input",{counted}' in text
