"""Which project, protocol and step a delivery is about; what is a stranger's changes nothing."""

from typing import Any

import pytest
from msgspec.structs import replace

from shared.repository import deliveries
from shared.schemas.forge import NoWord, Repository, Said, Word
from shared.schemas.statuses import Provider
from shared.workflow.matching import Target, is_named
from shared.workflow.matching import target as find
from shared.workflow.projects import change_project
from shared.workflow.protocols import start_protocol
from tests.shared.workflow.forge_ground import FAIL, REPO, ForgeGround

UNKNOWN = "f" * 40


@pytest.fixture
def ground() -> ForgeGround:
    return ForgeGround()


def everything(ground: ForgeGround) -> Any:
    """All that a stranger's delivery must leave as it is."""
    tables = ("projects", "protocol_runs", "step_runs", "gates", "facts", "attempts")
    rows = {table: ground.sql(f"SELECT * FROM {table}") for table in tables}
    jobs = ground.sql("SELECT id, state FROM jobs WHERE kind <> 'process_delivery'")
    return rows, jobs


def ignored(ground: ForgeGround, word: Word, **more: Any) -> str | None:
    """The reason why the delivery was ignored, with nothing changed by it."""
    before = everything(ground)
    told = ground.deliver(word, **more)
    assert (told.status, told.effect) == ("ignored", None)
    assert everything(ground) == before
    return told.reason


# the repository


@pytest.mark.parametrize(
    "repository",
    [
        replace(REPO, id="8"),
        replace(REPO, id="8", full_name="other/demo"),
        replace(REPO, host="github.example.org"),
        replace(REPO, id=None, full_name="other/demo"),
    ],
    ids=str,
)
@pytest.mark.parametrize("by_hook", [False, True])
def test_an_equal_branch_and_commit_of_another_repository_is_a_strangers(
    ground: ForgeGround, repository: Repository, by_hook: bool
):
    step = ground.executed_here(ci_settle_s=0)
    hook = deliveries.add_hook(ground.tx, ground.home.id, Provider.GITHUB, "key").id if by_hook else None
    word = ground.ci_word(step.head_sha, FAIL, branch=ground.of(step).branch)
    reason = ignored(ground, word, repository=repository, hook_id=hook)
    assert reason == ("foreign_repository" if by_hook else "unknown_repository")
    assert ignored(ground, ground.pull_word(ground.of(step)), repository=repository, hook_id=hook)


@pytest.mark.parametrize("learned", [None, "7"])
@pytest.mark.parametrize("name", ["octo/demo", "OCTO/Demo"])
def test_a_ci_job_that_knows_its_repository_by_path_alone_is_heard_at_the_bare_url(learned: str | None, name: str):
    ground = ForgeGround(repository_id=learned)
    step = ground.executed_here(ci_settle_s=0)
    word = ground.ci_word(step.head_sha, FAIL, branch=ground.of(step).branch)
    told = ground.deliver(word, repository=Repository(id=None, full_name=name), provider=Provider.CI)
    assert told.status == "applied"
    assert ground.ci_state(step) == "failed"


def test_two_projects_with_equal_branches_are_told_apart_by_their_repository(ground: ForgeGround):
    step = ground.executed_here(ci_settle_s=0)
    other = ground.project("other", ci_provider=Provider.GITHUB, git_url="https://github.com/octo/other.git")
    twin = ground.run(start_protocol, ground.opened(ground.of(step).protocol_name, project=other).id)
    ground.plan(twin.id)
    theirs = replace(REPO, id="9", full_name="octo/other")
    before = ground.fresh(step)
    ground.deliver(ground.ci_word(step.head_sha, FAIL, branch=twin.branch), repository=theirs)
    ground.deliver(ground.branch_word(twin, UNKNOWN), repository=theirs)
    assert (ground.fresh(step), ground.of(step).status) == (before, "running")


def test_a_project_whose_id_is_not_known_is_found_by_host_and_path():
    ground = ForgeGround(repository_id=None)
    step = ground.executed_here()
    word = ground.ci_word(step.head_sha)
    assert ground.deliver(word, repository=replace(REPO, full_name="Octo/Demo")).status == "applied"
    assert ignored(ground, word, repository=replace(REPO, full_name="octo/other")) == "unknown_repository"
    assert ignored(ground, word, repository=replace(REPO, host="gitlab.com")) == "unknown_repository"
    assert ground.sql("SELECT repository_id FROM projects") == [{"repository_id": None}], "the bare URL teaches nothing"


def test_the_hook_of_a_project_teaches_its_id_and_from_then_on_only_that_counts():
    ground = ForgeGround(repository_id=None)
    step = ground.executed_here()
    hook = deliveries.add_hook(ground.tx, ground.home.id, Provider.GITHUB, "key").id
    word = ground.ci_word(step.head_sha)
    strange = replace(REPO, full_name="other/demo", id="8")
    assert ignored(ground, word, repository=strange, hook_id=hook) == "foreign_repository"
    assert ground.deliver(NoWord(reason="ping"), hook_id=hook).reason == "ping"
    assert ground.sql("SELECT repository_id FROM projects") == [{"repository_id": "7"}]
    assert ground.deliver(word, hook_id=hook, repository=replace(REPO, full_name="octo/renamed")).status == "applied"


def test_another_git_url_is_another_repository(ground: ForgeGround):
    changes = {"git_url": "https://github.com/octo/moved.git"}
    ground.run(change_project, ground.home.id, None, changes, allow_local=False)
    assert ground.sql("SELECT repository_id FROM projects") == [{"repository_id": None}]


@pytest.mark.parametrize(
    "url", ["https://github.com/octo/demo", "ssh://git@github.com/octo/demo.git", "git@GitHub.com:octo/demo.git"]
)
def test_a_url_names_its_repository_however_it_is_written(ground: ForgeGround, url: str):
    project = replace(ground.home, git_url=url)
    assert is_named(project, replace(REPO, full_name="OCTO/Demo"))
    assert is_named(project, replace(REPO, host=None))
    assert not is_named(project, replace(REPO, full_name="octo/demo2"))
    assert not is_named(project, replace(REPO, host="github.org"))
    assert not is_named(replace(project, git_url="/srv/octo/demo"), REPO)


def test_a_repository_that_is_registered_twice_serves_the_one_that_knows_the_commit(ground: ForgeGround):
    step = ground.executed_here()
    ground.project("twice", ci_provider=Provider.GITHUB, repository_id="7", git_url=ground.home.git_url)
    assert ground.deliver(ground.ci_word(step.head_sha)).step_id == step.id


# forks, commits, protocols


def test_a_fork_changes_nothing(ground: ForgeGround):
    step = ground.executed_here(ci_settle_s=0)
    assert ignored(ground, ground.ci_word(step.head_sha, FAIL), from_fork=True) == "fork"
    assert ignored(ground, ground.pull_word(ground.of(step), "merged"), from_fork=True) == "fork"


def test_an_unknown_commit_keeps_no_fact_even_on_our_branch(ground: ForgeGround):
    step = ground.executed_here()
    word = ground.ci_word(UNKNOWN, branch=ground.of(step).branch)
    assert ignored(ground, word) == "foreign_commit"


def test_a_protocol_that_is_named_must_be_of_the_project_and_of_the_branch(ground: ForgeGround):
    step, other = ground.executed_here(), ground.planned_here()
    word = ground.ci_word(step.head_sha)
    assert ground.deliver(word, protocol_id=step.protocol_id).step_id == step.id
    assert ignored(ground, word, protocol_id=other.id) == "foreign_commit"
    assert ignored(ground, word, protocol_id=99) == "foreign_protocol"
    strange = ground.planned(1)
    assert ignored(ground, word, protocol_id=strange.id) == "foreign_protocol"
    assert ignored(ground, replace(word, branch="main"), protocol_id=step.protocol_id) == "other_branch"
    assert ignored(ground, replace(word, branch=other.branch), protocol_id=step.protocol_id) == "other_branch"


def test_a_ci_job_without_a_repository_is_found_by_the_protocol_that_it_names(ground: ForgeGround):
    step = ground.executed_here()
    word = ground.ci_word(step.head_sha, scope="ci")
    told = ground.deliver(word, provider=Provider.CI, repository=None, protocol_id=step.protocol_id)
    assert (told.project_id, told.protocol_id, told.step_id) == (ground.home.id, step.protocol_id, step.id)
    assert ignored(ground, word, provider=Provider.CI, repository=None) == "unknown_repository"


def test_the_base_commit_that_all_share_is_nobodys_step(ground: ForgeGround):
    first, second = ground.planned_here(), ground.planned_here()
    ground.sql("UPDATE protocol_runs SET start_sha = ?", UNKNOWN)
    told = ground.deliver(ground.ci_word(UNKNOWN, branch=first.branch))
    assert (told.status, told.protocol_id, told.step_id) == ("applied", first.id, None)
    assert second.id > first.id


@pytest.mark.parametrize("reason", ["ping", "tag", "merge_group"])
def test_what_concerns_no_protocol_is_ignored_with_its_own_reason(ground: ForgeGround, reason: str):
    assert ignored(ground, NoWord(reason=reason)) == reason


def test_a_branch_that_is_not_ours_is_ignored(ground: ForgeGround):
    protocol = ground.planned_here()
    assert ignored(ground, replace(ground.branch_word(protocol, UNKNOWN), branch="main")) == "other_branch"
    assert ignored(ground, replace(ground.pull_word(protocol), branch="main")) == "other_branch"


# what to look at before it counts


def looked(ground: ForgeGround, word: Word) -> Target:
    ground.number += 1
    return find(ground.tx, ground.a_delivery(Provider.GITHUB, None), Said(repository=REPO, word=word))


def test_what_should_be_looked_at_again(ground: ForgeGround):
    protocol = ground.planned_here()
    cases: list[tuple[Word, str | None]] = [
        (ground.branch_word(protocol, UNKNOWN), "origin"),
        (ground.branch_word(protocol, protocol.head_sha), None),
        (ground.branch_word(protocol, protocol.start_sha), None),
        (ground.branch_word(protocol, None), None),
        (ground.pull_word(protocol), None),
        (ground.pull_word(protocol, sha=UNKNOWN), "origin"),
        (ground.pull_word(protocol, "closed"), "pull"),
        (ground.pull_word(protocol, "merged"), "pull"),
    ]
    assert [(looked(ground, word).look, looked(ground, word).reason) for word, _ in cases] == [
        (look, None) for _, look in cases
    ]
