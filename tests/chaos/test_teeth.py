"""The storm would see what it looks for."""

import fcntl
import hashlib
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from shared.schemas.statuses import PullState
from shared.workflow import line
from shared.workflow.protocols import cancel_protocol, pause_protocol, resume_protocol, run_next_step
from tests.chaos import outside
from tests.chaos.controls import KINDS
from tests.chaos.house import missed
from tests.chaos.names import OUT_OF_REACH, all_points
from tests.chaos.outside import Outside, Place
from tests.chaos.runs import STEPS, Run
from tests.chaos.storm import FAULTS
from tests.chaos.verdict import all_four, at_forge, commits, held, rows_of, whole
from tests.fakes import codex_fake
from tests.fakes.forge import Asked, FakeForge
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
    kinds = (*FAULTS, *outside.KINDS)
    fired, controls, faults = (Counter(dict.fromkeys(names, 1)) for names in (all_points(), KINDS, kinds))
    assert missed(fired, controls, faults, ()) == []
    assert missed(fired, controls, faults, ["pump_due"]) == [
        "the failpoint pump_due is within reach: take it off the list"
    ]
    del fired["once_rung"], controls["cancel run"], faults["clock"], faults["PR merged"]
    assert missed(fired, controls, faults, ()) == [
        "nobody died at the failpoint once_rung",
        "nobody did this: cancel run",
        "this did not happen: clock",
        "this did not happen: PR merged",
    ]
    assert len(missed(fired, controls, faults, ["once_rung"])) == 3
    assert set(OUT_OF_REACH) <= set(all_points())


def a_place(folder: Path) -> tuple[FakeForge, Place]:
    forge = FakeForge(folder)
    place = Outside(forge, "http://127.0.0.1:1", random.Random(1)).place(2)
    place.repository.commit({"a": "a"}, branch="0001-x")
    return forge, place


def test_a_second_pr_and_a_second_comment_are_seen(tmp_path: Path) -> None:
    ground = Ground()
    run = a_run(tmp_path)
    ground.planned(STEPS)
    _, place = a_place(tmp_path)
    assert at_forge(ground.tx, run, place, "completed") == ["it has 0 PRs"]
    pull = place.repository.open("0001-x")
    place.repository.comment(1, "We are there.", mine=True)
    assert at_forge(ground.tx, run, place, "completed") == ["its PR is open at the forge, and None here"]
    ground.sql("UPDATE protocol_runs SET pr_number = 1, pr_state = ?", PullState.OPEN)
    assert at_forge(ground.tx, run, place, "completed") == []
    place.repository.comment(1, "We are there.", mine=True)
    place.repository.open("0001-x")
    wrong = at_forge(ground.tx, run, place, "completed")
    assert wrong[0] == "it has 2 PRs"
    assert wrong[1].startswith("#1 has the comments")
    assert pull.state == "open"


def test_a_repair_of_what_was_not_red_is_seen(tmp_path: Path) -> None:
    ground = Ground()
    step = ground.executed(STEPS)
    _, place = a_place(tmp_path)
    place.red.add("a" * 40)
    for sha in ("a" * 40, "a" * 40, "b" * 40):
        ground.sql(
            "INSERT INTO events (protocol_id, step_id, event_type, entity, actor, metadata, created_at)"
            " VALUES (1, ?, 'step_repair_enqueued', 'job', 'w', json_object('sha', ?), 1)",
            step.id,
            sha,
        )
    wrong = at_forge(ground.tx, a_run(tmp_path), place, "cancelled")
    assert wrong == [f"{'a' * 40} was repaired 2 times", f"{'b' * 40} was repaired and is not red"]


def test_a_token_at_another_host_or_in_a_log_is_seen(tmp_path: Path) -> None:
    forge = FakeForge(tmp_path / "forges")
    there = Outside(forge, "http://127.0.0.1:1", random.Random(1))
    token = there.place(3).token
    forge.asked.append(Asked("gitlab.com", "GET", "/x", {}, {"private-token": token}, b""))
    (tmp_path / "worker-1.log").write_text("fine")
    assert there.wrong(tmp_path) == []
    forge.asked.append(Asked("evil.test", "GET", "/x", {}, {"private-token": token}, b""))
    (tmp_path / "worker-1.log").write_text(f"it is {token}")
    assert len(there.wrong(tmp_path)) == 2


def test_a_delivery_that_has_its_effect_twice_or_never_is_seen() -> None:
    ground = Ground()
    ground.sql(
        "INSERT INTO deliveries (provider, delivery_key, event, headers, body_sha256, status, received_at, body)"
        " VALUES ('github', 'k1', 'ping', '{}', 'x', 'duplicate', 1, x'')"
    )
    assert whole(ground.tx, ["k1"]) == []
    assert whole(ground.tx, ["k2"]) == ["delivery k2 was acknowledged and is not there"]
    ground.sql("UPDATE deliveries SET status = 'received'")
    assert len(whole(ground.tx, [])) == 2
    for _ in range(2):
        ground.sql(
            "INSERT INTO events (delivery_id, event_type, entity, actor, metadata, created_at)"
            " VALUES (1, 'delivery_applied', 'delivery', 'w', '{}', 1)"
        )
    assert "delivery 1 had its effect 2 times" in whole(ground.tx, [])
