"""Each documented event and outcome of GitHub and GitLab, and all that it says."""

import pytest

from shared.errors import Invalid
from shared.forges import read_delivery
from shared.forges.outcomes import OUTCOMES, outcome_of
from shared.schemas.forge import CiWord, NoWord, Said
from shared.schemas.statuses import Outcome, Provider
from tests.fakes.deliveries import Sent, github_workflow_run
from tests.shared.forges.cases import (
    BRANCH,
    GITHUB_OUTCOMES,
    GITLAB_OUTCOMES,
    HUB,
    SHA,
    STATUS_OUTCOMES,
    Case,
    every_case,
)


def read(sent: Sent, event: str | None = None) -> Said:
    return read_delivery(Provider(sent.provider), event or sent.event, {}, sent.body)


@pytest.mark.parametrize("case", every_case(), ids=str)
def test_a_delivery_says_what_its_forge_documents(case: Case) -> None:
    assert read(case.sent) == case.said


def test_every_case_has_a_name_of_its_own() -> None:
    names = [str(case) for case in every_case()]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize(
    "words", [GITHUB_OUTCOMES, STATUS_OUTCOMES, GITLAB_OUTCOMES], ids=["github", "status", "gitlab"]
)
def test_every_documented_word_has_an_outcome_and_any_other_is_unknown(words: dict[str, Outcome]) -> None:
    assert {word: outcome_of(word) for word in words} == words
    assert [word for word in words if word not in OUTCOMES] == ["a-word-of-tomorrow"]
    assert {outcome_of(word) for word in ("", "Success", "success ", None)} == {Outcome.UNKNOWN}


@pytest.mark.parametrize("action", ["requested", "in_progress", "completed", "rerequested"])
@pytest.mark.parametrize("word", ["queued", "action_required", "success"])
def test_status_and_conclusion_decide_and_the_action_does_not(action: str, word: str) -> None:
    said = read(github_workflow_run(HUB, branch=BRANCH, sha=SHA, outcome=word).but(action=action))
    assert isinstance(said.word, CiWord)
    assert said.word.outcome is GITHUB_OUTCOMES[word]


def test_a_run_that_goes_on_is_running_whatever_it_had_concluded_before() -> None:
    sent = github_workflow_run(HUB, branch=BRANCH, sha=SHA, outcome="in_progress").but(
        workflow_run__conclusion="success"
    )
    word = read(sent).word
    assert isinstance(word, CiWord)
    assert word.outcome is Outcome.RUNNING


def test_a_run_that_is_completed_without_a_conclusion_is_unknown() -> None:
    word = read(github_workflow_run(HUB, branch=BRANCH, sha=SHA).but(workflow_run__conclusion=None)).word
    assert isinstance(word, CiWord)
    assert word.outcome is Outcome.UNKNOWN


def test_a_run_of_which_nobody_knows_whose_commit_it_is_counts_as_one_of_a_fork() -> None:
    sent = github_workflow_run(HUB, branch=BRANCH, sha=SHA)
    sent = sent.but(workflow_run__head_repository=None, workflow_run__repository=None, repository=None)
    assert read(sent).from_fork


COUNTING = [case for case in every_case() if not isinstance(case.said.word, NoWord)]


@pytest.mark.parametrize("case", COUNTING, ids=str)
def test_a_body_under_the_name_of_another_event_is_refused(case: Case) -> None:
    """The header is not signed: who replays a body under another name must not get it to mean something else."""
    others = {other.sent.event for other in COUNTING if other.sent.provider == case.sent.provider} - {case.sent.event}
    for event in sorted(others):
        with pytest.raises(Invalid, match=r"calls itself|is no"):
            read(case.sent, event)


def test_no_two_kinds_of_checks_share_a_context() -> None:
    words = [case.said.word for case in every_case()]
    keys = {(word.context, word.scope) for word in words if isinstance(word, CiWord)}
    assert len({context for context, _ in keys}) == len(keys)
