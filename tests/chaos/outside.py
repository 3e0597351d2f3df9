"""GitHub and GitLab beside the storm: their CI and people, their bad moments, and a post that cannot be relied on."""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from tests.fakes.forge import CUT, Answer, FakeForge, Pull, Repository
from tests.worker.git.stage import plain_git

# The one is a setting of the services, of the other every project has its own.
GITHUB_TOKEN = "github-canary-0123456789abcdef"
GITLAB_TOKEN = "gitlab-canary-0123456789abcdef"
HOSTS = {"github": {"github.com", "api.github.com"}, "gitlab": {"gitlab.com"}}
THEIRS = "somebody's work"
OURS = re.compile(r"\[protocol-\d{4}/(\d\d)\]$")
UNDER_WAY = frozenset({"queued", "in_progress"})
# So often a step's first commit is red.
RED = 0.4
CI_S = (0.1, 1.2)
MOOD_S = (0.3, 1.5)
EVERY_S = 2.0
ANSWERS: dict[str, tuple[Answer, bool]] = {
    "forge: 5xx": (Answer(502), False),
    "forge: 5xx afterwards": (Answer(503), True),
    "forge: 429": (Answer(429, b"{}", {"retry-after": "1"}), False),
    "forge: cut": (CUT, False),
    "forge: cut afterwards": (CUT, True),
}
POST = ("deliveries lost", "deliveries doubled", "deliveries late")
PEOPLE = ("commit of a stranger", "PR closed", "PR reopened", "PR merged", "CI red")
KINDS = (*ANSWERS, *POST, *PEOPLE)


class Place:
    """One run's repository at a forge; `red` are the commits whose CI is red, `theirs` those of strangers."""

    def __init__(
        self,
        forge: FakeForge,
        webhooks: str,
        repository: Repository,
        token: str,
        chance: random.Random,
        seen: Counter[str],
    ) -> None:
        self._forge = forge
        self._webhooks = webhooks
        self.repository = repository
        self.token = token
        self.base = repository.head("main")
        self.red: set[str] = set()
        self.theirs: list[str] = []
        self._outcomes: dict[str, str] = {}
        self._ends: dict[int, float] = {}
        self._chance = chance
        self._seen = seen
        self._red_steps: set[str] = set()
        self.closed = False
        repository.on_push = self._pushed

    @property
    def meddled(self) -> bool:
        """Whether anybody has done there what blocks a run."""
        return bool(self.theirs) or self.closed

    @property
    def pull(self) -> Pull | None:
        """The newest one."""
        return next(reversed(self.repository.pulls.values()), None)

    def hooked(self, path: str, secret: str) -> None:
        """Deliveries go to this path of the webhook service from now on."""
        self._forge.hook(self.repository, self._webhooks + path, secret)

    def stray(self, branch: str) -> bool:
        """Somebody else puts a commit on the branch, if there is one."""
        if not self.repository.head(branch):
            return False
        self.theirs.append(self.repository.commit({"theirs.txt": "theirs\n"}, branch=branch, message=THEIRS))
        self._seen["commit of a stranger"] += 1
        return True

    def close(self) -> bool:
        if self.pull is None or self.pull.state != "open":
            return False
        self.repository.close(self.pull.number)
        self.closed = True
        self._seen["PR closed"] += 1
        return True

    def reopen(self) -> None:
        if self.pull is not None and self.pull.state == "closed":
            self.repository.reopen(self.pull.number)
            self._seen["PR reopened"] += 1

    def merge(self) -> None:
        """As soon as we say that it is ready."""
        if self.pull is not None and self.pull.state == "open" and not self.pull.draft:
            self.repository.merge(self.pull.number)
            self._seen["PR merged"] += 1

    def end_ci(self) -> None:
        """What has run for long enough comes to its end."""
        for run in list(self.repository.runs.values()):
            if run.outcome in UNDER_WAY:
                due = self._ends.setdefault(run.id, time.monotonic() + self._chance.uniform(*CI_S))
                if time.monotonic() >= due:
                    outcome = self._outcome_of(run.sha)
                    self.repository.end(run, outcome, log=f"1 failed\nthe token is {self.token}\n")

    def _pushed(self, branch: str, sha: str) -> None:
        if branch != "main":
            self.repository.ci(sha, "in_progress", branch=branch)

    def _outcome_of(self, sha: str) -> str:
        """The same for a commit however often it is asked; a step is red once at most."""
        if sha not in self._outcomes:
            found = OURS.search(plain_git(self.repository.origin.bare, "log", "-1", "--format=%s", sha))
            step = found[1] if found else "00"
            red = step != "00" and step not in self._red_steps and self._chance.random() < RED
            if red:
                self._red_steps.add(step)
                self.red.add(sha)
                self._seen["CI red"] += 1
            self._outcomes[sha] = "failure" if red else "success"
        return self._outcomes[sha]


class Outside:
    """All of it; `seen` counts what happened there, by KINDS."""

    def __init__(self, forge: FakeForge, webhooks: str, chance: random.Random) -> None:
        self.forge = forge
        self._webhooks = webhooks
        self.seen: Counter[str] = Counter()
        self.places: dict[int, Place] = {}
        self._chance = chance

    @property
    def acknowledged(self) -> list[str]:
        """The keys of the deliveries that the webhook service took."""
        return list(dict.fromkeys(sent.key for sent, status in self.forge.post.answers if 200 <= status < 300))

    def place(self, number: int) -> Place:
        """A new repository for this run, at one forge or the other."""
        provider, token = ("gitlab", f"{GITLAB_TOKEN}-{number}") if number % 2 else ("github", GITHUB_TOKEN)
        repository = self.forge.repository(provider, f"{provider}.com", f"acme/sample-{number}", token=token)
        chance = random.Random(self._chance.random())
        place = Place(self.forge, self._webhooks, repository, token, chance, self.seen)
        self.places[number] = place
        return place

    async def live(self) -> None:
        """CI runs come to their end, until cancelled."""
        while True:
            for place in self.places.values():
                place.end_ci()
            await asyncio.sleep(0.1)

    async def blow(self, *, until: Callable[[], bool]) -> None:
        """One fault after the other."""
        while not until():
            await asyncio.sleep(self._chance.expovariate(1 / EVERY_S))
            if not self.places:
                continue
            kind = self._chance.choice((*ANSWERS, *POST))
            if kind in ANSWERS:
                answer, after = ANSWERS[kind]
                self.forge.fault(r"", self._counted(kind, answer), after=after)
            else:
                await self._mood(kind)

    async def _mood(self, kind: str) -> None:
        post, before = self.forge.post, len(self.forge.post.sent)
        post.losing, post.twice = kind == "deliveries lost", kind == "deliveries doubled"
        if kind == "deliveries late":
            post.hold()
        await asyncio.sleep(self._chance.uniform(*MOOD_S))
        post.losing = post.twice = False
        if post.held is not None:
            post.release(lambda held: self._chance.sample(held, len(held)))
        self.seen[kind] += len(post.sent) > before

    def _counted(self, kind: str, answer: Answer) -> "Callable[[object], Answer]":
        def told(_asked: object) -> Answer:
            self.seen[kind] += 1
            return answer

        return told

    def wrong(self, folder: Path) -> list[str]:
        """Each token was at its own forge alone, and is in no log and in no row in plain words."""
        found: list[str] = []
        texts = [*folder.glob("*.log"), *folder.glob("flow.sqlite*")]
        for place in self.places.values():
            strangers = self.forge.hosts_that_saw(place.token) - HOSTS[place.repository.provider]
            found.extend(f"the token of {place.repository.url} was at {host}" for host in strangers)
        for token in {place.token for place in self.places.values()}:
            found.extend(f"the token {token} is in {file}" for file in texts if token.encode() in file.read_bytes())
        return found


class Wish(msgspec.Struct, frozen=True):
    """What people do at the forge to one run, one after the other; `then` is what they say to a branch not ours."""

    what: tuple[str, ...] = ("trigger ci", "trigger ci")
    then: str = ""


WISHES = (
    Wish(("stray", "trigger ci"), "adopt branch"),
    Wish(("close", "trigger ci")),
    Wish(),
    Wish(("stray", "trigger ci"), "reset branch"),
    Wish(("trigger ci", "close")),
    Wish(("trigger ci", "stray"), "cancel run"),
)
