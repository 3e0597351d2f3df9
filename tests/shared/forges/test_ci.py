"""What a CI job says by itself: in the plain form, and in the form of either forge."""

import json
import re
from typing import Any

import pytest

from shared.errors import Invalid
from shared.forges import read_delivery
from shared.schemas.forge import PROTOCOL_HEADER, CiWord, NoWord, Repository, Said
from shared.schemas.statuses import Outcome, Provider

SHA = "a1" * 20
REPORTED = {
    "success": Outcome.PASS,
    "failure": Outcome.FAIL,
    "error": Outcome.FAIL,
    "pending": Outcome.RUNNING,
    "running": Outcome.RUNNING,
    "cancelled": Outcome.NO_VERDICT,
    "skipped": Outcome.SOFT_PASS,
}
# The words of one forge in the form of the other (D13: `failure` in GitLab's form was ignored).
FOREIGN = {
    "failed": Outcome.FAIL,
    "failure": Outcome.FAIL,
    "canceled": Outcome.NO_VERDICT,
    "cancelled": Outcome.NO_VERDICT,
}


def read(body: Any, *, provider: Provider = Provider.CI, event: str = "report", **headers: str) -> Said:
    return read_delivery(provider, event, headers, json.dumps(body).encode())


def status(**members: Any) -> Said:
    """As `report.sh` sends it in GitHub's form."""
    return read({"sha": SHA, "context": "ci/pears"} | members, provider=Provider.GITHUB, event="status")


def pipeline(attributes: dict[str, Any], **members: Any) -> Said:
    """As `report.sh` sends it in GitLab's form."""
    body = {"object_kind": "pipeline", "object_attributes": {"ref": "0001-pears", "sha": SHA} | attributes} | members
    return read(body, provider=Provider.GITLAB, event="Pipeline Hook")


def word_of(said: Said) -> CiWord:
    assert isinstance(said.word, CiWord)
    return said.word


@pytest.mark.parametrize("state", REPORTED)
def test_a_short_report_says_how_a_commit_stands(state: str) -> None:
    word = CiWord(
        sha=SHA, branch=None, scope="ci", name="ci", context="ci/ci", outcome=REPORTED[state], details={"said": state}
    )
    assert read({"state": state, "sha": SHA}) == Said(repository=None, word=word)


def test_a_full_report_says_all_there_is() -> None:
    said = read(
        {
            "state": "failure",
            "sha": SHA.upper(),
            "branch": "0001-pears",
            "context": "nightly",
            "target_url": "https://ci.example.test/41",
            "protocol_run_id": 12,
            "repository": "https://github.com/orchard/pears.git",
            "run_id": 41,
            "run_attempt": 3,
            "at": "2019-01-01T10:00:00Z",
        }
    )
    word = CiWord(
        sha=SHA,
        branch="0001-pears",
        scope="ci",
        name="nightly",
        context="ci/nightly",
        outcome=Outcome.FAIL,
        run_id=41,
        run_attempt=3,
        at=1_546_336_800_000,
        url="https://ci.example.test/41",
        details={"said": "failure"},
    )
    at = Repository(id=None, full_name="orchard/pears", host="github.com")
    assert said == Said(repository=at, word=word, protocol_id=12)


@pytest.mark.parametrize(
    ("told", "repository"),
    [
        (41, Repository(id="41")),
        ("41", Repository(id="41")),
        ("orchard/fruit/pears", Repository(id=None, full_name="orchard/fruit/pears")),
        ("git@github.com:orchard/pears", Repository(id=None, full_name="orchard/pears", host="github.com")),
        ("", None),
        (None, None),
    ],
)
def test_the_repository_of_a_report_is_an_id_a_path_or_an_address(told: Any, repository: Repository | None) -> None:
    assert read({"state": "success", "sha": SHA, "repository": told}).repository == repository


def test_the_time_of_a_report_may_be_ms() -> None:
    assert word_of(read({"state": "success", "sha": SHA, "at": 1_546_336_800_001})).at == 1_546_336_800_001


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"state": "great"}, "state is 'great'"),
        ({"state": ""}, "state is ''"),
        ({"sha": "a1b2c3"}, "sha must be a whole commit id"),
        ({"sha": "0" * 40}, "sha must be a whole commit id"),
        ({"branch": "a b"}, "branch cannot be the name of a branch"),
        ({"at": "yesterday"}, "at must be ms since 1970"),
        ({"repository": "https://"}, "repository must be an id, a path"),
        ({"protocol_run_id": "twelve"}, "protocol_run_id is the number of a protocol run, not 'twelve'"),
        ({"protocol_run_id": 0}, "protocol_run_id is the number"),
        ({"protocol_run_id": "01"}, "protocol_run_id is the number"),
        ({"run_attempt": -1}, "run_attempt"),
        ({"run_id": 2**63}, "run_id"),
        ({"zeal": 1, "colour": "red"}, "Unknown fields: colour, zeal. Known ones are state, sha"),
        ({"state": 1}, "state"),
        ({"state": None}, "state"),
    ],
)
def test_a_report_that_is_wrong_is_told_what_to_say_instead(change: dict[str, Any], told: str) -> None:
    with pytest.raises(Invalid, match=re.escape(told)):
        read({"state": "success", "sha": SHA} | change)


@pytest.mark.parametrize("missing", ["state", "sha"])
def test_a_report_without_its_state_or_commit_names_what_is_missing(missing: str) -> None:
    body = {"state": "success", "sha": SHA}
    del body[missing]
    with pytest.raises(Invalid, match=missing):
        read(body)


@pytest.mark.parametrize("state", REPORTED | FOREIGN)
def test_the_form_of_github_takes_the_words_of_either_forge_and_needs_no_repository(state: str) -> None:
    said = status(state=state, protocol_run_id="12", branch="0001-pears", target_url="https://ci.example.test/41")
    word = CiWord(
        sha=SHA,
        branch="0001-pears",
        scope="status",
        name="ci/pears",
        context="status/ci/pears",
        outcome=(REPORTED | FOREIGN)[state],
        url="https://ci.example.test/41",
        details={"said": state},
    )
    assert said == Said(repository=None, word=word, protocol_id=12)


@pytest.mark.parametrize("state", REPORTED | FOREIGN)
def test_the_form_of_gitlab_takes_the_words_of_either_forge_and_needs_no_project(state: str) -> None:
    said = pipeline({"status": state, "url": "https://ci.example.test/41"}, protocol_run_id=12)
    word = CiWord(
        sha=SHA,
        branch="0001-pears",
        scope="pipeline",
        name="pipeline",
        context="pipeline/report/0",
        outcome=(REPORTED | FOREIGN)[state],
        url="https://ci.example.test/41",
        details={"said": state, "source": "report", "run_id": 0},
    )
    assert said == Said(repository=None, word=word, protocol_id=12)


def test_reports_in_the_form_of_gitlab_speak_for_their_job_and_not_for_the_pipeline_that_it_is_in() -> None:
    """The first job of a pipeline that is green must not make its commit green (D6)."""
    said = {"id": 3001, "source": "push", "status": "success", "finished_at": "2019-01-01T10:00:00Z"}
    words = [word_of(pipeline(said | {"name": name})) for name in ("lint", "test")]
    genuine = word_of(pipeline(said | {"created_at": "2019-01-01 09:59:00 UTC"}))
    assert [word.name for word in words] == ["lint", "test"]
    assert [word.context for word in [*words, genuine]] == [
        "pipeline/report/lint",
        "pipeline/report/test",
        "pipeline/push",
    ]


def test_a_report_of_no_whole_commit_says_nothing() -> None:
    assert status(state="success", sha="a1b2c3").word == NoWord(reason="no_commit")
    assert status(state="success", sha=None).word == NoWord(reason="no_commit")
    assert pipeline({"status": "success", "sha": None}).word == NoWord(reason="no_commit")


def test_the_address_of_a_delivery_may_name_the_protocol_run() -> None:
    body = {"state": "success", "sha": SHA}
    assert read(body).protocol_id is None
    assert read(body, **{PROTOCOL_HEADER: "12"}).protocol_id == 12
    assert read(body | {"protocol_run_id": 12}, **{PROTOCOL_HEADER: "12"}).protocol_id == 12
    push = {"ref": "refs/heads/0001-pears", "before": SHA, "after": SHA}
    assert read(push, provider=Provider.GITHUB, event="push", **{PROTOCOL_HEADER: "12"}).protocol_id == 12


def test_a_delivery_that_names_two_protocol_runs_is_refused() -> None:
    with pytest.raises(Invalid, match="The body names protocol run 12, and the address of the delivery 13"):
        read({"state": "success", "sha": SHA, "protocol_run_id": 12}, **{PROTOCOL_HEADER: "13"})


def test_an_address_that_names_no_number_is_refused() -> None:
    with pytest.raises(Invalid, match="not '1; DROP'"):
        read({"state": "success", "sha": SHA}, **{PROTOCOL_HEADER: "1; DROP"})
