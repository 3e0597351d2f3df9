"""Publishing: one draft PR and one comment, whatever is lost on the way, kept up to date until it is ready."""

from pathlib import Path

import pytest

from services.worker.jobs.execution import execute
from shared.schemas.reports import Lost
from shared.workflow.jobs import release
from shared.workflow.protocols import open_pr
from shared.workflow.steps import add_step, approve_step, cancel_step
from tests.e2e.house import addition, answered, done
from tests.fakes.forge import CUT, Answer
from tests.worker.jobs.at_forge import COMMENTS, PULLS, TOKEN, at_forge
from tests.worker.jobs.ground import begun
from tests.worker.workshop import NAME, open_workshop

EXECUTED = answered("execute step 01", done("greet"), addition("greeting.txt", ["hello"]))
FORGES = ["github", "gitlab"]


async def test_without_a_forge_the_branch_is_pushed_as_it_stands_and_what_is_missing_is_said(
    ground_floor: Path,
) -> None:
    async with open_workshop(ground_floor, EXECUTED) as shop:
        await shop.open("Greet")
        step = await shop.execute()
        await shop.call(open_pr, 1)
        await shop.work()
        pushed = (await shop.event("branch_pushed")).metadata
        assert (pushed["sha"], pushed["branch"], pushed["pushed"]) == (step.head_sha, NAME, True)
        assert "No PR was opened" in pushed["note"]
        assert "is a repository on this machine: there is no forge" in pushed["note"]


async def test_a_branch_that_somebody_else_moved_is_not_published_over_theirs(ground_floor: Path) -> None:
    async with open_workshop(ground_floor, EXECUTED) as shop:
        await shop.open("Greet")
        await shop.execute()
        theirs = shop.origin.commit({"theirs.txt": "mine\n"}, branch=NAME)
        await shop.call(open_pr, 1)
        await shop.work()
        assert shop.origin.head(NAME) == theirs
        failed = await shop.event("job_failed")
        assert failed.reason == "diverged"
        assert (await shop.protocol()).status == "blocked"


@pytest.mark.parametrize("settled", [False, True])
async def test_what_an_attempt_pushed_before_it_was_lost_is_no_strangers_until_its_step_is_settled_without_it(
    settled: bool, ground_floor: Path
) -> None:
    async with open_workshop(ground_floor, EXECUTED) as shop:
        lease = await begun(shop, "first")
        assert (await execute(shop.doors, lease)).pushed
        assert await shop.runtime.flow.run(lease.caller, release, lease.job_id, lease.token, Lost(message="dead"))
        ours = shop.origin.head(NAME)
        if settled:
            await shop.call(add_step, 1, step_name="Wave")
            await shop.call(cancel_step, 1)
        await shop.change("UPDATE jobs SET run_at = run_at + 1000")
        await shop.call(open_pr, 1)
        await shop.work()
        protocol = await shop.protocol()
        assert (protocol.reason, shop.origin.head(NAME)) == ("diverged" if settled else None, ours)
        if not settled:
            assert f"is at {ours}" in (await shop.event("branch_pushed")).metadata["note"]
            shop.pass_time(2)
            await shop.work()
            assert (await shop.step()).head_sha == ours
            assert (await shop.event("attempt_continued")).metadata["how"] == "adopted"


@pytest.mark.parametrize(
    ("provider", "completion", "rest"),
    [("github", "merge", "the merge."), ("gitlab", "merge", "the merge."), ("github", "steps", "nothing any more.")],
)
async def test_a_draft_is_opened_kept_up_to_date_and_ready_when_all_is_done(
    provider: str, completion: str, rest: str, ground_floor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_forge(provider, ground_floor, monkeypatch) as scene:
        await scene.execute(completion=completion)
        await scene.publish()
        (pull,) = scene.repository.pulls.values()
        assert (pull.title, pull.draft, pull.base) == ("Do it. [protocol-0001]", True, "main")
        assert "- [ ] **01** Greet — QA needed" in pull.body
        protocol = await scene.shop.protocol()
        assert (protocol.pr_number, protocol.pr_state, protocol.pr_comment) == (1, "open", str(pull.comments[0].id))

        await scene.shop.call(approve_step, 1, sha=None, reason="Seen.")
        await scene.work()
        assert not pull.draft
        assert "- [x] **01** Greet — completed" in pull.body
        assert f"Waits for: {rest}" in pull.comments[0].body
        assert (len(scene.repository.pulls), len(pull.comments)) == (1, 1)
        assert await scene.shop.events("pr_ready")


@pytest.mark.parametrize("provider", FORGES)
@pytest.mark.parametrize("lost", ["the PR", "the comment"])
async def test_an_answer_that_is_lost_makes_nothing_twice(
    provider: str, lost: str, ground_floor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_forge(provider, ground_floor, monkeypatch) as scene:
        await scene.execute()
        path = PULLS[provider] if lost == "the PR" else COMMENTS[provider]
        scene.forge.fault(path, CUT, method="POST", after=True)
        await scene.publish()
        assert await scene.shop.events("job_retry_scheduled")
        (pull,) = scene.repository.pulls.values()
        assert len(pull.comments) == 1
        assert (await scene.shop.protocol()).pr_number == 1


async def test_no_secret_gets_into_the_words_of_a_pr(ground_floor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with at_forge("github", ground_floor, monkeypatch) as scene:
        await scene.execute()
        said = f"Say {TOKEN} and ghp_{'a1B2' * 6}"
        await scene.shop.change("UPDATE step_runs SET step_name = ?", said)
        await scene.shop.change("UPDATE plans SET summary = ?", said)
        await scene.publish()
        (pull,) = scene.repository.pulls.values()
        assert pull.title == "Say *** and *** [protocol-0001]"
        assert pull.body.count(r"Say \*\*\* and \*\*\*") == 2
        assert "ghp" not in pull.body + pull.comments[0].body


async def test_a_token_that_the_forge_refuses_blocks_with_what_to_do(
    ground_floor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_forge("github", ground_floor, monkeypatch) as scene:
        await scene.execute()
        scene.forge.fault("api.github.com", Answer(403, b'{"message": "Resource not accessible"}'), times=99)
        await scene.publish()
        failed = await scene.shop.event("job_failed")
        assert failed.reason == "auth"
        assert "forge_token" in failed.metadata["message"]
        protocol = await scene.shop.protocol()
        assert (protocol.status, protocol.reason) == ("blocked", "publish_failed")
        assert TOKEN not in str(await scene.shop.events())


async def test_a_limit_of_the_forge_is_waited_for(ground_floor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with at_forge("gitlab", ground_floor, monkeypatch) as scene:
        await scene.execute()
        scene.forge.fault(PULLS["gitlab"], Answer(429, b"{}", {"retry-after": "100"}))
        await scene.shop.call(open_pr, 1)
        await scene.shop.work()
        assert (await scene.shop.event("job_retry_scheduled")).metadata["delay_s"] == pytest.approx(100, abs=1)
        scene.shop.pass_time(90)
        await scene.shop.work()
        assert not scene.repository.pulls
        scene.shop.pass_time(11)
        await scene.shop.work()
        assert len(scene.repository.pulls) == 1


async def test_a_pr_that_was_closed_is_left_as_it_is(ground_floor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with at_forge("github", ground_floor, monkeypatch) as scene:
        await scene.execute()
        await scene.publish()
        (pull,) = scene.repository.pulls.values()
        scene.repository.close(1)
        pull.sha = "0" * 40  # an older commit than ours
        before = pull.body
        await scene.publish()
        assert (len(scene.repository.pulls), pull.body, pull.state) == (1, before, "closed")
        protocol = await scene.shop.protocol()
        assert (protocol.status, protocol.reason, protocol.pr_state) == ("blocked", "pr_closed", "closed")


async def test_an_old_pr_of_a_branch_of_this_name_is_none_of_ours(
    ground_floor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_forge("github", ground_floor, monkeypatch) as scene:
        scene.repository.commit({"old.txt": "old"}, branch=NAME)
        scene.repository.open(NAME)
        scene.repository.close(1)
        scene.repository.delete(NAME)
        await scene.execute()
        await scene.publish()
        assert (await scene.shop.protocol()).pr_number == 2
        assert scene.repository.pulls[1].state == "closed"


async def test_one_that_was_merged_before_we_heard_of_it_is_found(
    ground_floor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_forge("gitlab", ground_floor, monkeypatch) as scene:
        await scene.execute()
        scene.repository.open(NAME)
        scene.repository.merge(1)
        await scene.publish()
        protocol = await scene.shop.protocol()
        assert (protocol.status, protocol.reason, protocol.pr_number) == ("completed", "merged", 1)
        assert len(scene.repository.pulls) == 1
