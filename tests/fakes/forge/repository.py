"""One repository of the fake forge: real git commits, PRs, comments, CI, and what people do to them."""

import atexit
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from tests.fakes import deliveries
from tests.fakes.deliveries import Sent
from tests.worker.git.stage import Origin, plain_git

FIRST_FILES = {"README.md": "# Sample\n", "src/app.py": "print('hello')\n"}

# What GitLab calls a conclusion of GitHub's; other words are taken as they are.
GITLAB_WORDS = {"failure": "failed", "in_progress": "running", "queued": "pending", "cancelled": "canceled"}


@cache
def _first_origin() -> Path:
    """What every repository begins as, made once; git takes its time."""
    folder = Path(tempfile.mkdtemp(prefix="fake-forge-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Origin(folder / "origin").commit(FIRST_FILES)
    return folder / "origin"


class Comment(msgspec.Struct):
    """One comment on a PR; `mine` is False for what others wrote."""

    id: int
    body: str
    mine: bool = True


class Pull(msgspec.Struct):
    """A pull or merge request; the title has no `Draft: `, whatever the forge shows."""

    number: int
    branch: str
    base: str
    title: str
    body: str
    draft: bool
    sha: str
    at: int
    state: str = "open"  # open, closed, merged
    merge_sha: str | None = None
    foreign: bool = False  # of a fork
    comments: list[Comment] = []


class Run(msgspec.Struct):
    """A workflow run or a pipeline with one job; `outcome` is a conclusion of GitHub's, or a status of one that runs.

    `job` is the name of its one job, which has the same outcome, and `log` what that wrote.
    """

    id: int
    sha: str
    branch: str
    name: str
    outcome: str
    at: int
    began: int
    attempt: int = 1
    workflow_id: int = 501
    source: str = "push"
    job: str = "unit"
    log: str = ""

    @property
    def job_id(self) -> int:
        return self.id * 10 + self.attempt

    @property
    def gitlab_status(self) -> str:
        return GITLAB_WORDS.get(self.outcome, self.outcome)


class Check(msgspec.Struct):
    """A check run of another app than GitHub's Actions, alone in its suite; `branch` is None for that of a fork."""

    id: int
    sha: str
    name: str
    outcome: str
    at: int
    branch: str | None = "main"
    app: str = "other-ci"
    text: str = ""

    @property
    def suite_id(self) -> int:
        return self.id + 500_000


class Status(msgspec.Struct):
    """A commit status; only the newest of a context counts."""

    id: int
    sha: str
    context: str
    state: str
    at: int
    url: str | None = None


class Repository:
    """A repository under `owner/name` (GitLab: any depth) on a host of the fake.

    Everything that happens is told to the hook, if there is one. `on_push(branch, sha)` is called after each push by
    git, which is where a test lets its CI begin. Times are told in whole seconds and always grow, as a busy forge's do.
    """

    def __init__(
        self,
        folder: Path,
        provider: str,
        *,
        host: str,
        full_name: str,
        number: int,
        token: str,
        tell: Callable[[Sent], None],
        first: Path | None,
    ) -> None:
        self.provider, self.host, self.full_name, self.token = provider, host, full_name, token
        self.id = number
        self.origin = Origin(shutil.copytree(first or _first_origin(), folder))
        plain_git(self.origin.bare, "config", "http.receivepack", "true")
        self.told = deliveries.Repo(id=number, path=full_name, host=host)
        self.pulls: dict[int, Pull] = {}
        self.runs: dict[int, Run] = {}
        self.checks: dict[int, Check] = {}
        self.statuses: list[Status] = []
        self.dispatched: list[dict[str, Any]] = []
        self.on_push: Callable[[str, str], None] = lambda branch, sha: None
        self.drafts = True  # GitHub has none in private repositories of its free plan
        self._tell = tell
        self._ids = count(1000)
        self._at = int(time.time()) * 1000
        self.seen_heads = self.heads()

    @property
    def git_url(self) -> str:
        return f"https://{self.host}/{self.full_name}.git"

    @property
    def url(self) -> str:
        return f"https://{self.host}/{self.full_name}"

    def now(self) -> int:
        self._at = max(self._at + 1000, int(time.time()) * 1000)
        return self._at

    # What people do

    def commit(self, texts: dict[str, str], *, branch: str = "main", message: str = "somebody's work") -> str:
        """Somebody pushes a commit; the commit's id."""
        sha = self.origin.commit(texts, branch=branch, message=message)
        self.look_for_pushes()
        return sha

    def head(self, branch: str) -> str:
        return self.origin.head(branch)

    def delete(self, branch: str) -> None:
        plain_git(self.origin.bare, "update-ref", "-d", f"refs/heads/{branch}")
        self.look_for_pushes()

    def pull_of(self, branch: str) -> Pull:
        """The newest one of the branch; KeyError when there is none."""
        found = [pull for pull in self.pulls.values() if pull.branch == branch]
        if not found:
            raise KeyError(branch)
        return found[-1]

    def open(self, branch: str, *, base: str = "main", title: str = "", body: str = "", draft: bool = False) -> Pull:
        sha = self.head(branch)
        number = len(self.pulls) + 1
        pull = Pull(number, branch, base, title or branch, body, draft, sha, self.now(), comments=[])
        self.pulls[number] = pull
        self.tell_pull(pull, "opened")
        return pull

    def close(self, number: int) -> None:
        self._change(number, "closed", state="closed")

    def reopen(self, number: int) -> None:
        self._change(number, "reopened", state="open")

    def make_ready(self, number: int) -> None:
        self._change(number, "ready_for_review", draft=False)

    def merge(self, number: int) -> str:
        """Really merge it, by a merge commit on the base branch, which is returned."""
        pull = self.pulls[number]
        if pull.draft:
            raise ValueError(f"#{number} is a draft")
        clone = self.origin.clone
        plain_git(clone, "fetch", "--quiet", "origin")
        plain_git(clone, "checkout", "--quiet", "--detach", self.head(pull.base))
        plain_git(clone, "merge", "--quiet", "--no-ff", "--message", f"Merge #{number}", self.head(pull.branch))
        plain_git(clone, "push", "--quiet", "origin", f"HEAD:refs/heads/{pull.base}")
        merged = plain_git(clone, "rev-parse", "HEAD")
        self._change(number, "merged", state="merged", merge_sha=merged)
        self.look_for_pushes()
        return merged

    def comment(self, number: int, body: str, *, mine: bool = False) -> Comment:
        made = Comment(next(self._ids), body, mine)
        self.pulls[number].comments.append(made)
        return made

    # CI

    def ci(self, sha: str, outcome: str = "success", *, name: str = "CI", branch: str = "", **more: Any) -> Run:
        """A new run or pipeline of a commit; `in_progress` and `queued` are outcomes too."""
        names = [known for known, head in self.heads().items() if head == sha]
        now = self.now()
        run = Run(next(self._ids), sha, branch or (names or ["main"])[0], name, outcome, now, now, **more)
        self.runs[run.id] = run
        self.tell_run(run)
        return run

    def end(self, run: Run, outcome: str, *, log: str = "") -> None:
        """The run comes to its end, or is corrected."""
        run.outcome, run.at, run.log = outcome, self.now(), log or run.log
        self.tell_run(run)

    def again(self, run: Run, outcome: str = "in_progress") -> None:
        """Somebody runs it once more: GitHub counts the attempts, GitLab makes new jobs in the same pipeline."""
        run.attempt += 1
        self.end(run, outcome)

    def check(self, sha: str, name: str, outcome: str, **more: Any) -> Check:
        made = Check(next(self._ids), sha, name, outcome, self.now(), **more)
        self.checks[made.id] = made
        return made

    def status(self, sha: str, context: str, state: str, url: str | None = None) -> Status:
        made = Status(next(self._ids), sha, context, state, self.now(), url)
        self.statuses.append(made)
        return made

    # Git and hooks

    def heads(self) -> dict[str, str]:
        listed = plain_git(self.origin.bare, "for-each-ref", "--format=%(refname:strip=2) %(objectname)", "refs/heads")
        return dict(line.split() for line in listed.splitlines())

    def look_for_pushes(self) -> None:
        """Tell what moved since the last look."""
        before, after = self.seen_heads, self.heads()
        self.seen_heads = after
        for branch in sorted(before.keys() | after.keys()):
            old, new = before.get(branch), after.get(branch)
            if old == new:
                continue
            forced = bool(old and new) and not self._contains(new or "", old or "")
            if self.provider == "github":
                self._tell(deliveries.github_push(self.told, branch=branch, before=old, after=new, forced=forced))
            else:
                self._tell(deliveries.gitlab_push(self.told, branch=branch, before=old, after=new))
            if new is None:
                continue
            for pull in self.pulls.values():
                if pull.branch == branch and pull.state == "open" and not pull.foreign:
                    pull.sha, pull.at = new, self.now()
                    self.tell_pull(pull, "synchronize", oldrev=old)
            self.on_push(branch, new)

    def tell_pull(self, pull: Pull, action: str, *, oldrev: str | None = None) -> None:
        merged = pull.state == "merged"
        if self.provider == "github":
            sent = deliveries.github_pull_request(
                self.told,
                number=pull.number,
                branch=pull.branch,
                sha=pull.sha,
                action="closed" if action == "merged" else action,
                base=pull.base,
                merged=merged,
                merge_sha=pull.merge_sha,
                draft=pull.draft,
                at=pull.at,
            )
        else:
            words = {"opened": "open", "closed": "close", "reopened": "reopen", "merged": "merge"}
            sent = deliveries.gitlab_merge_request(
                self.told,
                number=pull.number,
                branch=pull.branch,
                sha=pull.sha,
                action=words.get(action, "update"),
                base=pull.base,
                state={"open": "opened"}.get(pull.state, pull.state),
                merge_sha=pull.merge_sha,
                oldrev=oldrev,
                draft=pull.draft,
                at=pull.at,
            )
        self._tell(sent)

    def tell_run(self, run: Run) -> None:
        if self.provider == "github":
            sent = deliveries.github_workflow_run(
                self.told,
                branch=run.branch,
                sha=run.sha,
                outcome=run.outcome,
                run_id=run.id,
                attempt=run.attempt,
                at=run.at,
                name=run.name,
                workflow_id=run.workflow_id,
                trigger=run.source,
            )
        else:
            sent = deliveries.gitlab_pipeline(
                self.told,
                branch=run.branch,
                sha=run.sha,
                status=run.gitlab_status,
                pipeline_id=run.id,
                source=run.source,
                at=run.at,
                builds=(self._build(run),),
            ).but(object_attributes__created_at=deliveries._gitlab_time(run.began))
        self._tell(sent)

    def _build(self, run: Run) -> dict[str, Any]:
        ended = run.gitlab_status in {"success", "failed", "canceled"}
        return {
            "id": run.job_id,
            "stage": "test",
            "name": run.job,
            "status": run.gitlab_status,
            "created_at": deliveries._gitlab_time(run.at),
            "started_at": None,
            "finished_at": deliveries._gitlab_time(run.at) if ended else None,
            "allow_failure": False,
            "failure_reason": "script_failure" if run.gitlab_status == "failed" else None,
        }

    def _change(self, number: int, action: str, **values: Any) -> None:
        pull = self.pulls[number]
        for name, value in values.items():
            setattr(pull, name, value)
        pull.at = self.now()
        self.tell_pull(pull, action)

    def _contains(self, new: str, old: str) -> bool:
        asked = ["git", "merge-base", "--is-ancestor", old, new]
        return subprocess.run(asked, cwd=self.origin.bare, check=False, capture_output=True).returncode == 0
