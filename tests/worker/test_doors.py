"""The token for a project's origin: from where it comes, to which host it goes, and where it never is."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.worker.doors import FORGE_TOKEN, Doors
from services.worker.service import open_doors
from shared.errors import Category, JobError
from shared.repository import projects
from shared.schemas.records import Project
from shared.secret import Secret
from shared.workflow.projects import put_secret
from tests.e2e.house import conversation, done
from tests.worker.workshop import WAIT, Workshop, open_workshop

OWN, GENERAL = "own-token-0123456789", "general-token-0123456789"
GITHUB, GITLAB, OTHER = "https://github.com/a/b.git", "https://gitlab.com/a/b.git", "https://git.example.org/a/b.git"


def doors_of(shop: Workshop, **settings: Any) -> Doors:
    """The doors as they are under other settings."""
    changed = msgspec.structs.replace(shop.runtime.settings, **settings)
    return open_doors(msgspec.structs.replace(shop.runtime, settings=changed), allow_local=True)


async def project_at(shop: Workshop, url: str) -> Project:
    await shop.change("UPDATE projects SET git_url = ?", url)
    return await shop.runtime.database.read(projects.expect, 1)


async def store(shop: Workshop, token: str) -> None:
    sealed = shop.runtime.vault.seal(token, f"project:1:{FORGE_TOKEN}")
    await shop.call(put_secret, 1, FORGE_TOKEN, sealed=sealed)


@pytest.fixture
async def shop(ground_floor: Path) -> AsyncIterator[Workshop]:
    async with open_workshop(ground_floor) as opened:
        await opened.open("Greet")
        yield opened


async def test_a_token_of_the_settings_goes_to_hosts_of_its_own_forge_only(shop: Workshop) -> None:
    doors = doors_of(shop, github_token=Secret(GENERAL))
    remote = await doors.remote_of(await project_at(shop, GITHUB))
    assert remote.credential is not None
    assert (remote.credential.host, remote.credential.token.reveal()) == ("github.com", GENERAL)
    for url in (GITLAB, OTHER, "https://github.com.evil.org/a/b.git", "https://github.com:444/a/b.git"):
        assert (await doors.remote_of(await project_at(shop, url))).credential is None, url


async def test_a_token_goes_over_https_alone(shop: Workshop) -> None:
    await store(shop, OWN)
    for url in ("ssh://git@github.com/a/b.git", "git@github.com:a/b.git", "/srv/repositories/a.git"):
        assert (await shop.doors.remote_of(await project_at(shop, url))).credential is None, url


async def test_a_projects_own_token_comes_before_the_general_one_and_is_for_its_host(shop: Workshop) -> None:
    doors = doors_of(shop, github_token=Secret(GENERAL))
    await store(shop, OWN)
    for url, host in ((GITHUB, "github.com"), (OTHER, "git.example.org")):
        remote = await doors.remote_of(await project_at(shop, url))
        assert remote.credential is not None
        assert (remote.credential.host, remote.credential.token.reveal()) == (host, OWN)


async def test_a_token_may_lie_in_a_file_that_is_read_each_time(shop: Workshop, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(OWN + "\n")
    await shop.call(put_secret, 1, FORGE_TOKEN, file_name=str(file))
    project = await project_at(shop, GITHUB)
    remote = await shop.doors.remote_of(project)
    assert remote.credential is not None
    assert remote.credential.token.reveal() == OWN
    file.write_text("rotated-token-0123456789\n")
    remote = await shop.doors.remote_of(project)
    assert remote.credential is not None
    assert remote.credential.token.reveal() == "rotated-token-0123456789"
    file.unlink()
    with pytest.raises(JobError, match="does not exist") as caught:
        await shop.doors.remote_of(project)
    assert caught.value.category is Category.CONFIG


async def test_a_token_that_was_sealed_under_another_key_is_a_failure_that_says_so(shop: Workshop) -> None:
    sealed = shop.runtime.vault.seal(OWN, f"project:2:{FORGE_TOKEN}")
    await shop.call(put_secret, 1, FORGE_TOKEN, sealed=sealed)
    with pytest.raises(JobError) as caught:
        await shop.doors.remote_of(await project_at(shop, GITHUB))
    assert caught.value.category is Category.CONFIG


async def test_a_token_that_was_used_is_taken_out_of_everything_that_is_told(shop: Workshop) -> None:
    await store(shop, OWN)
    await shop.doors.remote_of(await project_at(shop, GITHUB))
    assert shop.runtime.redactor.redact(f"it is {OWN}!") == "it is ***!"


@pytest.mark.parametrize("url", [GITHUB, "git@github.com:a/b.git", "ssh://git@github.com/a/b.git"])
async def test_a_forge_is_asked_with_the_token_also_where_git_goes_by_ssh(shop: Workshop, url: str) -> None:
    doors = doors_of(shop, github_token=Secret(GENERAL))
    assert await doors.forge_of(await project_at(shop, url)) is not None


async def test_which_forge_it_is_says_the_project_and_else_the_setting(shop: Workshop) -> None:
    await store(shop, OWN)
    unknown = await project_at(shop, OTHER)
    assert await shop.doors.forge_of(unknown) is None
    assert "ci_provider" in shop.doors.without_forge(unknown)
    named = doors_of(shop, forge_hosts=("git.example.org=gitlab",))
    assert type(await named.forge_of(unknown)).__name__ == "GitLab"
    await shop.change("UPDATE projects SET ci_provider = 'github'")
    chosen = await project_at(shop, OTHER)
    for doors in (shop.doors, named):
        assert type(await doors.forge_of(chosen)).__name__ == "GitHub"


async def test_a_repository_on_this_machine_is_not_told_to_name_its_forge(shop: Workshop) -> None:
    said = shop.doors.without_forge(await project_at(shop, "/srv/a.git"))
    assert said == "/srv/a.git is a repository on this machine: there is no forge to be told."


@pytest.mark.parametrize("url", [GITHUB, OTHER, "/srv/a.git"])
async def test_without_a_token_no_forge_is_asked_and_it_is_said_where_one_goes(shop: Workshop, url: str) -> None:
    await shop.change("UPDATE projects SET ci_provider = 'gitlab'")
    project = await project_at(shop, url)
    # The general token is for hosts of its forge that the settings name, not for what a project says of itself.
    doors = doors_of(shop, gitlab_token=Secret(GENERAL))
    assert await doors.forge_of(project) is None
    assert "forge_token" in doors.without_forge(project)
    assert "DEKSDENFLOW_GITLAB_TOKEN" in doors.without_forge(project)


async def test_the_agent_has_no_forge_token_in_its_arguments_environment_or_files(ground_floor: Path) -> None:
    play = conversation("execute step 01", {"command": "env"}, WAIT, {"answer": done()})
    async with open_workshop(ground_floor, play, github_token=Secret(GENERAL), step_timeout_s=60) as shop:
        await shop.open("Greet", step_type="setup")
        await store(shop, OWN)
        async with shop.waiting_agent():
            for pid in shop.agents():
                for place in ("cmdline", "environ"):
                    told = Path(f"/proc/{pid}/{place}").read_bytes()
                    assert OWN.encode() not in told
                    assert GENERAL.encode() not in told
            shop.go_on()
        assert (await shop.step()).status == "needs_qa"
        folder = Path((await shop.attempts())[0]["directory"])
        files = [file for file in folder.rglob("*") if file.is_file()]
        assert files
        for file in files:
            assert OWN.encode() not in (content := file.read_bytes()), file
            assert GENERAL.encode() not in content, file
