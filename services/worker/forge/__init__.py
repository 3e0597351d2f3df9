"""The one door to the APIs of GitHub and GitLab: what the jobs ask for, in their words.

Every failure is a `JobError` whose sentence says what to do. A token goes to the host that it is for, in a header, and
nowhere else.
"""

import re
from typing import Protocol
from urllib.parse import unquote, urlsplit

import msgspec

from services.worker.forge.client import Api, Kept, Patience, new_http
from services.worker.forge.failures import Place
from services.worker.forge.github import GitHub
from services.worker.forge.gitlab import GitLab
from shared.errors import Category, JobError
from shared.redaction import Redactor
from shared.schemas.forge import CiWord, PullWord, Repository
from shared.schemas.names import url_host
from shared.schemas.statuses import Provider
from shared.secret import Secret

GITHUB_HEADERS = {"accept": "application/vnd.github+json", "x-github-api-version": "2022-11-28"}
GITLAB_HEADERS = {"accept": "application/json"}


class Forge(Protocol):
    """What one repository's forge can be asked; a pull request is a merge request at GitLab."""

    async def repository(self) -> Repository:
        """Who it is: its id stays the same whatever it is called."""
        ...

    async def pull(self, number: int) -> PullWord:
        """A pull request as it stands."""
        ...

    async def pull_of(self, branch: str) -> PullWord | None:
        """The newest open one of this branch in this repository, else the newest closed or merged one."""
        ...

    async def open_pull(self, *, branch: str, base: str, title: str, body: str) -> PullWord:
        """Open a draft, or find the open one that is there; not a draft only where the forge has none."""
        ...

    async def edit_pull(self, number: int, *, title: str, body: str, ready: bool) -> PullWord:
        """Bring title and body up to date; `ready` takes the draft mark away, without it that stays as it is."""
        ...

    async def comment(self, number: int, *, comment: str | None, marker: str, body: str) -> str:
        """Edit the comment with this id, or the one that has the line `marker`, else make one; its id.

        The marker becomes the first line of the body if that does not hold it.
        """
        ...

    async def ci_of(self, sha: str) -> tuple[CiWord, ...]:
        """All that the forge says of the commit, in the words and contexts of its deliveries."""
        ...

    async def red_log(self, word: CiWord) -> str:
        """The last lines of the log of a red word's failing job, at most 64 kB and not redacted; "" without one."""
        ...

    async def trigger_ci(self, branch: str, *, workflow: str | None, inputs: dict[str, str]) -> str | None:
        """Start the CI on the head of a branch; the address of its run if the forge tells it.

        GitHub needs the file name of a workflow; CONFIG without one. GitLab has none, and takes inputs as variables.
        """
        ...


class Address(msgspec.Struct, frozen=True):
    """Where a repository is: `host` with the port of https unless that is 443."""

    host: str
    full_name: str


class Forges:
    """Makes the doors to forges, which share their connections and what they remember; closed by who made it."""

    def __init__(self, *, redactor: Redactor, patience: Patience = Patience()) -> None:  # noqa: B008  it is frozen
        self._redactor = redactor
        self._patience = patience
        self._http = new_http(patience)
        self._kept = Kept()

    def of(self, provider: Provider, git_url: str, token: Secret) -> Forge | None:
        """The forge of this repository, spoken to with this token; None where the URL is none of such a forge.

        CONFIG when the token is none: a header can hold no other characters.
        """
        at = address_of(git_url)
        if at is None:
            return None
        self._redactor.learn(token.reveal())
        if not re.fullmatch(r"[!-~]+", token.reveal()):
            message = f"The token for {at.host} holds a space, a line break or another character that no token has."
            raise JobError(Category.CONFIG, message)
        match provider:
            case Provider.GITHUB if at.full_name.count("/") == 1:
                return self._github(at, token)
            case Provider.GITLAB:
                place = Place("GitLab", at.host)
                base, header = f"https://{at.host}/api/v4", ("private-token", "")
                return GitLab(self._api(place, base, token, header, GITLAB_HEADERS), at.full_name)
            case _:
                return None

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    def _github(self, at: Address, token: Secret) -> GitHub:
        base, graphql = f"https://{at.host}/api/v3", f"https://{at.host}/api/graphql"
        if at.host == "github.com":
            base, graphql = "https://api.github.com", "https://api.github.com/graphql"
        api = self._api(Place("GitHub", at.host), base, token, ("authorization", "Bearer "), GITHUB_HEADERS)
        return GitHub(api, graphql, at.full_name)

    def _api(self, place: Place, base: str, token: Secret, header: tuple[str, str], headers: dict[str, str]) -> Api:
        return Api(
            self._http,
            self._kept,
            place=place,
            base=base,
            token=token,
            header=header,
            headers=headers,
            whole_s=self._patience.whole_s,
        )


def address_of(git_url: str) -> Address | None:
    """Host and path of an accepted `git_url`; the API of one that is reached by ssh is where https usually is."""
    host = url_host(git_url)
    if host is None:
        return None
    if git_url.startswith("https://"):
        path = urlsplit(git_url).path
    else:
        host = host.partition(":")[0]
        path = urlsplit(git_url).path if "://" in git_url else git_url.partition(":")[2]
    name = unquote(path).strip("/").removesuffix(".git")
    return Address(host, name) if host and "/" in name else None
