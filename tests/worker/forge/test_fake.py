"""That the fake is a forge: git works with it over https, what happens is delivered, and the post fails as planned."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from services.worker.git.door import Git
from services.worker.git.records import Credential, Remote
from shared.errors import Category, JobError
from shared.forges import read_delivery
from shared.schemas.forge import BranchWord, PullWord
from shared.schemas.statuses import Provider, PullState
from shared.secret import Secret
from tests.fakes.deliveries import Sent
from tests.fakes.forge import CUT, Answer
from tests.worker.forge.conftest import BRANCH, TOKEN, Stage


@pytest.fixture
def git(stage: Stage, tmp_path: Path) -> Git:
    variables = stage.world.environment
    extra = {"https_proxy": variables["HTTPS_PROXY"], "GIT_SSL_CAINFO": variables["SSL_CERT_FILE"]}
    return Git("git", tmp_path / "ours", allow_local=False, redact=lambda text: text, extra_env=extra)


def remote(stage: Stage, token: str = TOKEN) -> Remote:
    return Remote(stage.repo.git_url, Credential(stage.repo.host, Secret(token)))


def words(stage: Stage) -> list[Any]:
    return [read_delivery(Provider(one.provider), one.event, {}, one.body).word for one in stage.world.post.sent]


async def test_git_fetches_and_pushes_and_the_push_is_delivered(stage: Stage, git: Git) -> None:
    await stage.door.open_pull(branch=BRANCH, base="main", title="t", body="b")
    pushed: list[tuple[str, str]] = []
    stage.repo.on_push = lambda branch, sha: pushed.append((branch, sha))
    await git.setup_mirror(1, remote(stage), "main")
    tree = await git.create_worktree(1, BRANCH, BRANCH, stage.sha, known_head=stage.sha)
    (tree.path / "more.txt").write_text("x")
    sha = await git.commit(tree, "more", expected_parent=stage.sha)
    assert sha is not None
    await git.push(1, remote(stage), BRANCH, sha, stage.sha)
    assert (stage.repo.head(BRANCH), pushed) == (sha, [(BRANCH, sha)])
    assert (await stage.door.pull(1)).sha == sha
    moved, updated = words(stage)[-2:]
    assert moved == BranchWord(branch=BRANCH, before=stage.sha, after=sha)
    assert isinstance(updated, PullWord)
    assert updated.sha == sha
    assert stage.world.hosts_that_saw(TOKEN) == {stage.repo.host, stage.api_host}


async def test_git_needs_the_token_too(stage: Stage, git: Git) -> None:
    with pytest.raises(JobError) as caught:
        await git.remote_head(remote(stage, "another-token"), "main")
    assert caught.value.category is Category.AUTH


async def test_a_redirect_of_git_goes_nowhere(stage: Stage, git: Git) -> None:
    thief = "https://thief.elsewhere.test/x.git/info/refs"
    stage.world.fault("/info/refs$", Answer(302, b"", {"location": thief}))
    with pytest.raises(JobError) as caught:
        await git.remote_head(remote(stage), "main")
    assert caught.value.category is Category.REPOSITORY
    assert {one.host for one in stage.world.asked} == {stage.repo.host}


async def test_what_is_told_of_a_pull_request_is_its_life(stage: Stage) -> None:
    stage.repo.open(BRANCH, draft=True)
    stage.repo.make_ready(1)
    stage.repo.close(1)
    stage.repo.reopen(1)
    merged = stage.repo.merge(1)
    told = [word for word in words(stage) if isinstance(word, PullWord)]
    assert [(word.state, word.draft) for word in told] == [
        (PullState.OPEN, True),
        (PullState.OPEN, False),
        (PullState.CLOSED, False),
        (PullState.OPEN, False),
        (PullState.MERGED, False),
    ]
    assert told[-1].merge_sha == merged == stage.repo.head("main")
    assert sorted(word.at for word in told) == [word.at for word in told]
    assert told[-1] == await stage.door.pull(1)


class Hook:
    """Somebody who takes deliveries, and keeps them."""

    def __init__(self) -> None:
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self.taken.append((headers, await reader.readexactly(int(headers["content-length"]))))
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


@pytest.fixture
async def hook(stage: Stage) -> AsyncIterator[Hook]:
    hook = Hook()
    server = await asyncio.start_server(hook.take, "127.0.0.1", 0)
    hook.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    stage.world.hook(stage.repo, hook.url, "the-hooks-secret")
    yield hook
    server.close()
    await server.wait_closed()


def bodies(sent: list[Sent]) -> list[bytes]:
    return [one.body for one in sent]


async def test_deliveries_come_in_order_and_proven(stage: Stage, hook: Hook) -> None:
    for outcome in ("queued", "in_progress", "success"):
        stage.repo.ci(stage.sha, outcome)
    await stage.world.post.delivered()
    assert [body for _, body in hook.taken] == bodies(stage.world.post.sent)
    assert {status for _, status in stage.world.post.answers} == {HTTPStatus.ACCEPTED}
    for headers, body in hook.taken:
        if stage.repo.provider == "github":
            proof = hmac.new(b"the-hooks-secret", body, hashlib.sha256).hexdigest()
            assert headers["x-hub-signature-256"] == f"sha256={proof}"
        else:
            assert headers["x-gitlab-token"] == "the-hooks-secret"


async def test_the_post_loses_repeats_holds_and_reorders(stage: Stage, hook: Hook) -> None:
    post = stage.world.post
    post.losing = True
    stage.repo.ci(stage.sha, "queued")
    post.losing = False
    post.hold()
    first, second = (stage.repo.ci(stage.sha, outcome) and post.sent[-1] for outcome in ("in_progress", "success"))
    await post.delivered()
    assert hook.taken == []
    post.release(lambda held: held[::-1])
    await post.delivered()
    post.twice = True
    stage.repo.ci(stage.sha, "failure")
    await post.delivered()
    third = post.sent[-1]
    assert [body for _, body in hook.taken] == bodies([second, first, third, third])


async def test_a_hook_that_is_gone_stops_nothing(stage: Stage, free_port: int) -> None:
    stage.world.hook(stage.repo, f"http://127.0.0.1:{free_port}/", "x")
    stage.repo.ci(stage.sha)
    await stage.world.post.delivered()
    assert [status for _, status in stage.world.post.answers] == [0]


async def test_a_fault_ends_when_it_was_used_up(stage: Stage) -> None:
    stage.world.fault("", CUT, times=2)
    for _ in range(2):
        with pytest.raises(JobError):
            await stage.door.repository()
    await stage.door.repository()
