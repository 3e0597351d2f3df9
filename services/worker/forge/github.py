"""GitHub, at github.com and on servers of one's own: its REST API, and GraphQL for the one thing that needs it."""

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

import msgspec

from services.worker.forge.client import Api, Heard, first, holds, is_success, marked
from services.worker.forge.failures import UNTOLD_WAIT_S, Wish, what_it_said
from shared.errors import Category, JobError
from shared.forges import github
from shared.forges.fields import repository_of
from shared.forges.outcomes import deciding_word, outcome_of
from shared.schemas.forge import CiWord, PullWord, Repository, Word
from shared.schemas.statuses import Outcome, PullState

ACTIONS: Final = "github-actions"

READ: Final = Wish("read the repository", "the permission Metadata (read)")
LOOK: Final = Wish("read the pull request", "the permission Pull requests (read and write)")
OPEN: Final = Wish("open a pull request", "the permission Pull requests (read and write)")
EDIT: Final = Wish("edit the pull request", "the permission Pull requests (read and write)")
READY: Final = Wish("mark the pull request as ready", "the permission Pull requests (read and write)")
SAY: Final = Wish("comment on the pull request", "the permission Pull requests (read and write)")
CHECKS: Final = Wish("read the checks of a commit", "the permission Checks (read)")
STATUSES: Final = Wish("read the statuses of a commit", "the permission Commit statuses (read)")
RUNS: Final = Wish("read the workflow runs of a commit", "the permission Actions (read)")
LOG: Final = Wish("read the log of a job", "the permission Actions (read)")
START: Final = Wish("start the workflow", "the permission Actions (read and write)")

MARK_READY: Final = (
    "mutation($id: ID!) { markPullRequestReadyForReview(input: {pullRequestId: $id}) { pullRequest { isDraft } } }"
)


class _Pull(github.Pull, frozen=True):
    node_id: str = ""
    title: str | None = None
    body: str | None = None


class _Comment(msgspec.Struct, frozen=True):
    id: int
    body: str | None = None


class _Output(msgspec.Struct, frozen=True):
    title: str | None = None
    summary: str | None = None
    text: str | None = None


class _FullRun(msgspec.Struct, frozen=True):
    id: int
    status: str | None = None
    conclusion: str | None = None
    app: github.App | None = None
    output: _Output | None = None

    @property
    def is_red(self) -> bool:
        return outcome_of(deciding_word(self.status, self.conclusion)) is Outcome.FAIL


class _Suites(msgspec.Struct, frozen=True):
    check_suites: list[github.CheckSuite]


class _Checks(msgspec.Struct, frozen=True):
    check_runs: list[github.CheckRun]


class _FullRuns(msgspec.Struct, frozen=True):
    check_runs: list[_FullRun]


class _Jobs(msgspec.Struct, frozen=True):
    jobs: list[_FullRun]


class _Runs(msgspec.Struct, frozen=True):
    workflow_runs: list[github.WorkflowRun]


class _Combined(msgspec.Struct, frozen=True):
    sha: str
    statuses: list[github.Status]


class _Started(msgspec.Struct, frozen=True):
    html_url: str | None = None


class _Trouble(msgspec.Struct, frozen=True):
    type: str | None = None
    message: str | None = None


class _Answered(msgspec.Struct, frozen=True):
    errors: list[_Trouble] | None = None


class GitHub:
    """One repository; `graphql` is the address of the GraphQL API."""

    def __init__(self, api: Api, graphql: str, full_name: str) -> None:
        self._api, self._graphql = api, graphql
        self._owner = full_name.partition("/")[0]
        self._repo = f"/repos/{quote(full_name)}"

    async def repository(self) -> Repository:
        """Who it is."""
        found = await self._api.get(self._repo, READ, github.Repo)
        known = repository_of(found.id, found.full_name, found.html_url)
        if known is None:
            raise self._api.not_understood(READ)
        return known

    # Pull requests

    async def pull(self, number: int) -> PullWord:
        """As it stands."""
        return self._word(await self._api.get(f"{self._repo}/pulls/{number}", LOOK, _Pull), LOOK)

    async def pull_of(self, branch: str) -> PullWord | None:
        """The newest open one of the branch, else the newest of all."""
        query = {"head": f"{self._owner}:{branch}", "state": "all", "sort": "created", "direction": "desc"}
        listed = await self._api.get(f"{self._repo}/pulls", LOOK, list[_Pull], per_page=100, **query)
        words = [self._word(pull, LOOK) for pull in listed if not github.is_pull_from_fork(pull)]
        ours = [word for word in words if word.branch == branch]
        return first(ours, lambda word: word.state is PullState.OPEN) or first(ours, lambda _: True)

    async def open_pull(self, *, branch: str, base: str, title: str, body: str) -> PullWord:
        """A draft, or the open one that is there; no draft where the forge has none."""
        wanted = {"head": branch, "base": base, "title": title, "body": body}
        heard = await self._api.send("POST", f"{self._repo}/pulls", OPEN, {**wanted, "draft": True})
        if _is_invalid(heard, "draft pull request"):
            heard = await self._api.send("POST", f"{self._repo}/pulls", OPEN, wanted)
        if is_success(heard):
            return self._word(self._api.decoded(heard, OPEN, _Pull), OPEN)
        if _is_invalid(heard, "already exists"):
            found = await self.pull_of(branch)
            if found is not None and found.state is PullState.OPEN:
                return found
        raise self._api.refused(heard, OPEN)

    async def edit_pull(self, number: int, *, title: str, body: str, ready: bool) -> PullWord:
        """Bring title and body up to date, and take the draft mark away with `ready`."""
        path = f"{self._repo}/pulls/{number}"
        pull = await self._api.get(path, LOOK, _Pull)
        if (pull.title, _lines(pull.body)) != (title, _lines(body)):
            pull = await self._api.change("PATCH", path, EDIT, {"title": title, "body": body}, _Pull)
        if ready and pull.draft and pull.state == "open":
            await self._make_ready(pull)
            pull = await self._api.get(path, LOOK, _Pull)
        return self._word(pull, EDIT)

    async def _make_ready(self, pull: _Pull) -> None:
        asked = {"query": MARK_READY, "variables": {"id": pull.node_id}}
        troubles = (await self._api.change("POST", self._graphql, READY, asked, _Answered)).errors or []
        if not troubles:
            return
        kinds = {trouble.type for trouble in troubles}
        told = "; ".join(trouble.message or "" for trouble in troubles)[:300]
        if "RATE_LIMITED" in kinds:
            message = f"{self._api.place} accepts no more calls for now: {told}"
            raise JobError(Category.RATE_LIMITED, message, again_in_s=UNTOLD_WAIT_S)
        if kinds & {"FORBIDDEN", "INSUFFICIENT_SCOPES"}:
            message = f"{self._api.place} does not let this token {READY.what}: {told} It needs {READY.needs}."
            raise JobError(Category.AUTH, message)
        raise JobError(Category.BAD_REQUEST, f"{self._api.place} refused to {READY.what}: {told}")

    async def comment(self, number: int, *, comment: str | None, marker: str, body: str) -> str:
        """Edit the known comment, or the one with the marker, else make one."""
        text = {"body": marked(body, marker)}
        known = comment or await self._marked(number, marker)
        if known is not None:
            heard = await self._api.send("PATCH", f"{self._repo}/issues/comments/{quote(known)}", SAY, text)
            if is_success(heard):
                return known
            if heard.status != 404:  # noqa: PLR2004  somebody deleted it
                raise self._api.refused(heard, SAY)
        if comment is not None:
            return await self.comment(number, comment=None, marker=marker, body=body)
        made = await self._api.change("POST", f"{self._repo}/issues/{number}/comments", SAY, text, _Comment)
        return str(made.id)

    async def _marked(self, number: int, marker: str) -> str | None:
        pages, _ = await self._api.pages(f"{self._repo}/issues/{number}/comments", SAY, list[_Comment])
        found = first([each for page in pages for each in page], lambda each: holds(each.body or "", marker))
        return None if found is None else str(found.id)

    # CI

    async def ci_of(self, sha: str) -> tuple[CiWord, ...]:
        """What every check, status and workflow run says of the commit, those of forks left out."""
        commit = f"{self._repo}/commits/{quote(sha)}"
        suites = [
            suite
            for page in await self._api.all_pages(f"{commit}/check-suites", CHECKS, _Suites)
            for suite in page.check_suites
            if suite.head_branch is not None  # of a fork
        ]
        ours = {suite.id for suite in suites}
        checks = [
            check
            for page in await self._api.all_pages(f"{commit}/check-runs", CHECKS, _Checks, filter="latest")
            for check in page.check_runs
            if check.check_suite is None or check.check_suite.id in ours
        ]
        statuses = [
            msgspec.structs.replace(status, sha=page.sha)
            for page in await self._api.all_pages(f"{commit}/status", STATUSES, _Combined)
            for status in page.statuses
        ]
        runs = [
            run
            for page in await self._api.all_pages(f"{self._repo}/actions/runs", RUNS, _Runs, head_sha=sha)
            for run in page.workflow_runs
            if not github.is_from_fork(run, None)
        ]
        words: Iterable[Word] = (
            *map(github.workflow_run_word, runs),
            *map(github.check_suite_word, suites),
            *map(github.check_run_word, checks),
            *map(github.status_word, statuses),
        )
        return tuple(word for word in words if isinstance(word, CiWord) and word.sha == sha)

    async def red_log(self, word: CiWord) -> str:
        """The end of what the failing job wrote; for a check of another app what that says of itself."""
        match word.scope:
            case "workflow_run":
                path = f"{self._repo}/actions/runs/{word.run_id}/jobs"
                pages, _ = await self._api.pages(path, LOG, _Jobs, filter="latest")
                job = first([job for page in pages for job in page.jobs], lambda job: job.is_red)
                return "" if job is None else await self._job_log(job.id)
            case "check_suite":
                path = f"{self._repo}/check-suites/{word.run_id}/check-runs"
                runs = await self._api.get(path, CHECKS, _FullRuns, filter="latest", per_page=100)
                run = first(runs.check_runs, lambda run: run.is_red)
                return "" if run is None else await self._check_log(run)
            case "check_run":
                path = f"{self._repo}/check-runs/{word.run_id}"
                return await self._check_log(await self._api.get(path, CHECKS, _FullRun))
            case _:
                return ""

    async def _check_log(self, run: _FullRun) -> str:
        """A check run of Actions has the id of its job."""
        if run.app is not None and run.app.slug == ACTIONS:
            return await self._job_log(run.id)
        told = run.output or _Output()
        return "\n\n".join(text for text in (told.title, told.summary, told.text) if text)[-64_000:]

    async def _job_log(self, job_id: int) -> str:
        return await self._api.log_tail(f"{self._repo}/actions/jobs/{job_id}/logs", LOG)

    async def trigger_ci(self, branch: str, *, workflow: str | None, inputs: dict[str, str]) -> str | None:
        """Start a workflow that has `workflow_dispatch`; the address of its run where the forge tells it."""
        if not workflow:
            message = f"{self._api.place} starts a workflow by its file name: say which one, such as ci.yml."
            raise JobError(Category.CONFIG, message)
        path = f"{self._repo}/actions/workflows/{quote(workflow, safe='')}/dispatches"
        wanted = {"ref": branch, "inputs": inputs}
        heard = await self._api.send("POST", path, START, {**wanted, "return_run_details": True})
        if _is_invalid(heard, "return_run_details"):  # servers that are older than this wish
            heard = await self._api.send("POST", path, START, wanted)
        if heard.status == 404:  # noqa: PLR2004  not found
            message = f"{self._api.place} knows no workflow {workflow} there, or the token lacks {START.needs}."
            raise JobError(Category.CONFIG, message)
        if not is_success(heard):
            raise self._api.refused(heard, START)
        return self._api.decoded(heard, START, _Started).html_url if heard.body else None

    def _word(self, pull: _Pull, wish: Wish) -> PullWord:
        word = github.pull_word(pull)
        if not isinstance(word, PullWord):
            raise self._api.not_understood(wish)
        return word


def _is_invalid(heard: Heard, about: str) -> bool:
    """Whether the wish was refused because of this."""
    return heard.status in {400, 422} and about in what_it_said(heard.body).lower()


def _lines(text: str | None) -> str:
    """A forge changes the ends of lines of a text that a person touched."""
    return (text or "").replace("\r\n", "\n").strip()
