"""The storm would see what it looks for."""

import fcntl
import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from shared.workflow import line
from shared.workflow.protocols import cancel_protocol, pause_protocol, resume_protocol, run_next_step
from tests.chaos.controls import KINDS
from tests.chaos.house import missed
from tests.chaos.names import all_points
from tests.chaos.runs import STEPS, Run
from tests.chaos.storm import FAULTS
from tests.chaos.verdict import all_four, commits, held, rows_of
from tests.fakes import codex_fake
from tests.shared.workflow.ground import Ground
from tests.worker.git.stage import Origin


def test_an_agent_that_finds_another_one_in_its_worktree_tells(tmp_path: Path) -> None:
    for name in ("agents", "overlaps", "journal", "home", "tree"):
        (tmp_path / name).mkdir()
    (tmp_path / "home" / "config.toml").write_text('model = "fake"\n')
    tree = tmp_path / "tree"
    lock = tmp_path / "agents" / hashlib.sha256(os.fsencode(tree.resolve())).hexdigest()[:16]
    command = [sys.executable, "-I", "-S", codex_fake.__file__, "works", str(tmp_path), "/bin/false", "-C", str(tree)]
    environment = {"CODEX_HOME": str(tmp_path / "home"), "DEKSDENFLOW_RUN": "test:1/3"}  # one that leaves no grandchild

    def run() -> list[Path]:
        prompt = "DeksdenFlow request: plan"
        subprocess.run(command, env=environment, input=prompt, text=True, capture_output=True, check=True, timeout=60)
        return list((tmp_path / "overlaps").iterdir())

    assert not run()
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert len(run()) == 1


def a_run(origin: Path, told: dict[str, int] | None = None, steps: dict[int, Counter[str]] | None = None) -> Run:
    return Run(
        number=1,
        real=False,
        by_hand=False,
        project_id=1,
        protocol_id=1,
        branch="0001-x",
        origin=origin,
        told=Counter(told or {}),
        steps=steps or {},
    )


def begins(ground: Ground, protocol_id: int) -> None:
    """As if a worker had started a step without asking anybody."""
    ground.sql(
        "INSERT INTO events (protocol_id, event_type, entity, actor, metadata, created_at)"
        " VALUES (?, 'step_started', 'job', 'w', '{}', ?)",
        protocol_id,
        ground.now,
    )


def test_a_start_while_the_line_is_stopped_is_seen() -> None:
    ground = Ground()
    protocol = ground.planned(STEPS)
    ground.run(line.stop_line)
    assert not held(ground.tx)
    begins(ground, protocol.id)
    (wrong,) = held(ground.tx)
    assert "the line was stopped" in wrong
    ground.run(line.resume_line)
    begins(ground, protocol.id)
    assert len(held(ground.tx)) == 1, "what starts after it is fine"


def test_a_start_while_its_protocol_is_paused_is_seen() -> None:
    ground = Ground()
    paused, other = ground.planned(STEPS), ground.planned(STEPS)
    ground.run(pause_protocol, paused.id)
    begins(ground, other.id)
    assert not held(ground.tx)
    begins(ground, paused.id)
    (wrong,) = held(ground.tx)
    assert "it was paused" in wrong
    ground.run(resume_protocol, paused.id)
    begins(ground, paused.id)
    assert len(held(ground.tx)) == 1


def test_a_cancelled_run_needs_no_execution_but_nothing_may_go_on(tmp_path: Path) -> None:
    ground = Ground()
    protocol = ground.planned(STEPS)
    ground.run(run_next_step, protocol.id)
    claim = ground.claim(protocol.id)
    ground.run(cancel_protocol, protocol.id)
    run = a_run(tmp_path, {"cancel run": 1})
    assert [wrong.split()[:2] for wrong in rows_of(ground.tx, run, "cancelled")] == [
        ["open", "jobs"],
        ["open", "attempts"],
    ]
    ground.end(claim, ground.executed_well())
    assert rows_of(ground.tx, run, "cancelled") == []
    begins(ground, protocol.id)
    (wrong,) = rows_of(ground.tx, run, "cancelled")
    assert "after the cancel came" in wrong


def test_each_step_owes_one_execution_but_for_what_was_said_of_it(tmp_path: Path) -> None:
    ground = Ground()
    step = ground.executed(STEPS)
    assert len(rows_of(ground.tx, a_run(tmp_path), ground.of(step).status)) == STEPS - 1
    skipped = {index: Counter({"skip step": 1}) for index in range(2, STEPS + 1)}
    run = a_run(tmp_path, steps=skipped)
    assert rows_of(ground.tx, run, ground.of(step).status) == []
    assert not all_four(run, "completed")
    again = a_run(tmp_path, steps=skipped | {1: Counter({"reject step": 1})})
    (wrong,) = rows_of(ground.tx, again, ground.of(step).status)
    assert "not 2 to 2" in wrong


def test_a_commit_that_nobody_accepted_is_seen_unless_something_was_cancelled(tmp_path: Path) -> None:
    origin = Origin(tmp_path / "origin")
    origin.commit({"a": "a"})
    origin.commit({"plan": "p"}, branch="0001-x", message="docs: plan [protocol-0001/00]")
    shas = [
        origin.commit(
            {f"step-{index:02d}.txt": "whole"}, branch="0001-x", message=f"feat: do [protocol-0001/{index:02d}]"
        )
        for index in range(1, STEPS + 1)
    ]
    accepted = list(enumerate(shas, start=1))
    assert not list(commits(a_run(origin.bare), "completed", accepted))
    assert list(commits(a_run(origin.bare), "completed", accepted[:-1]))
    assert list(commits(a_run(origin.bare), "completed", [accepted[1], accepted[0], *accepted[2:]]))
    assert not list(commits(a_run(origin.bare, {"cancel run": 1}), "cancelled", accepted[:-1]))
    assert list(commits(a_run(origin.bare, {"cancel run": 1}), "cancelled", accepted[:-2])), "one too many"


def test_what_the_long_storm_did_not_reach_is_named() -> None:
    fired, controls, faults = (Counter(dict.fromkeys(names, 1)) for names in (all_points(), KINDS, FAULTS))
    assert missed(fired, controls, faults, ()) == []
    assert missed(fired, controls, faults, ["pump_due"]) == [
        "the failpoint pump_due is within reach: take it off the list"
    ]
    del fired["once_rung"], controls["cancel run"], faults["clock"]
    assert missed(fired, controls, faults, ()) == [
        "nobody died at the failpoint once_rung",
        "nobody did this: cancel run",
        "this did not happen: clock",
    ]
    assert len(missed(fired, controls, faults, ["once_rung"])) == 2
