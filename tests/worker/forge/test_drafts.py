"""Drafts: what each forge takes for one, where there are none, and how the mark is taken away."""

import json

import pytest

from services.worker.forge.gitlab import plain
from shared.errors import Category, JobError
from tests.fakes.forge import Answer
from tests.worker.forge.conftest import BRANCH, Stage


async def opened(stage: Stage, title: str = "Grow pears") -> None:
    await stage.door.open_pull(branch=BRANCH, base="main", title=title, body="A plan.")


async def test_where_github_has_no_drafts_it_is_opened_without_the_mark(github: Stage) -> None:
    github.repo.drafts = False
    word = await github.door.open_pull(branch=BRANCH, base="main", title="Grow pears", body="A plan.")
    assert (word.number, word.draft) == (1, False)
    assert await github.door.open_pull(branch=BRANCH, base="main", title="Grow pears", body="A plan.") == word


async def test_a_branch_that_is_called_draft_changes_nothing(github: Stage) -> None:
    github.repo.commit({"x": "x"}, branch="0002-draft-pears")
    for _ in range(2):
        word = await github.door.open_pull(branch="0002-draft-pears", base="main", title="t", body="b")
        assert word.draft


async def test_a_branch_without_a_commit_of_its_own_says_so(github: Stage) -> None:
    github.repo.origin.commit_all(branch="0003-same")
    with pytest.raises(JobError, match="No commits between 0003-same and 0003-same") as caught:
        await github.door.open_pull(branch="0003-same", base="0003-same", title="t", body="b")
    assert caught.value.category is Category.BAD_REQUEST


@pytest.mark.parametrize(
    ("kind", "category"),
    [
        ("RATE_LIMITED", Category.RATE_LIMITED),
        ("FORBIDDEN", Category.AUTH),
        ("INSUFFICIENT_SCOPES", Category.AUTH),
        ("UNPROCESSABLE", Category.BAD_REQUEST),
        (None, Category.BAD_REQUEST),
    ],
)
async def test_a_mark_that_stays_is_an_error_with_githubs_words(
    enterprise: Stage, kind: str | None, category: Category
) -> None:
    await opened(enterprise)
    told = {"data": None, "errors": [{"type": kind, "message": "It cannot be done."}]}
    enterprise.world.fault("/api/graphql$", Answer(200, json.dumps(told).encode()))
    with pytest.raises(JobError, match="It cannot be done") as caught:
        await enterprise.door.edit_pull(1, title="Grow pears", body="A plan.", ready=True)
    assert caught.value.category is category
    assert (caught.value.again_in_s is not None) == (category is Category.RATE_LIMITED)
    assert enterprise.repo.pulls[1].draft


async def test_a_closed_one_is_not_marked_as_ready(github: Stage) -> None:
    await opened(github)
    github.repo.close(1)
    await github.door.edit_pull(1, title="Grow pears", body="A plan.", ready=True)
    assert not github.world.calls("POST", "/graphql$")


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("Grow pears", "Grow pears"),
        ("Draft: Grow pears", "Grow pears"),
        ("[draft] Draft: (DRAFT) Grow pears", "Grow pears"),
        ("Drafting pears", "Drafting pears"),
        ("Grow Draft: pears", "Grow Draft: pears"),
    ],
)
async def test_no_word_of_a_title_makes_a_draft_at_gitlab(gitlab: Stage, title: str, shown: str) -> None:
    assert plain(title) == shown
    await opened(gitlab, title)
    word = await gitlab.door.edit_pull(1, title=title, body="A plan.", ready=True)
    assert (word.draft, gitlab.repo.pulls[1].draft, gitlab.repo.pulls[1].title) == (False, False, shown)
