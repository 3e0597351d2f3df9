"""What the tests of the forge door may ask for: the fake forge, and the door to one repository on it."""

import atexit
import shutil
import tempfile
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path

import pytest

from services.worker.forge import Forge, Forges
from services.worker.forge.client import Patience
from shared.redaction import Redactor
from shared.schemas.statuses import Provider
from shared.secret import Secret
from tests.fakes.forge import FakeForge, Repository
from tests.worker.git.stage import Origin

TOKEN = "canary-5d1e90b7"
BRANCH = "0001-pears"
HOSTS = {
    "github.com": ("github", "github.com"),
    "github enterprise": ("github", "code.example.test:8443"),
    "gitlab.com": ("gitlab", "gitlab.com"),
    "gitlab of one's own": ("gitlab", "git.example.test"),
}


@cache
def _first_origin() -> Path:
    """A repository with a branch that has a commit of its own, made once."""
    folder = Path(tempfile.mkdtemp(prefix="forge-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    origin = Origin(folder / "origin")
    origin.commit({"README.md": "# Pears\n"})
    origin.commit({"pears.txt": "pears\n"}, branch=BRANCH)
    return folder / "origin"


class Stage:
    """One repository with a branch that has a commit of its own, and the door to it."""

    def __init__(self, world: FakeForge, forges: Forges, where: str) -> None:
        provider, host = HOSTS[where]
        name = "acme/pears" if provider == "github" else "acme/fruit/pears"
        self.world, self.forges = world, forges
        self.repo: Repository = world.repository(provider, host, name, token=TOKEN, first=_first_origin())
        self.sha = self.repo.seen_heads[BRANCH]
        self.door = self.door_with(TOKEN)

    @property
    def api_host(self) -> str:
        return "api.github.com" if self.repo.host == "github.com" else self.repo.host

    @property
    def pulls(self) -> str:
        return "/pulls" if self.repo.provider == "github" else "/merge_requests"

    def door_with(self, token: str) -> Forge:
        door = self.forges.of(Provider(self.repo.provider), self.repo.git_url, Secret(token))
        assert door is not None
        return door


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeForge]:
    async with FakeForge(tmp_path) as world:
        for name, value in world.environment.items():
            monkeypatch.setenv(name, value)
            monkeypatch.delenv(name.lower(), raising=False)
        yield world
        assert world.hosts_that_saw(TOKEN) <= {"api.github.com", *(host for _, host in HOSTS.values())}


@pytest.fixture
def redactor() -> Redactor:
    return Redactor()


@pytest.fixture
async def forges(world: FakeForge, redactor: Redactor) -> AsyncIterator[Forges]:
    forges = Forges(redactor=redactor, patience=Patience(connect_s=5, read_s=0.5, whole_s=2))
    yield forges
    await forges.aclose()


@pytest.fixture(params=["github.com", "gitlab of one's own"])
def stage(request: pytest.FixtureRequest, world: FakeForge, forges: Forges) -> Stage:
    """On either forge in turn."""
    return Stage(world, forges, request.param)


@pytest.fixture(params=["github enterprise", "gitlab.com"])
def elsewhere(request: pytest.FixtureRequest, world: FakeForge, forges: Forges) -> Stage:
    """The other places of them, for what their addresses decide."""
    return Stage(world, forges, request.param)


@pytest.fixture
def github(world: FakeForge, forges: Forges) -> Stage:
    return Stage(world, forges, "github.com")


@pytest.fixture
def enterprise(world: FakeForge, forges: Forges) -> Stage:
    return Stage(world, forges, "github enterprise")


@pytest.fixture
def gitlab(world: FakeForge, forges: Forges) -> Stage:
    return Stage(world, forges, "gitlab of one's own")
