"""The token: who gets it, where it can be seen, and what the origin's answers become."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.worker.git.door import Git
from services.worker.git.records import Credential, Remote
from shared.errors import Category, JobError
from shared.secret import Secret
from tests.worker.git.conftest import NAME
from tests.worker.git.forge import Forge, always, git_backend
from tests.worker.git.stage import Origin, plain_git

TOKEN = "canary-9f2e61c7"


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return Git(
        "git",
        tmp_path / "ours",
        allow_local=False,
        redact=lambda text: text.replace(TOKEN, "[redacted]"),
        protocols=frozenset({"http"}),
        network_timeout_s=20,
    )


@pytest.fixture
def seen() -> list[str]:
    """Processes that showed the token while the forge was asked."""
    return []


@pytest.fixture
def forge(origin: Origin, seen: list[str]) -> Iterator[Forge]:
    plain_git(origin.bare, "config", "http.receivepack", "true")

    def look_around() -> None:
        for process in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    shown = (process / name).read_bytes()
                except OSError:
                    continue
                if TOKEN.encode() in shown:
                    seen.append(f"{process.name} {name}")

    with Forge(git_backend(origin.bare.parent, f"x-access-token:{TOKEN}", look_around)) as forge:
        yield forge


def with_token(forge: Forge, url: str, token: str = TOKEN) -> Remote:
    return Remote(url, Credential(forge.host, Secret(token)))


async def test_the_token_opens_its_host_for_fetching_and_pushing(
    git: Git, forge: Forge, origin: Origin, tmp_path: Path, seen: list[str]
) -> None:
    remote = with_token(forge, forge.url("origin.git"))
    base = (await git.setup_mirror(1, remote, "main")).base_sha
    tree = await git.create_worktree(1, NAME, NAME, base)
    (tree.path / "new").write_text("x")
    sha = await git.commit(tree, "x", expected_parent=base)
    assert sha is not None
    await git.push(1, remote, NAME, sha, None)
    assert origin.head(NAME) == sha
    assert seen == []
    assert not [file for file in (tmp_path / "ours").rglob("*") if file.is_file() and TOKEN in file.read_text("latin1")]


async def test_a_redirect_to_another_host_is_not_followed_and_gets_no_token(git: Git, forge: Forge) -> None:
    with Forge(always(401, {"WWW-Authenticate": 'Basic realm="x"'})) as thief:
        stolen = thief.url("x.git/info/refs?service=git-upload-pack")
        with (
            Forge(always(302, {"Location": stolen})) as moved,
            pytest.raises(JobError, match="register the repository by its final URL") as caught,
        ):
            await git.setup_mirror(1, with_token(moved, moved.url("x.git")), "main")
        assert caught.value.category is Category.REPOSITORY
        assert thief.requests == []


async def test_a_token_of_another_host_is_not_used(git: Git, forge: Forge) -> None:
    remote = Remote(forge.url("origin.git"), Credential("forge.example.org", Secret(TOKEN)))
    with pytest.raises(JobError, match=r"the stored token is for forge\.example\.org") as caught:
        await git.setup_mirror(1, remote, "main")
    assert caught.value.category is Category.CONFIG
    assert forge.requests == []


async def test_a_token_that_is_not_accepted_is_a_permanent_error_that_does_not_show_it(git: Git, forge: Forge) -> None:
    remote = with_token(forge, forge.url("origin.git"), token=f"{TOKEN}-old")
    with pytest.raises(JobError, match="store a token") as caught:
        await git.setup_mirror(1, remote, "main")
    assert caught.value.category is Category.AUTH
    assert TOKEN not in caught.value.message + caught.value.stderr_tail
    assert forge.credentials_seen == {f"x-access-token:{TOKEN}-old"}


async def test_without_a_token_nobody_is_asked_for_one(git: Git, forge: Forge) -> None:
    with pytest.raises(JobError, match="store a token") as caught:
        await git.setup_mirror(1, Remote(forge.url("origin.git")), "main")
    assert caught.value.category is Category.AUTH


@pytest.mark.parametrize(
    ("status", "category"),
    [
        (404, Category.REPOSITORY),
        (403, Category.AUTH),
        (500, Category.NETWORK),
        (503, Category.NETWORK),
        (429, Category.NETWORK),
    ],
)
async def test_an_error_of_the_forge_has_its_category(git: Git, status: int, category: Category) -> None:
    with Forge(always(status)) as broken, pytest.raises(JobError) as caught:
        await git.remote_head(Remote(broken.url("x.git")), "main")
    assert caught.value.category is category


async def test_a_page_that_is_no_repository_is_an_error(git: Git) -> None:
    page = always(200, {"Content-Type": "text/html"}, b"<html>\n<title>\tWelcome</title>\n</html>\n")
    with Forge(page) as website, pytest.raises(JobError) as caught:
        await git.remote_head(Remote(website.url("x.git")), "main")
    assert caught.value.category is Category.REPOSITORY


async def test_an_origin_that_nobody_serves_may_be_back_later(git: Git, free_port: int) -> None:
    with pytest.raises(JobError) as caught:
        await git.remote_head(Remote(f"http://127.0.0.1:{free_port}/x.git"), "main")
    assert caught.value.category is Category.NETWORK


async def test_an_origin_that_is_silent_ends_in_a_timeout(tmp_path: Path) -> None:
    git = Git(
        "git",
        tmp_path / "ours",
        allow_local=False,
        redact=lambda text: text,
        protocols=frozenset({"http"}),
        network_timeout_s=0.5,
    )
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(JobError, match=r"git ls-remote took longer than 0\.5 seconds") as caught,
    ):
        await git.remote_head(Remote(f"http://127.0.0.1:{silent.getsockname()[1]}/x.git"), "main")
    assert caught.value.category is Category.TIMEOUT
