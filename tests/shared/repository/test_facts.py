"""Facts as levels: the newest word on a context is kept, whatever comes first and however often."""

import itertools
import random
from typing import Any

import pytest
from msgspec.structs import replace

from shared.repository import facts
from shared.schemas.records import Fact
from shared.schemas.statuses import Outcome
from tests.shared.states.test_ci import fact
from tests.shared.workflow.ground import Ground

SHA = "a" * 40


@pytest.fixture
def ground() -> Ground:
    ground = Ground()
    ground.project()
    return ground


def kept(ground: Ground) -> Fact:
    (only,) = facts.of_commit(ground.tx, 1, "7", SHA)
    return only


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ({"run_id": 1, "run_attempt": 9, "observed_at": 99}, {"run_id": 2, "observed_at": 1}),
        ({"run_attempt": 1, "observed_at": 99}, {"run_attempt": 2, "observed_at": 1}),
        ({"observed_at": 1, "outcome": Outcome.FAIL}, {"observed_at": 2}),
        ({"observed_at": 1}, {"observed_at": 2, "outcome": Outcome.RUNNING}),
        ({"outcome": Outcome.RUNNING}, {"outcome": Outcome.PASS}),
        ({"outcome": Outcome.PASS}, {"outcome": Outcome.FAIL}),
        ({"outcome": Outcome.PASS, "url": "https://a"}, {"outcome": Outcome.PASS, "url": "https://b"}),
    ],
)
def test_the_newer_word_is_kept_whichever_comes_first(ground: Ground, older: dict[str, Any], newer: dict[str, Any]):
    old, new = fact(**older), fact(**newer)
    assert facts.put(ground.tx, old)
    assert facts.put(ground.tx, new)
    assert not facts.put(ground.tx, old)
    assert replace(kept(ground), id=1, received_at=0) == replace(new, received_at=0)


def test_the_same_word_again_changes_nothing_and_opens_no_window(ground: Ground):
    assert facts.put(ground.tx, fact())
    before = kept(ground)
    ground.wait(5)
    assert not facts.put(ground.tx, fact())
    assert kept(ground) == before


def test_of_any_number_of_words_the_same_one_is_kept_in_any_order(ground: Ground):
    chance = random.Random(4)
    for _ in range(20):
        words = [
            fact(
                chance.choice(list(Outcome)),
                run_id=chance.randrange(2),
                run_attempt=chance.randrange(1, 3),
                observed_at=chance.randrange(2),
                url=chance.choice([None, "https://a"]),
            )
            for _ in range(4)
        ]
        ends: set[str] = set()
        for order in itertools.permutations(words):
            for word in (*order, order[0]):
                facts.put(ground.tx, word)
            ends.add(repr(replace(kept(ground), id=0, received_at=0)))
            ground.sql("DELETE FROM facts")
        assert len(ends) == 1, words


def test_contexts_commits_repositories_and_projects_are_apart(ground: Ground):
    ground.project("other")
    for other in ({}, {"context": "x"}, {"sha": "b" * 40}, {"repository_id": "8"}, {"project_id": 2}):
        assert facts.put(ground.tx, fact(**other))
    assert [each.context for each in facts.of_commit(ground.tx, 1, "7", SHA)] == ["status:build", "x"]


def test_what_was_kept_before_the_repository_had_an_id_is_kept_under_it(ground: Ground):
    facts.put(ground.tx, fact(repository_id=""))
    facts.name_repository(ground.tx, 1, "7")
    assert kept(ground).outcome is Outcome.PASS
