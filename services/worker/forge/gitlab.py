"""GitLab, at gitlab.com and on servers of one's own: its REST API, where a draft is a title that says so."""

import re
from typing import Final
from urllib.parse import quote

import msgspec

from services.worker.forge.client import Api, first, holds, is_success, marked
from services.worker.forge.failures import Wish
from shared.forges import gitlab
from shared.forges.fields import repository_of
from shared.schemas.forge import CiWord, PullWord, Repository
from shared.schemas.statuses import PullState

DRAFT: Final = "Draft: "
MAX_PIPELINES: Final = 10

NEEDS: Final = "the scope api, and the role Developer"
READ: Final = Wish("read the project", NEEDS)
LOOK: Final = Wish("read the merge request", NEEDS)
OPEN: Final = Wish("open a merge request", NEEDS)
EDIT: Final = Wish("edit the merge request", NEEDS)
SAY: Final = Wish("comment on the merge request", NEEDS)
PIPELINES: Final = Wish("read the pipelines of a commit", NEEDS)
LOG: Final = Wish("read the log of a job", NEEDS)
START: Final = Wish("start a pipeline", NEEDS)

_DRAFT: Final = re.compile(r"^(?:\s*(?:\[draft\]|\(draft\)|draft:))+\s*", re.IGNORECASE)


class _MergeRequest(gitlab.MergeRequest, frozen=True):
    title: str | None = None
    description: str | None = None


class _Note(msgspec.Struct, frozen=True):
    id: int
    body: str | None = None
    system: bool = False


class _Job(gitlab.Build, frozen=True):
    web_url: str | None = None


class GitLab:
    """One project."""

    def __init__(self, api: Api, full_name: str) -> None:
        self._api = api
        self._project = f"/projects/{quote(full_name, safe='')}"

    async def repository(self) -> Repository:
        """Who it is."""
        found = await self._api.get(self._project, READ, gitlab.Project)
        known = repository_of(found.id, found.path_with_namespace, found.web_url)
        if known is None:
            raise self._api.not_understood(READ)
        return known

    # Merge requests

    async def pull(self, number: int) -> PullWord:
        """As it stands."""
        return self._word(await self._pull(number), LOOK)

    async def pull_of(self, branch: str) -> PullWord | None:
        """The newest open one of the branch, else the newest of all."""
        query = {"source_branch": branch, "state": "all", "order_by": "created_at", "sort": "desc", "per_page": 100}
        listed = await self._api.get(f"{self._project}/merge_requests", LOOK, list[_MergeRequest], **query)
        ours = [self._word(pull, LOOK) for pull in listed if not gitlab.is_from_fork(pull)]
        return first(ours, lambda word: word.state is PullState.OPEN) or first(ours, lambda _: True)

    async def open_pull(self, *, branch: str, base: str, title: str, body: str) -> PullWord:
        """A draft, or the open one that is there."""
        wanted = {"source_branch": branch, "target_branch": base, "title": DRAFT + plain(title), "description": body}
        heard = await self._api.send("POST", f"{self._project}/merge_requests", OPEN, wanted)
        if is_success(heard):
            return self._word(self._api.decoded(heard, OPEN, _MergeRequest), OPEN)
        if heard.status == 409:  # noqa: PLR2004  there is one
            found = await self.pull_of(branch)
            if found is not None and found.state is PullState.OPEN:
                return found
        raise self._api.refused(heard, OPEN)

    async def edit_pull(self, number: int, *, title: str, body: str, ready: bool) -> PullWord:
        """Bring title and text up to date; whoever took the draft mark away keeps it away."""
        pull = await self._pull(number)
        is_draft = not ready and self._word(pull, LOOK).draft
        wanted = {"title": (DRAFT if is_draft else "") + plain(title), "description": body}
        if (pull.title, (pull.description or "").strip()) != (wanted["title"], body.strip()):
            path = f"{self._project}/merge_requests/{number}"
            pull = await self._api.change("PUT", path, EDIT, wanted, _MergeRequest)
        return self._word(pull, EDIT)

    async def comment(self, number: int, *, comment: str | None, marker: str, body: str) -> str:
        """Edit the known note, or the one with the marker, else make one."""
        notes = f"{self._project}/merge_requests/{number}/notes"
        text = {"body": marked(body, marker)}
        known = comment or await self._marked(notes, marker)
        if known is not None:
            heard = await self._api.send("PUT", f"{notes}/{quote(known)}", SAY, text)
            if is_success(heard):
                return known
            if heard.status != 404:  # noqa: PLR2004  somebody deleted it
                raise self._api.refused(heard, SAY)
        if comment is not None:
            return await self.comment(number, comment=None, marker=marker, body=body)
        return str((await self._api.change("POST", notes, SAY, text, _Note)).id)

    async def _marked(self, notes: str, marker: str) -> str | None:
        pages, _ = await self._api.pages(notes, SAY, list[_Note], order_by="created_at", sort="asc")
        ours = [note for page in pages for note in page if not note.system]
        found = first(ours, lambda note: holds(note.body or "", marker))
        return None if found is None else str(found.id)

    # CI

    async def ci_of(self, sha: str) -> tuple[CiWord, ...]:
        """What the newest pipeline of each kind says of the commit, and each of its jobs."""
        path = f"{self._project}/pipelines"
        query = {"sha": sha, "order_by": "id", "sort": "desc"}
        newest: dict[str, gitlab.Pipeline] = {}
        for page in await self._api.all_pages(path, PIPELINES, list[gitlab.Pipeline], **query):
            for pipeline in page:
                word = gitlab.pipeline_word(pipeline, None, ())
                if isinstance(word, CiWord) and word.sha == sha:
                    newest.setdefault(word.context, pipeline)
        words: list[CiWord] = []
        for pipeline in list(newest.values())[:MAX_PIPELINES]:
            jobs = await self._jobs(pipeline.id)
            branch = None if (pipeline.ref or "").startswith("refs/") else pipeline.ref
            told = gitlab.pipeline_word(pipeline, branch, jobs)
            each = [gitlab.job_word(job, sha, branch, pipeline.id, job.web_url) for job in jobs]
            words += [word for word in (told, *each) if isinstance(word, CiWord)]
        return tuple(words)

    async def red_log(self, word: CiWord) -> str:
        """The end of what the failing job wrote, the first that made its pipeline red."""
        if "job_id" in word.details:
            return await self._trace(word.details["job_id"])
        if word.details.get("failed_builds"):
            return await self._trace(word.details["failed_builds"][0]["id"])
        if "source" not in word.details:
            return ""
        failed = gitlab.failed_builds(await self._jobs(word.run_id))
        return await self._trace(failed[0]["id"]) if failed else ""

    async def trigger_ci(self, branch: str, *, workflow: str | None, inputs: dict[str, str]) -> str | None:  # noqa: ARG002
        """Start a pipeline with these variables; there are no workflows to choose from."""
        wanted = {"ref": branch, "variables": [{"key": key, "value": value} for key, value in inputs.items()]}
        started = await self._api.change("POST", f"{self._project}/pipeline", START, wanted, gitlab.Pipeline)
        return started.web_url

    async def _pull(self, number: int) -> _MergeRequest:
        return await self._api.get(f"{self._project}/merge_requests/{number}", LOOK, _MergeRequest)

    async def _jobs(self, pipeline_id: int) -> list[_Job]:
        path = f"{self._project}/pipelines/{pipeline_id}/jobs"
        return [job for page in await self._api.all_pages(path, PIPELINES, list[_Job]) for job in page]

    async def _trace(self, job_id: int) -> str:
        return await self._api.log_tail(f"{self._project}/jobs/{job_id}/trace", LOG)

    def _word(self, pull: _MergeRequest, wish: Wish) -> PullWord:
        word = gitlab.pull_word(pull)
        if not isinstance(word, PullWord):
            raise self._api.not_understood(wish)
        return word


def plain(title: str) -> str:
    """The title without anything that would make it a draft."""
    return _DRAFT.sub("", title)
