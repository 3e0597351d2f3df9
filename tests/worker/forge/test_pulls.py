"""Pull and merge requests and their one comment, on every kind of forge."""

import asyncio

import pytest

from shared.errors import Category, JobError
from shared.schemas.forge import PullWord
from shared.schemas.statuses import PullState
from tests.fakes.forge import CUT
from tests.worker.forge.conftest import BRANCH, Stage

MARKER = "<!-- deksdenflow test run 1 -->"


async def opened(stage: Stage) -> PullWord:
    return await stage.door.open_pull(branch=BRANCH, base="main", title="Grow pears", body="A plan.")


async def test_the_repository_tells_its_id_name_and_host(stage: Stage) -> None:
    known = await stage.door.repository()
    assert (known.id, known.full_name, known.host) == (str(stage.repo.id), stage.repo.full_name, stage.repo.host)


async def test_a_pull_request_is_opened_as_a_draft_and_read_again(stage: Stage) -> None:
    word = await opened(stage)
    assert (word.number, word.state, word.branch, word.base) == (1, PullState.OPEN, BRANCH, "main")
    assert (word.sha, word.draft, word.merge_sha) == (stage.sha, True, None)
    assert word.url is not None
    assert word.url.startswith(stage.repo.url)
    assert word.at > 0
    assert await stage.door.pull(1) == word
    assert await stage.door.pull_of(BRANCH) == word
    made = stage.repo.pulls[1]
    assert (made.title, made.body) == ("Grow pears", "A plan.")


async def test_one_that_is_there_is_found_and_not_made_again(stage: Stage) -> None:
    assert await opened(stage) == await opened(stage)
    assert list(stage.repo.pulls) == [1]


async def test_of_many_who_open_it_at_once_all_get_the_same(stage: Stage) -> None:
    words = await asyncio.gather(*(opened(stage) for _ in range(6)))
    assert {word.number for word in words} == {1}


async def test_one_whose_answer_was_lost_is_found_by_the_next_attempt(stage: Stage) -> None:
    stage.world.fault(f"{stage.pulls}$", CUT, method="POST", after=True)
    with pytest.raises(JobError) as caught:
        await opened(stage)
    assert caught.value.category is Category.NETWORK
    assert (await opened(stage)).number == 1
    assert list(stage.repo.pulls) == [1]


async def test_a_closed_one_is_no_hindrance_to_a_new_one(stage: Stage) -> None:
    await opened(stage)
    stage.repo.close(1)
    closed = await stage.door.pull_of(BRANCH)
    assert closed is not None
    assert (closed.number, closed.state) == (1, PullState.CLOSED)
    assert (await opened(stage)).number == 2
    newest = await stage.door.pull_of(BRANCH)
    assert newest is not None
    assert newest.number == 2


async def test_an_open_one_comes_before_a_newer_closed_one(stage: Stage) -> None:
    await opened(stage)
    stage.repo.open(BRANCH, base="other")
    stage.repo.close(2)
    found = await stage.door.pull_of(BRANCH)
    assert found is not None
    assert found.number == 1


async def test_a_branch_of_the_same_name_in_a_fork_is_not_ours(stage: Stage) -> None:
    stage.repo.open(BRANCH).foreign = True
    assert await stage.door.pull_of(BRANCH) is None


async def test_a_branch_without_one_has_none(stage: Stage) -> None:
    stage.repo.open("main")
    assert await stage.door.pull_of(BRANCH) is None


async def test_a_branch_that_is_not_there_cannot_be_opened(stage: Stage) -> None:
    with pytest.raises(JobError, match="refused to open a") as caught:
        await stage.door.open_pull(branch="0002-none", base="main", title="x", body="y")
    assert caught.value.category is Category.BAD_REQUEST


async def test_a_merge_is_told_with_its_commit(stage: Stage) -> None:
    await opened(stage)
    await stage.door.edit_pull(1, title="Grow pears", body="A plan.", ready=True)
    merged = stage.repo.merge(1)
    word = await stage.door.pull(1)
    assert (word.state, word.merge_sha) == (PullState.MERGED, merged)


async def test_title_and_body_are_edited_and_the_draft_mark_stays(stage: Stage) -> None:
    await opened(stage)
    word = await stage.door.edit_pull(1, title="Grow more pears", body="- [x] one", ready=False)
    made = stage.repo.pulls[1]
    assert (made.title, made.body, made.draft, word.draft) == ("Grow more pears", "- [x] one", True, True)


async def test_it_is_made_ready_once(stage: Stage) -> None:
    await opened(stage)
    word = await stage.door.edit_pull(1, title="Grow pears", body="Done.", ready=True)
    assert not word.draft
    assert (stage.repo.pulls[1].draft, stage.repo.pulls[1].title) == (False, "Grow pears")
    changes = len(stage.world.asked) - len(stage.world.calls("GET"))
    assert not (await stage.door.edit_pull(1, title="Grow pears", body="Done.", ready=True)).draft
    assert len(stage.world.asked) - len(stage.world.calls("GET")) == changes


async def test_what_a_person_made_ready_stays_ready(stage: Stage) -> None:
    await opened(stage)
    stage.repo.make_ready(1)
    word = await stage.door.edit_pull(1, title="Other", body="Other.", ready=False)
    assert (word.draft, stage.repo.pulls[1].draft, stage.repo.pulls[1].title) == (False, False, "Other")


async def test_a_text_that_is_right_already_is_not_sent_again(stage: Stage) -> None:
    await opened(stage)
    for _ in range(3):
        await stage.door.edit_pull(1, title="Grow pears", body="A plan.\n", ready=False)
    assert not stage.world.calls("PATCH") + stage.world.calls("PUT")


async def test_there_is_one_comment_however_often_it_is_written(stage: Stage) -> None:
    await opened(stage)
    ids = {await stage.door.comment(1, comment=None, marker=MARKER, body=f"{n} of 4") for n in range(1, 5)}
    (made,) = stage.repo.pulls[1].comments
    assert ids == {str(made.id)}
    assert made.body == f"{MARKER}\n4 of 4"


async def test_a_known_comment_is_edited_without_a_search(stage: Stage) -> None:
    await opened(stage)
    known = await stage.door.comment(1, comment=None, marker=MARKER, body=f"{MARKER}\nfirst")
    reads = len(stage.world.calls("GET"))
    assert await stage.door.comment(1, comment=known, marker=MARKER, body=f"{MARKER}\nsecond") == known
    assert len(stage.world.calls("GET")) == reads
    assert [each.body for each in stage.repo.pulls[1].comments] == [f"{MARKER}\nsecond"]


async def test_a_comment_that_somebody_deleted_is_written_anew(stage: Stage) -> None:
    await opened(stage)
    known = await stage.door.comment(1, comment=None, marker=MARKER, body="first")
    stage.repo.pulls[1].comments.clear()
    fresh = await stage.door.comment(1, comment=known, marker=MARKER, body="second")
    assert fresh != known
    assert [str(each.id) for each in stage.repo.pulls[1].comments] == [fresh]


async def test_a_comment_that_quotes_ours_is_left_alone(stage: Stage) -> None:
    await opened(stage)
    quoted = stage.repo.comment(1, f"> {MARKER}\n> said\n\nWhy?")
    await stage.door.comment(1, comment=None, marker=MARKER, body="ours")
    assert [each.body for each in stage.repo.pulls[1].comments] == [quoted.body, f"{MARKER}\nours"]


async def test_our_comment_is_found_on_a_later_page(stage: Stage) -> None:
    await opened(stage)
    for number in range(250):
        stage.repo.comment(1, f"chatter {number}")
    ours = stage.repo.comment(1, f"{MARKER}\nold")
    assert await stage.door.comment(1, comment=None, marker=MARKER, body="new") == str(ours.id)
    assert len(stage.world.calls("GET", "(comments|notes)$")) == 3


async def test_the_search_for_our_comment_ends_somewhere(stage: Stage) -> None:
    await opened(stage)
    for number in range(1050):
        stage.repo.comment(1, f"chatter {number}")
    await stage.door.comment(1, comment=None, marker=MARKER, body="new")
    assert len(stage.world.calls("GET", "(comments|notes)$")) == 10


async def test_a_pull_request_that_is_not_there_is_said_so(stage: Stage) -> None:
    for call in (
        stage.door.pull(7),
        stage.door.edit_pull(7, title="x", body="y", ready=False),
        stage.door.comment(7, comment=None, marker=MARKER, body="x"),
    ):
        with pytest.raises(JobError, match="check git_url") as caught:
            await call
        assert caught.value.category is Category.REPOSITORY
