"""What the real Codex tells of a failure, and what becomes of the step: tried again, parked, or blocked with advice."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.repository import holds
from shared.workflow.line import lift_ended
from shared.workflow.protocols import run_next_step
from tests.e2e.house import addition, answered, conversation, done
from tests.worker.workshop import WAIT, Workshop, open_workshop

FIRST = "execute step 01"
HELLO = addition("greeting.txt", ["hello"])
TOO_MUCH = "x" * 1_100_000


def always(**fault: Any) -> dict[str, Any]:
    return {**fault, "times": "always"}


def used_up(resets_at: datetime | None) -> dict[str, Any]:
    """What OpenAI answers when the usage limit of a plan is reached."""
    told = {} if resets_at is None else {"resets_at": int(resets_at.timestamp())}
    error = {"type": "usage_limit_reached", "message": "limit", "plan_type": "pro"} | told
    return always(error={"status": 429, "body": json.dumps({"error": error})})


HOPELESS = [
    pytest.param(always(error={"status": 403}), "auth", "DEKSDENFLOW_CODEX_API_KEY", id="403"),
    pytest.param(always(error={"status": 404}), "config", "DEKSDENFLOW_MODEL_BASE_URL", id="404"),
    pytest.param(always(error={"status": 400}), "bad_request", "the model's name", id="400"),
    pytest.param(always(failed={"code": "context_length_exceeded"}), "too_long", "Split the step", id="context"),
    pytest.param(always(message="so far", incomplete="max_output_tokens"), "too_long", "Split the step", id="output"),
]


@pytest.mark.parametrize(("fault", "category", "advice"), HOPELESS)
async def test_what_no_retry_can_help_blocks_the_protocol_and_says_what_to_do(
    ground_floor: Path, fault: dict[str, Any], category: str, advice: str
) -> None:
    async with open_workshop(ground_floor, conversation(FIRST, fault)) as shop:
        await shop.open("Greet")
        await blocked(shop, category, advice)


async def test_a_prompt_that_codex_does_not_accept_is_not_sent_again(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        await shop.open("Greet", instructions=TOO_MUCH)
        await blocked(shop, "prompt_too_large", "Split the step")
        assert shop.model.requests == []


async def blocked(shop: Workshop, category: str, advice: str) -> None:
    step = await shop.execute()
    assert (step.status, step.reason) == ("failed", category)
    assert ((await shop.protocol()).status, (await shop.protocol()).reason) == ("blocked", "step_failed")
    assert len(await shop.attempts()) == 1
    assert not await shop.events("job_retry_scheduled")
    for event in (await shop.event("job_failed"), await shop.event("step_failed")):
        assert event.reason == category
        assert advice in event.metadata["message"]


PASSING = [
    pytest.param(always(error={"status": 503}), {}, "upstream", "tried again", id="503"),
    pytest.param(always(cut=1), {}, "network", "DEKSDENFLOW_MODEL_BASE_URL", id="cut"),
    pytest.param(
        always(hang="after_headers"),
        {"silence_timeout_s": 1.5},
        "silence",
        "DEKSDENFLOW_SILENCE_TIMEOUT_S",
        id="silent",
    ),
    pytest.param(WAIT, {"step_timeout_s": 3}, "timeout", "DEKSDENFLOW_STEP_TIMEOUT_S", id="endless"),
]


@pytest.mark.parametrize(("fault", "settings", "category", "advice"), PASSING)
async def test_what_may_pass_is_tried_again_after_a_while_and_the_step_says_why_it_waits(
    ground_floor: Path, fault: dict[str, Any], settings: dict[str, Any], category: str, advice: str
) -> None:
    async with open_workshop(ground_floor, conversation(FIRST, fault), **settings) as shop:
        await shop.open("Greet")
        step = await shop.execute()
        assert (step.status, step.phase, step.reason) == ("running", "backoff", category)
        scheduled = await shop.event("job_retry_scheduled")
        assert scheduled.reason == category
        assert advice in scheduled.metadata["message"]
        (job,) = await shop.jobs("execute_step_job")
        assert (job["state"], job["attempt"], job["category"]) == ("queued", 1, category)
        (attempt,) = await shop.attempts()
        assert (attempt["state"], attempt["category"]) == ("failed", category)


async def test_a_step_that_is_always_too_slow_fails_for_that_reason(ground_floor: Path) -> None:
    async with open_workshop(ground_floor, conversation(FIRST, WAIT), step_timeout_s=3, max_attempts=1) as shop:
        await shop.open("Greet")
        await blocked(shop, "timeout", "DEKSDENFLOW_STEP_TIMEOUT_S")


async def test_a_quota_parks_the_work_until_the_time_that_codex_names_and_then_goes_on(ground_floor: Path) -> None:
    resets_at = datetime.now(UTC) + timedelta(hours=30)
    first = conversation(FIRST, used_up(resets_at))
    first["match"]["nth"] = 1
    async with open_workshop(ground_floor, first, answered(FIRST, done(), HELLO)) as shop:
        await shop.open("Greet")
        step = await shop.execute()
        assert (step.status, step.phase, step.reason) == ("running", "backoff", "quota")
        (hold,) = await shop.runtime.database.read(holds.in_force)
        assert timedelta(0) <= datetime.fromtimestamp((hold.until or 0) / 1000, UTC) - resets_at <= timedelta(minutes=1)
        assert "try again at" in hold.message
        shop.pass_time(29.9 * 3600)
        await shop.work()
        assert len(shop.model.requests) == 1
        shop.pass_time(0.2 * 3600)
        await shop.runtime.flow.run(shop.worker.caller, lift_ended)
        await shop.work()
        assert (await shop.step()).status == "needs_qa"
        (job,) = await shop.jobs("execute_step_job")
        assert (job["attempt"], job["continuations"]) == (1, 0)
        assert (await shop.event("quota_lifted")).metadata["credential"] == "login"


async def test_a_quota_of_which_codex_names_no_end_parks_for_a_quarter_of_an_hour(ground_floor: Path) -> None:
    async with open_workshop(ground_floor, conversation(FIRST, used_up(None))) as shop:
        await shop.open("Greet")
        await shop.call(run_next_step, 1)
        await shop.work()
        (hold,) = await shop.runtime.database.read(holds.in_force)
        assert (hold.until or 0) - hold.created_at == 15 * 60 * 1000
        assert (await shop.event("quota_parked")).reason == "quota"
