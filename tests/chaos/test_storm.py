"""The storm in a minute; `make chaos` is the long one."""

import pytest

from tests.chaos.house import Plan, weather

SHORT = Plan(seed=2026, runs=4, kills=10, real=2, at_once=4, every_s=0.6, patience_s=60)


@pytest.mark.timeout(240)
async def test_runs_end_completed_and_exactly_once_whatever_is_killed(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = await weather(SHORT, print)
    assert not outcome.wrong, "\n".join([f"seed {SHORT.seed}", *outcome.wrong])
    assert outcome.ended.total() >= SHORT.runs
    assert outcome.kills.total() >= SHORT.kills
    assert outcome.controls.total() > 0
