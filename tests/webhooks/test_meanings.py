"""Every documented event and outcome through the real service: answered, stored once, and read as what it means."""

import json
from typing import Any

import pytest

from shared.forges import read_delivery
from shared.schemas.forge import CiWord
from shared.schemas.statuses import Outcome, Provider
from tests.shared.forges.cases import Case, every_case
from tests.webhooks.conftest import Service
from tests.webhooks.senders import as_form, from_ci

SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SHA = "a1" * 20


def read(row: dict[str, Any]) -> Any:
    """What a worker reads in a stored delivery."""
    return read_delivery(Provider(row["provider"]), row["event"], json.loads(row["headers"]), row["body"])


@pytest.mark.parametrize("secret", ["s-1", SIGNING], ids=["token", "signing"])
async def test_what_is_stored_of_every_documented_delivery_means_what_the_forge_documents(
    service: Service, secret: str
) -> None:
    github = await service.hook(Provider.GITHUB, secret)
    gitlab = await service.hook(Provider.GITLAB, secret, "signing" if secret == SIGNING else "token", project="lab")
    urls = {"github": f"/webhooks/github/{github.key}", "gitlab": f"/webhooks/gitlab/{gitlab.key}"}
    cases = every_case()
    meanings: dict[str, Case] = {}
    for case in cases:
        url, headers = urls[case.sent.provider], case.sent.headers(secret)
        answer = await service.client.post(url, content=case.sent.body, headers=headers)
        assert answer.status_code in {200, 202}, (str(case), answer.text)
        assert answer.json()["status"] in {"received", "duplicate_body"}, str(case)
        meanings[case.sent.key] = case
    rows = await service.deliveries()
    assert len(rows) == len(cases)
    for row in rows:
        assert read(row) == meanings[row["delivery_key"]].said, row["event"]
    assert len(await service.jobs()) == len([row for row in rows if row["status"] == "received"])


async def test_every_case_means_the_same_as_a_form(service: Service) -> None:
    hook = await service.hook(Provider.GITHUB, "s-1")
    cases = [case for case in every_case() if case.sent.provider == "github"]
    for case in cases:
        form = as_form(case.sent.body)
        signed = from_ci("s-1", form)["x-hub-signature-256"]
        headers = case.sent.headers("s-1") | {
            "content-type": "application/x-www-form-urlencoded",
            "x-hub-signature-256": signed,
        }
        answer = await service.client.post(f"/webhooks/github/{hook.key}", content=form, headers=headers)
        assert answer.status_code in {200, 202}, str(case)
    said = {case.sent.key: case.said for case in cases}
    assert all(read(row) == said[row["delivery_key"]] for row in await service.deliveries())


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("success", Outcome.PASS),
        ("failure", Outcome.FAIL),
        ("error", Outcome.FAIL),
        ("pending", Outcome.RUNNING),
        ("cancelled", Outcome.NO_VERDICT),
        ("skipped", Outcome.SOFT_PASS),
    ],
)
async def test_a_plain_report_means_its_state(service: Service, state: str, outcome: Outcome) -> None:
    body = json.dumps({"state": state, "sha": SHA, "branch": "0001-pears"}).encode()
    headers = from_ci("the global one", body)
    answer = await service.client.post("/webhooks/ci?protocol_run_id=7", content=body, headers=headers)
    assert answer.status_code == 202
    (row,) = await service.deliveries()
    said = read(row)
    assert isinstance(said.word, CiWord)
    assert (said.word.outcome, said.word.sha, said.protocol_id) == (outcome, SHA, 7)


@pytest.mark.parametrize("conclusion", ["failure", "failed", "canceled", "cancelled"])
async def test_the_words_of_the_other_forge_are_understood_in_a_report_of_gitlabs_form(
    service: Service, conclusion: str
) -> None:
    """The first alpha's `report.sh failure` said `failure` where only `failed` was known, and was ignored (D13)."""
    body = json.dumps(
        {"object_kind": "pipeline", "object_attributes": {"status": conclusion, "sha": SHA, "ref": "0001-pears"}}
    ).encode()
    headers = {
        "content-type": "application/json",
        "x-gitlab-event": "Pipeline Hook",
        "x-gitlab-token": "the global one",
    }
    assert (await service.client.post("/webhooks/gitlab", content=body, headers=headers)).status_code == 202
    (row,) = await service.deliveries()
    word = read(row).word
    assert isinstance(word, CiWord)
    assert word.outcome is (Outcome.FAIL if conclusion.startswith("fail") else Outcome.NO_VERDICT)
