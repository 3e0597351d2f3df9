"""Pushing: never over somebody else's work, and as often as need be."""

import pytest

from services.worker.git.door import Git
from services.worker.git.records import Remote, Worktree
from shared.errors import Category, JobError
from tests.worker.git.conftest import NAME
from tests.worker.git.stage import Origin, plain_git


async def work(git: Git, tree: Worktree, parent: str, name: str) -> str:
    (tree.path / name).write_text(name)
    sha = await git.commit(tree, name, expected_parent=parent)
    assert sha is not None
    return sha


async def test_a_first_push_makes_the_branch(
    git: Git, tree: Worktree, base: str, remote: Remote, origin: Origin
) -> None:
    sha = await work(git, tree, base, "one")
    result = await git.push(1, remote, NAME, sha, None)
    assert (result.sha, result.before, result.already) == (sha, None, False)
    assert origin.head(NAME) == sha
    assert await git.origin_head(1, NAME) == sha
    assert origin.head("main") == base


async def test_a_second_push_moves_it_forward(
    git: Git, tree: Worktree, base: str, remote: Remote, origin: Origin
) -> None:
    one = await work(git, tree, base, "one")
    await git.push(1, remote, NAME, one, None)
    two = await work(git, tree, one, "two")
    assert (await git.push(1, remote, NAME, two, one)).before == one
    assert origin.head(NAME) == two


@pytest.mark.parametrize("expected_known", [True, False])
async def test_a_push_whose_answer_was_lost_can_be_repeated(
    git: Git, tree: Worktree, base: str, remote: Remote, expected_known: bool
) -> None:
    sha = await work(git, tree, base, "one")
    await git.push(1, remote, NAME, sha, None)
    again = await git.push(1, remote, NAME, sha, sha if expected_known else None)
    assert again.already


async def test_a_push_forgotten_in_between_is_no_divergence(
    git: Git, tree: Worktree, base: str, remote: Remote, origin: Origin
) -> None:
    one = await work(git, tree, base, "one")
    await git.push(1, remote, NAME, one, None)
    two = await work(git, tree, one, "two")
    await git.push(1, remote, NAME, two, None)
    assert origin.head(NAME) == two


async def test_somebody_elses_commit_is_never_pushed_away(
    git: Git, tree: Worktree, base: str, remote: Remote, origin: Origin
) -> None:
    one = await work(git, tree, base, "one")
    await git.push(1, remote, NAME, one, None)
    theirs = origin.commit({"theirs": "x"}, branch=NAME)
    two = await work(git, tree, one, "two")
    with pytest.raises(JobError, match=f"is at {theirs[:12]}") as caught:
        await git.push(1, remote, NAME, two, one)
    assert caught.value.category is Category.DIVERGED
    assert origin.head(NAME) == theirs


async def test_history_is_not_replaced_even_where_nobody_moved_the_branch(
    git: Git, tree: Worktree, base: str, remote: Remote, origin: Origin
) -> None:
    one = await work(git, tree, base, "one")
    await git.push(1, remote, NAME, one, None)
    await git.reset_worktree(tree, base, 3)
    other = await work(git, tree, base, "other")
    with pytest.raises(JobError) as caught:
        await git.push(1, remote, NAME, other, one)
    assert caught.value.category is Category.DIVERGED
    assert origin.head(NAME) == one


async def test_a_branch_that_was_deleted_is_not_brought_back(
    git: Git, tree: Worktree, base: str, remote: Remote, origin: Origin
) -> None:
    one = await work(git, tree, base, "one")
    await git.push(1, remote, NAME, one, None)
    plain_git(origin.bare, "update-ref", "-d", f"refs/heads/{NAME}")
    two = await work(git, tree, one, "two")
    with pytest.raises(JobError, match="was deleted at the origin") as caught:
        await git.push(1, remote, NAME, two, one)
    assert caught.value.category is Category.DIVERGED
    assert origin.head(NAME) == ""


async def test_a_refusal_of_the_origin_is_permanent_and_says_what_to_look_at(
    git: Git, tree: Worktree, base: str, origin: Origin
) -> None:
    plain_git(origin.clone, "checkout", "--quiet", "-b", NAME, base)
    sha = await work(git, tree, base, "one")
    with pytest.raises(JobError, match=r"the origin refuses this push.*branch is currently checked out") as caught:
        await git.push(1, Remote(str(origin.clone)), NAME, sha, base)
    assert caught.value.category is Category.REPOSITORY


async def test_an_adopted_branch_is_pushed_on_top_of(
    git: Git, tree: Worktree, base: str, remote: Remote, origin: Origin
) -> None:
    one = await work(git, tree, base, "one")
    await git.push(1, remote, NAME, one, None)
    theirs = origin.commit({"theirs": "x"}, branch=NAME)
    await git.fetch(1, remote)
    await git.reset_worktree(tree, theirs, 4)
    two = await work(git, tree, theirs, "two")
    await git.push(1, remote, NAME, two, theirs)
    assert origin.head(NAME) == two


async def test_what_a_person_gives_up_is_replaced_and_nothing_else(
    git: Git, tree: Worktree, base: str, remote: Remote, origin: Origin
) -> None:
    one = await work(git, tree, base, "one")
    await git.push(1, remote, NAME, one, None)
    seen = origin.commit({"theirs": "x"}, branch=NAME)
    result = await git.push(1, remote, NAME, one, one, over=seen)
    assert (result.before, origin.head(NAME)) == (seen, one)
    assert (await git.push(1, remote, NAME, one, one, over=seen)).already

    origin.commit({"theirs": "y"}, branch=NAME)
    newer = origin.commit({"theirs": "z"}, branch=NAME)
    with pytest.raises(JobError, match=f"is at {newer[:12]}") as caught:
        await git.push(1, remote, NAME, one, one, over=seen)
    assert caught.value.category is Category.DIVERGED
    assert origin.head(NAME) == newer


async def test_to_give_up_a_commit_brings_no_deleted_branch_back(
    git: Git, tree: Worktree, base: str, remote: Remote, origin: Origin
) -> None:
    one = await work(git, tree, base, "one")
    await git.push(1, remote, NAME, one, None)
    seen = origin.commit({"theirs": "x"}, branch=NAME)
    plain_git(origin.bare, "update-ref", "-d", f"refs/heads/{NAME}")
    with pytest.raises(JobError, match="was deleted at the origin"):
        await git.push(1, remote, NAME, one, one, over=seen)


async def test_a_commit_of_somebody_else_is_here_once_it_was_fetched(
    git: Git, tree: Worktree, base: str, remote: Remote, origin: Origin
) -> None:
    theirs = origin.commit({"theirs": "x"}, branch=NAME)
    assert not await git.has_commit(1, theirs)
    await git.fetch(1, remote)
    assert await git.has_commit(1, theirs)
    assert await git.has_commit(1, base)
