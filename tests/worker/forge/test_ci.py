"""What the forges say of a commit, the logs of what failed, and how CI is started."""

import json
from collections.abc import Callable

import pytest

from shared.errors import Category, JobError
from shared.forges import read_delivery
from shared.schemas.forge import CiWord
from shared.schemas.statuses import Outcome, Provider
from tests.fakes.deliveries import Sent
from tests.fakes.forge import Answer, Asked
from tests.fakes.forge.server import BLOBS
from tests.worker.forge.conftest import BRANCH, TOKEN, Stage


async def words_of(stage: Stage, sha: str | None = None) -> dict[str, CiWord]:
    return {word.context: word for word in await stage.door.ci_of(sha or stage.sha)}


def told(sent: Sent) -> CiWord | None:
    said = read_delivery(Provider(sent.provider), sent.event, {}, sent.body)
    return said.word if isinstance(said.word, CiWord) else None


async def test_a_commit_without_ci_has_no_words(stage: Stage) -> None:
    assert await stage.door.ci_of(stage.sha) == ()


@pytest.mark.parametrize("outcome", ["success", "failure", "cancelled", "skipped", "in_progress", "queued"])
async def test_a_poll_says_of_a_run_what_its_delivery_said(stage: Stage, outcome: str) -> None:
    stage.repo.ci(stage.sha, outcome)
    delivered = told(stage.world.post.sent[-1])
    assert delivered is not None
    polled = (await words_of(stage))[delivered.context]
    for member in ("sha", "branch", "scope", "name", "context", "outcome", "run_id", "run_attempt", "at", "url"):
        assert getattr(polled, member) == getattr(delivered, member), member


async def test_a_later_run_of_the_same_kind_replaces_the_first(stage: Stage) -> None:
    stage.repo.ci(stage.sha, "failure")
    second = stage.repo.ci(stage.sha, "success")
    words = await stage.door.ci_of(stage.sha)
    deciding = [word for word in words if word.scope in {"workflow_run", "pipeline"}]
    newest = max(deciding, key=lambda word: word.run_id)
    assert (newest.run_id, newest.outcome) == (second.id, Outcome.PASS)


async def test_a_run_that_was_started_again_tells_its_attempt(github: Stage) -> None:
    run = github.repo.ci(github.sha, "failure")
    github.repo.again(run)
    word = (await words_of(github))["workflow_run/501/push"]
    assert (word.run_attempt, word.outcome) == (2, Outcome.RUNNING)


async def test_runs_of_other_commits_are_not_told(stage: Stage) -> None:
    stage.repo.ci(stage.repo.head("main"), "failure")
    assert await stage.door.ci_of(stage.sha) == ()


async def test_github_tells_suites_checks_and_statuses_too(github: Stage) -> None:
    github.repo.ci(github.sha, "success")
    github.repo.check(github.sha, "style", "neutral")
    github.repo.status(github.sha, "deploy/preview", "pending")
    github.repo.status(github.sha, "deploy/preview", "error", url="https://ci.example.test/7")
    words = await words_of(github)
    suites = {context for context in words if context.startswith("check_suite/")}
    assert {context.rpartition("/")[0] for context in suites} == {"check_suite/github-actions", "check_suite/other-ci"}
    assert words.keys() - suites == {
        "workflow_run/501/push",
        "check_run/unit",
        "check_run/style",
        "status/deploy/preview",
    }
    assert words["check_run/style"].outcome is Outcome.SOFT_PASS
    status = words["status/deploy/preview"]
    assert (status.outcome, status.url, status.sha) == (Outcome.FAIL, "https://ci.example.test/7", github.sha)


async def test_what_a_fork_ran_on_the_same_commit_is_not_told(github: Stage) -> None:
    github.repo.check(github.sha, "style", "failure", branch=None)
    assert await github.door.ci_of(github.sha) == ()

    def of_a_fork(asked: Asked) -> Answer:
        run = {
            "id": 5,
            "head_sha": github.sha,
            "status": "completed",
            "conclusion": "failure",
            "repository": {"id": github.repo.id},
            "head_repository": {"id": 9},
        }
        return Answer(200, json.dumps({"total_count": 1, "workflow_runs": [run]}).encode())

    github.world.fault("/actions/runs$", of_a_fork)
    assert await github.door.ci_of(github.sha) == ()


async def test_gitlab_tells_jobs_and_which_of_them_failed(gitlab: Stage) -> None:
    run = gitlab.repo.ci(gitlab.sha, "failure")
    words = await words_of(gitlab)
    assert {context: word.outcome for context, word in words.items()} == {
        "pipeline/push": Outcome.FAIL,
        "job/test/unit": Outcome.FAIL,
        "job/test/lint": Outcome.PASS,
    }
    assert [build["id"] for build in words["pipeline/push"].details["failed_builds"]] == [run.job_id]


async def test_gitlab_asks_for_the_jobs_of_the_newest_pipelines_only(gitlab: Stage) -> None:
    for _ in range(3):
        gitlab.repo.ci(gitlab.sha, "failure")
    gitlab.repo.ci(gitlab.sha, "success", source="merge_request_event")
    await gitlab.door.ci_of(gitlab.sha)
    assert len(gitlab.world.calls("GET", "/jobs$")) == 2


async def test_checks_on_many_pages_are_all_read(github: Stage) -> None:
    for number in range(230):
        github.repo.status(github.sha, f"part {number}", "success")
        github.repo.check(github.sha, f"check {number}", "success")
    words = await words_of(github)
    assert sum(word.scope == "status" for word in words.values()) == 230
    assert sum(word.scope == "check_run" for word in words.values()) == 230


async def test_more_checks_than_anybody_has_are_no_evidence(stage: Stage) -> None:
    def endless(asked: Asked) -> Answer:
        return Answer(200, b'{"check_suites": []}' if "check" in asked.path else b"[]", {"link": '<x>; rel="next"'})

    stage.world.fault("/(check-suites|pipelines)$", endless, times=100)
    with pytest.raises(JobError, match="more than 1000"):
        await stage.door.ci_of(stage.sha)
    assert len(stage.world.calls("GET")) == 10


# Logs


def red(stage: Stage, words: dict[str, CiWord]) -> CiWord:
    return words["workflow_run/501/push" if stage.repo.provider == "github" else "pipeline/push"]


async def test_the_log_of_the_failing_job_is_fetched(stage: Stage) -> None:
    stage.repo.ci(stage.sha, "failure", log="collected 3 items\nE   assert 1 == 2\n")
    assert await stage.door.red_log(red(stage, await words_of(stage))) == "collected 3 items\nE   assert 1 == 2\n"


async def test_so_it_is_for_a_word_that_a_delivery_told(stage: Stage) -> None:
    stage.repo.ci(stage.sha, "failure", log="E   assert 1 == 2\n")
    word = told(stage.world.post.sent[-1])
    assert word is not None
    assert await stage.door.red_log(word) == "E   assert 1 == 2\n"


async def test_so_it_is_for_a_single_job(stage: Stage) -> None:
    stage.repo.ci(stage.sha, "failure", log="E   assert 1 == 2\n")
    words = await words_of(stage)
    word = words["check_run/unit" if stage.repo.provider == "github" else "job/test/unit"]
    assert await stage.door.red_log(word) == "E   assert 1 == 2\n"


async def test_of_a_long_log_the_last_whole_lines_are_kept(stage: Stage) -> None:
    lines = [f"line {number} – all is well so far" for number in range(5000)]
    stage.repo.ci(stage.sha, "failure", log="\n".join([*lines, "E   the end"]))
    log = await stage.door.red_log(red(stage, await words_of(stage)))
    assert 60_000 < len(log.encode()) <= 64_000
    assert log.splitlines() == [*lines, "E   the end"][-len(log.splitlines()) :]


async def test_a_long_log_in_one_line_is_left_out_as_nobody_knows_what_was_cut(stage: Stage) -> None:
    stage.repo.ci(stage.sha, "failure", log="x" * 70_000)
    assert await stage.door.red_log(red(stage, await words_of(stage))) == ""


async def test_a_log_that_is_gone_is_empty(stage: Stage) -> None:
    stage.repo.ci(stage.sha, "failure")
    word = red(stage, await words_of(stage))
    stage.world.fault(f"/logs$|/trace$|^{BLOBS}", Answer(410), times=3)
    assert await stage.door.red_log(word) == ""


async def test_a_run_that_did_not_fail_has_no_log(stage: Stage) -> None:
    stage.repo.ci(stage.sha, "success", log="fine")
    assert await stage.door.red_log(red(stage, await words_of(stage))) == ""


async def test_another_apps_check_says_itself_what_is_wrong(github: Stage) -> None:
    github.repo.check(github.sha, "style", "failure", text="pears.txt:1: no newline")
    words = await words_of(github)
    for word in (word for word in words.values() if word.scope in {"check_run", "check_suite"}):
        assert "pears.txt:1: no newline" in await github.door.red_log(word)


async def test_a_status_has_no_log(github: Stage) -> None:
    github.repo.status(github.sha, "deploy", "failure")
    assert await github.door.red_log((await words_of(github))["status/deploy"]) == ""


async def test_logs_that_lie_elsewhere_are_fetched_without_the_token(github: Stage) -> None:
    github.repo.ci(github.sha, "failure", log="E\n")
    await github.door.red_log(red(github, await words_of(github)))
    (fetched,) = [one for one in github.world.asked if one.host == BLOBS]
    assert not {"authorization", "private-token", "cookie"} & fetched.headers.keys()
    assert BLOBS not in github.world.hosts_that_saw(TOKEN)


def elsewhere(where: str) -> Callable[[Asked], Answer]:
    return lambda _: Answer(302, b"", {"location": where})


async def test_a_forge_of_ones_own_may_keep_them_elsewhere_too(gitlab: Stage) -> None:
    gitlab.world.logs["/a-log"] = "E   far away\n"
    gitlab.repo.ci(gitlab.sha, "failure", log="E\n")
    gitlab.world.fault("/trace$", elsewhere(f"https://{BLOBS}/a-log"))
    assert await gitlab.door.red_log(red(gitlab, await words_of(gitlab))) == "E   far away\n"
    assert BLOBS not in gitlab.world.hosts_that_saw(TOKEN)


async def test_logs_are_not_fetched_without_encryption(stage: Stage) -> None:
    stage.repo.ci(stage.sha, "failure", log="E\n")
    word = red(stage, await words_of(stage))
    stage.world.fault("/logs$|/trace$", elsewhere(f"http://{BLOBS}/x?sig=secret"))
    with pytest.raises(JobError, match=f"http://{BLOBS}/x ") as caught:
        await stage.door.red_log(word)
    assert "sig" not in caught.value.message


async def test_a_chase_after_a_log_ends_somewhere(stage: Stage) -> None:
    stage.repo.ci(stage.sha, "failure", log="E\n")
    word = red(stage, await words_of(stage))
    stage.world.fault(f"/logs$|/trace$|^{BLOBS}", elsewhere(f"https://{BLOBS}/again"), times=50)
    with pytest.raises(JobError, match="not followed"):
        await stage.door.red_log(word)
    assert len([one for one in stage.world.asked if one.host == BLOBS]) == 2


async def test_a_place_of_logs_that_fails_is_not_taken_for_the_forge(github: Stage) -> None:
    github.repo.ci(github.sha, "failure", log="E\n")
    word = red(github, await words_of(github))
    github.world.fault(f"^{BLOBS}", Answer(401))
    with pytest.raises(JobError, match="keeps its logs elsewhere, which answered 401") as caught:
        await github.door.red_log(word)
    assert caught.value.category is Category.UPSTREAM


# Starting CI


async def test_ci_is_started_on_a_branch_with_inputs(stage: Stage) -> None:
    url = await stage.door.trigger_ci(BRANCH, workflow="ci.yml", inputs={"why": "asked"})
    (run,) = stage.repo.runs.values()
    assert url is not None
    assert url.endswith(str(run.id))
    assert (run.sha, run.branch) == (stage.sha, BRANCH)
    (given,) = stage.repo.dispatched
    asked = given.get("inputs") or {each["key"]: each["value"] for each in given["variables"]}
    assert asked == {"why": "asked"}


async def test_a_branch_that_is_not_there_has_no_ci_to_start(stage: Stage) -> None:
    with pytest.raises(JobError, match="refused to start") as caught:
        await stage.door.trigger_ci("0009-none", workflow="ci.yml", inputs={})
    assert caught.value.category is Category.BAD_REQUEST
    assert "0009-none" in caught.value.message or "not found" in caught.value.message


async def test_github_needs_to_be_told_which_workflow(github: Stage) -> None:
    with pytest.raises(JobError, match=r"such as ci\.yml") as caught:
        await github.door.trigger_ci(BRANCH, workflow=None, inputs={})
    assert caught.value.category is Category.CONFIG
    with pytest.raises(JobError, match=r"no workflow deploy\.yml") as caught:
        await github.door.trigger_ci(BRANCH, workflow="deploy.yml", inputs={})
    assert caught.value.category is Category.CONFIG


async def test_the_name_of_a_workflow_leads_nowhere_else(github: Stage) -> None:
    with pytest.raises(JobError, match="no workflow"):
        await github.door.trigger_ci(BRANCH, workflow="../../pulls/1?x=", inputs={})
    (asked,) = github.world.calls("POST")
    assert asked.path.endswith("/dispatches")


async def test_a_server_that_cannot_tell_the_run_starts_it_all_the_same(enterprise: Stage) -> None:
    told_so = json.dumps({"message": 'Invalid request.\n\n"return_run_details" is not a permitted key.'}).encode()
    enterprise.world.fault("/dispatches$", Answer(422, told_so))
    assert await enterprise.door.trigger_ci(BRANCH, workflow="ci.yml", inputs={}) is None
    assert len(enterprise.repo.runs) == 1
