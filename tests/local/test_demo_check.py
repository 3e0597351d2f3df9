"""The demo's claims are checked: each fails when what it claims is not so."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from services.local.demo.check import Check, Findings, agent_processes
from services.worker.codex.leftovers import scope_of
from shared.schemas.statuses import ProtocolStatus
from tests.e2e.repositories import git
from tests.local.told import Told
from tests.waiting import until


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def failed(findings: Findings) -> set[str]:
    return {check.claim for check in findings.failed}


def test_a_run_that_is_as_it_was_told_holds(told: Told) -> None:
    findings = told.findings()
    assert [check for check in findings.checks if not check.holds] == []
    assert findings.before.outcome == "11 tests: FAILED (failures=1)"
    assert findings.after.outcome == "11 tests: OK"


def test_a_commit_that_is_not_on_the_origin_is_missed(told: Told) -> None:
    git(told.sample.origin, "update-ref", "refs/heads/0001-x", told.heads[0])
    assert failed(told.findings()) == {
        "each step's commit is on the origin, in order",
        "their trailers name what the API names",
        "the origin's branch is where the API says",
        "two steps or more changed the code",
    }


def test_a_branch_that_is_not_there_is_no_accident(told: Told) -> None:
    git(told.sample.origin, "update-ref", "-d", "refs/heads/0001-x")
    findings = told.findings()
    assert findings.commits == ()
    assert "they pass in a fresh clone of the branch" in failed(findings)


def test_a_trailer_that_names_another_attempt_is_seen(told: Told) -> None:
    scene = told.scene()
    scene.attempts = {7: msgspec.structs.replace(scene.attempts[1], id=7), 2: scene.attempts[2]}
    assert failed(told.findings(scene)) == {"their trailers name what the API names"}


def test_tests_that_fail_afterwards_are_seen(told: Told) -> None:
    (told.sample.repository / "tabsplit" / "split.py").write_text("broken = True\n")
    told.commit("fix: more", "tabsplit", step=2, attempt=2)
    assert "they pass in a fresh clone of the branch" in failed(told.findings())


def test_tests_that_never_failed_prove_nothing(told: Told) -> None:
    told.before = msgspec.structs.replace(told.before, passed=True)
    assert failed(told.findings()) == {"the sample's tests failed before"}


def test_a_base_branch_that_moved_is_seen(told: Told) -> None:
    git(told.sample.origin, "update-ref", "refs/heads/main", told.heads[0])
    assert "the base branch is untouched" in failed(told.findings())


def test_a_run_that_did_not_complete_is_seen(told: Told) -> None:
    scene = told.scene()
    assert scene.protocol is not None
    scene.protocol = msgspec.structs.replace(scene.protocol, status=ProtocolStatus.BLOCKED)
    assert failed(told.findings(scene)) == {
        "the protocol run and every step are completed",
        "every change of a status has its event",
    }


def test_a_change_of_a_status_without_its_event_breaks_the_chain(told: Told) -> None:
    scene = told.scene()
    scene.events = tuple(event for event in scene.events if event.event_type != "planned")
    assert failed(told.findings(scene)) == {
        "every change of a status has its event",
        "the timeline tells the whole story",
    }


def test_an_event_that_is_missing_from_the_story_is_named(told: Told) -> None:
    scene = told.scene()
    scene.events = tuple(event for event in scene.events if event.event_type != "qa_passed")
    (missing,) = told.findings(scene).failed
    assert missing == Check("the timeline tells the whole story", holds=False, seen="there is no qa_passed")


def test_tokens_that_do_not_add_up_are_seen(told: Told) -> None:
    scene = told.scene()
    del scene.attempts[2]
    assert "the tokens of all attempts add up" in failed(told.findings(scene))


@pytest.fixture
def leftover(told: Told) -> Iterator[subprocess.Popen[bytes]]:
    """A process as an agent would leave it."""
    mark = {"DEKSDENFLOW_RUN": f"{scope_of(told.workspaces)}:3/1"}
    with subprocess.Popen(["sleep", "60"], env=mark) as process:
        yield process
        process.kill()


def test_a_process_that_is_left_is_named(told: Told, leftover: subprocess.Popen[bytes]) -> None:
    until(lambda: agent_processes(told.workspaces) == [leftover.pid])
    (left,) = told.findings().failed
    assert (left.claim, left.seen) == ("no agent process is left", f"process {leftover.pid} still runs")


def test_processes_of_other_workspaces_are_not_ours(told: Told, leftover: subprocess.Popen[bytes]) -> None:
    assert agent_processes(told.workspaces / "others") == []
