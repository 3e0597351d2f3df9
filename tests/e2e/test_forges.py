"""A protocol run at a forge, from the draft PR to the merge, whatever becomes of deliveries, calls and branches."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.house import PATIENCE_S, House, addition, answered, conversation, done, open_house, plan, verdict
from tests.e2e.repositories import make_origin
from tests.fakes.forge import CUT, Answer, FakeForge, Pull, Repository, Run
from tests.waiting import eventually

TOKEN = "forge-canary-0123456789abcdef"
FORGES = ["github", "gitlab"]
OWN_HOSTS = {"github": {"github.com", "api.github.com"}, "gitlab": {"gitlab.com"}}
ELSEWHERE = "evil.elsewhere.test"
# What a forge's answers look like when it does not answer.
API = {"github": r"api\.github\.com/repos/", "gitlab": r"gitlab\.com/api/v4/"}
PULLS = {"github": r"/pulls$", "gitlab": r"/merge_requests$"}
COMMENTS = {"github": r"/comments", "gitlab": r"/notes"}
POLICY = {"auto_qa_on_ci": True, "auto_fix": 1, "ci_settle_s": 1, "completion": "merge"}
LOG = f"""collected 1 item
weigh.py:1: AssertionError: 3 pears, not 4
the token is {TOKEN}
"""


class Scene:
    """A house and a forge that know of each other; CI runs on every commit of ours, and ends as the test says."""

    def __init__(self, house: House, forge: FakeForge, repository: Repository, project_id: int) -> None:
        self.house, self.forge, self.repository, self.project_id = house, forge, repository, project_id
        self.run_id = 0
        repository.on_push = self._pushed

    def _pushed(self, branch: str, sha: str) -> None:
        if branch != "main":
            self.repository.ci(sha, "in_progress", branch=branch)

    @property
    def provider(self) -> str:
        return self.repository.provider

    @property
    def path(self) -> str:
        return f"/protocols/{self.run_id}"

    @property
    def pull(self) -> Pull:
        """The one PR that there is."""
        (pull,) = self.repository.pulls.values()
        return pull

    def fault(self, path: str, answer: Answer, **more: Any) -> None:
        self.forge.fault(API[self.provider] + ".*" + path, answer, **more)

    async def protocol(self) -> dict[str, Any]:
        return await self.house.get(self.path)

    async def step(self, index: int = 1) -> dict[str, Any]:
        return next(step for step in await self.house.steps(self.run_id) if step["step_index"] == index)

    async def becomes(self, **wanted: Any) -> dict[str, Any]:
        """The protocol run once it has these values."""

        async def look() -> dict[str, Any] | None:
            run = await self.protocol()
            return run if all(run[name] == value for name, value in wanted.items()) else None

        return await self._eventually(look)

    async def step_becomes(self, index: int = 1, **wanted: Any) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            step = await self.step(index)
            return step if all(step[name] == value for name, value in wanted.items()) else None

        return await self._eventually(look)

    async def said(self, event_type: str, *, times: int = 1) -> dict[str, Any]:
        """The newest event of this type, once there are so many."""

        async def look() -> dict[str, Any] | None:
            found = [each for each in await self.house.events(self.run_id) if each["event_type"] == event_type]
            return found[-1] if len(found) >= times else None

        return await self._eventually(look)

    async def runs_on(self, sha: str) -> Run:
        """The CI run of a commit, once the forge has it."""

        async def look() -> Run | None:
            return next((run for run in self.repository.runs.values() if run.sha == sha), None)

        return await self._eventually(look)

    async def shown(self, what: str) -> None:
        """Returns when the PR's body, or our comment there, says this."""

        async def look() -> bool:
            texts = [self.pull.body, *(comment.body for comment in self.pull.comments if comment.mine)]
            return any(re.search(what, text) for text in texts)

        await self._eventually(look)

    async def at_rest(self) -> None:
        """Returns when no job is queued or runs any more."""

        async def look() -> bool:
            jobs = await self.house.get("/queues/jobs", project_id=self.project_id, limit=500)
            return not any(job["status"] in {"queued", "running"} for job in jobs)

        await self.forge.post.delivered()
        await self._eventually(look)

    async def act(self, action: str, body: dict[str, Any] | None = None) -> Any:
        return await self.house.post(f"{self.path}/actions/{action}", body)

    async def _eventually(self, look: Any) -> Any:
        try:
            return await eventually(look, within=PATIENCE_S, every=0.05)
        except TimeoutError as error:
            told = [(event["event_type"], event["metadata"]) for event in await self.house.events(self.run_id)]
            raise AssertionError(f"{await self.protocol()}\n" + "\n".join(map(str, told))) from error


@asynccontextmanager
async def at_forge(
    provider: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *script: dict[str, Any], **settings: str
) -> AsyncIterator[Scene]:
    """A project whose repository is at this forge, which sends its deliveries to the project's own hook."""
    async with FakeForge(folder / "forge") as forge:
        for name, value in forge.environment.items():
            monkeypatch.setenv(name, value)
        repository = forge.repository(provider, f"{provider}.com", "acme/pears", token=TOKEN)
        chosen = {f"{provider.upper()}_TOKEN": TOKEN, "MAX_ATTEMPTS": "5", **settings}
        async with open_house(folder, *script, **chosen) as house:
            project = await house.register(Path("pears"), git_url=repository.git_url)
            hook = await house.post(f"/projects/{project}/hooks", {"provider": provider})
            forge.hook(repository, house.webhooks + hook["url"], hook["secret"])
            scene = Scene(house, forge, repository, project)
            yield scene
            await scene.at_rest()
        assert forge.hosts_that_saw(TOKEN) <= OWN_HOSTS[provider]


async def by_hand(scene: Scene, *names: str, **policy: Any) -> None:
    """A protocol run with a PR whose steps were added by hand; the first one was executed."""
    run = await scene.house.post(
        f"/projects/{scene.project_id}/protocols",
        {"description": "By hand.", "policy": {"ci_settle_s": 0, "open_pr": "asked"} | policy},
    )
    scene.run_id = run["id"]
    for name in names:
        await scene.house.post(f"{scene.path}/steps", {"step_name": name})
    await scene.act("start", {"plan": False})
    await scene.act("run_next_step")
    await scene.step_becomes(status="needs_qa")
    await scene.act("open_pr")
    await scene.becomes(pr_state="open")
    await scene.at_rest()


WORK = conversation(
    "execute step 01",
    addition("weigh.py", ["assert 3 == 4"]),
    {"answer": done("weigh them")},
    {"command": "echo 'assert 3 == 3' > weigh.py"},
    {"answer": done("weigh them right", "fix")},
)
SECOND = answered("execute step 02", done("say so", "docs"), addition("NEWS.md", ["Weighed."]))
ONE_MORE = answered("execute step 01", done(), addition("one.txt", ["one"]))


@pytest.mark.parametrize("provider", FORGES)
async def test_from_the_plan_to_the_merge_over_red_ci_and_a_forge_in_a_bad_mood(
    provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = [
        answered("plan", plan("Weigh the pears, closes #1", "Tell @everybody")),
        WORK,
        SECOND,
        answered("qa step 01", verdict()),
        answered("qa step 02", verdict()),
    ]
    async with at_forge(provider, tmp_path, monkeypatch, *script) as scene:
        forge, repository = scene.forge, scene.repository
        scene.forge.post.twice = True

        # The PR is made although its answer is lost, the comment although the forge has enough of us for a moment.
        scene.fault(PULLS[provider], CUT, method="POST", after=True)
        scene.fault(COMMENTS[provider], Answer(429, b"{}", {"retry-after": "1"}), method="POST")
        forge.fault(r"git-receive-pack", Answer(503))
        run = await scene.house.planned(scene.project_id, policy=POLICY)
        scene.run_id = run["id"]
        assert run["status"] == "planned", run
        await scene.becomes(pr_state="open")
        assert scene.pull.draft
        assert "closes #1" not in scene.pull.body
        assert "@everybody" not in scene.pull.body
        await scene.shown(r"- \[ \] \*\*01\*\* Weigh the pears")
        await scene.at_rest()
        repository.end(await scene.runs_on((await scene.protocol())["head_sha"]), "success")

        # The first step is red, which the forge tells late, twice and in the wrong order.
        await scene.act("run_next_step")
        step = await scene.step_becomes(status="needs_qa")
        red = await scene.runs_on(step["head_sha"])
        forge.post.hold()
        repository.again(red)
        repository.end(red, "failure", log=LOG)
        repository.tell_run(red)
        scene.fault(r"", Answer(502), method="GET")
        forge.post.release(lambda held: held[::-1])
        await scene.said("step_repair_enqueued")
        await scene.step_becomes(executions=2, status="needs_qa")
        prompts = "".join(heard.body.decode() for heard in scene.house.model.requests)
        assert "AssertionError: 3 pears, not 4" in prompts
        assert TOKEN not in prompts

        # The second one is green, which the forge never tells, and when it is asked, it sends us elsewhere.
        step = await scene.step()
        assert step["repairs"] == 1
        forge.post.losing = True
        repository.end(await scene.runs_on(step["head_sha"]), "success")
        scene.fault(r"", Answer(302, b"", {"location": f"https://{ELSEWHERE}/x"}), method="GET")
        await scene.house.post(f"/projects/{scene.project_id}/actions/sync")
        await scene.at_rest()
        await scene.house.post(f"/projects/{scene.project_id}/actions/sync")
        await scene.step_becomes(status="completed")
        forge.post.losing = False
        await scene.shown(r"- \[x\] \*\*01\*\* Weigh the pears")

        await scene.act("run_next_step")
        step = await scene.step_becomes(2, status="needs_qa")
        repository.end(await scene.runs_on(step["head_sha"]), "success")
        await scene.becomes(phase="awaiting_merge")
        await scene.said("pr_ready")
        await scene.shown(r"- \[x\] \*\*02\*\* Tell")
        await scene.at_rest()
        repository.merge(scene.pull.number)
        run = await scene.becomes(status="completed", pr_state="merged")
        assert run["reason"] == "merged"
        await scene.at_rest()

        assert [comment.mine for comment in scene.pull.comments] == [True]
        assert ELSEWHERE not in forge.hosts_that_saw(TOKEN)
        types = [event["event_type"] for event in await scene.house.events(scene.run_id)]
        merged = "pr_merged" if provider == "github" else "mr_merged"
        assert in_order(
            types,
            *("planned", "pr_opened", "step_started", "ci_failed", "step_repair_enqueued", "step_started"),
            *("qa_passed", "step_done", "step_started", "qa_passed", "step_done", "awaiting_merge", "pr_ready"),
            *(merged, "protocol_completed"),
        ), types
        for once in ("pr_opened", "step_repair_enqueued", "ci_failed", "pr_ready", merged, "protocol_completed"):
            assert types.count(once) == 1, once


def in_order(types: list[str], *wanted: str) -> bool:
    rest = iter(types)
    return all(word in rest for word in wanted)


@pytest.mark.parametrize("provider", FORGES)
async def test_a_pr_that_is_closed_blocks_and_one_that_is_reopened_heals(
    provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_forge(provider, tmp_path, monkeypatch, ONE_MORE) as scene:
        await by_hand(scene, "One")
        scene.repository.close(scene.pull.number)
        await scene.becomes(status="blocked", reason="pr_closed", pr_state="closed")
        scene.repository.reopen(scene.pull.number)
        await scene.becomes(status="running", pr_state="open")
        await scene.said("pr_reopened")
        # And the same when nobody tells us.
        scene.forge.post.losing = True
        scene.repository.close(scene.pull.number)
        await scene.act("sync")
        await scene.becomes(status="blocked", reason="pr_closed")
        scene.repository.reopen(scene.pull.number)
        await scene.act("sync")
        await scene.becomes(status="running")


async def test_a_commit_of_somebody_else_is_asked_about_and_adopted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = answered("execute step 02", done(), {"command": "cp theirs.txt copy.txt"})
    async with at_forge("github", tmp_path, monkeypatch, ONE_MORE, second) as scene:
        await by_hand(scene, "One", "Two")
        branch = (await scene.protocol())["branch"]
        theirs = scene.repository.commit({"theirs.txt": "theirs"}, branch=branch)
        await scene.becomes(status="blocked", reason="diverged")
        stale = await scene.house.http.post(f"{scene.path}/actions/adopt", json={"sha": "0" * 40})
        assert stale.status_code == 412, stale.text
        run = await scene.act("adopt", {"sha": theirs})
        assert (run["status"], run["head_sha"], run["pushed_sha"]) == ("running", theirs, theirs)
        step = await scene.step()
        await scene.house.post(f"/steps/{step['id']}/actions/approve", {"reason": "Seen."})
        await scene.act("run_next_step")
        await scene.step_becomes(2, status="needs_qa")
        head = scene.repository.head(branch)
        assert head == (await scene.step(2))["head_sha"]
        assert scene.repository.origin.head(branch) == head
        shown = await scene.house.get(f"/protocols/{scene.run_id}")
        assert shown["head_sha"] == head


async def test_a_commit_of_somebody_else_is_given_up_by_a_reset_and_no_newer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_forge("gitlab", tmp_path, monkeypatch, ONE_MORE) as scene:
        await by_hand(scene, "One")
        run = await scene.protocol()
        branch, ours = run["branch"], run["head_sha"]
        scene.repository.commit({"theirs.txt": "theirs"}, branch=branch)
        await scene.becomes(status="blocked", reason="diverged")
        # Somebody pushes once more before the reset comes there, and nobody tells us.
        scene.forge.post.losing = True
        newer = scene.repository.commit({"theirs.txt": "more"}, branch=branch)
        await scene.act("reset")
        await scene.at_rest()
        assert scene.repository.head(branch) == newer
        await scene.becomes(status="blocked", reason="diverged")
        scene.forge.post.losing = False
        await scene.act("sync")
        await scene.at_rest()
        await scene.act("reset")
        await scene.becomes(status="running")
        assert scene.repository.head(branch) == ours


@pytest.mark.parametrize("provider", FORGES)
async def test_ci_is_run_when_somebody_asks(provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with at_forge(provider, tmp_path, monkeypatch, ONE_MORE) as scene:
        await by_hand(scene, "One")
        body = {"workflow": "ci.yml"} if provider == "github" else {"inputs": {"SUITE": "long"}}
        job = await scene.act("trigger_ci", body)
        event = await scene.said("ci_triggered")
        assert event["job_id"] == job["id"]
        assert event["metadata"]["url"].startswith(f"https://{provider}.com/acme/pears/")
        assert len(scene.repository.dispatched) == 1


async def test_without_a_token_the_branch_is_pushed_and_what_to_set_is_said(tmp_path: Path) -> None:
    async with open_house(tmp_path, ONE_MORE) as house:
        project = await house.register(make_origin(tmp_path / "a.git", {"a.txt": b"a"}), ci_provider="github")
        run = await house.with_steps(project, "One")
        await house.execute((await house.steps(run["id"]))[0]["id"])
        await house.post(f"/protocols/{run['id']}/actions/open_pr")

        async def pushed() -> list[dict[str, Any]]:
            return [each for each in await house.events(run["id"]) if each["event_type"] == "branch_pushed"]

        (event,) = await eventually(pushed, within=PATIENCE_S)
        assert "DEKSDENFLOW_GITHUB_TOKEN" in event["metadata"]["note"]
        asked = await house.http.post(f"/protocols/{run['id']}/actions/trigger_ci", json={})
        assert asked.status_code == 400
        assert "workflow" in asked.json()["detail"]
