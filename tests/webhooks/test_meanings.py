"""Every documented delivery through the service as it runs: signed, sent, stored, and still saying all that it said."""

from collections.abc import Sequence

import msgspec

from shared.forges import read_delivery
from shared.schemas.statuses import Provider
from tests.shared.forges.cases import Case, every_case
from tests.webhooks.conftest import Service

SECRETS = {"github": "s-1", "gitlab": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
SCHEMES = {"github": "hmac", "gitlab": "signing"}


async def test_every_documented_delivery_is_taken_stored_once_and_keeps_its_meaning(service: Service) -> None:
    cases = every_case()
    for provider, secret in SECRETS.items():
        hook = await service.hook(Provider(provider), secret, SCHEMES[provider])
        await send(
            service, f"/webhooks/{provider}/{hook.key}", secret, [c for c in cases if c.sent.provider == provider]
        )
    stored = {row["delivery_key"]: row for row in await service.deliveries()}
    assert stored.keys() == {case.sent.key for case in cases}
    assert {job["delivery_id"] for job in await service.jobs()} == {row["id"] for row in stored.values()}
    for case in cases:
        row = stored[case.sent.key]
        headers = msgspec.json.decode(row["headers"], type=dict[str, str])
        said = read_delivery(Provider(row["provider"]), row["event"], headers, row["body"])
        assert said == case.said, str(case)
        assert b"a-value-that-nobody-may-see" not in row["body"]


async def send(service: Service, url: str, secret: str, cases: Sequence[Case]) -> None:
    answers = [
        await service.client.post(url, content=case.sent.body, headers=case.sent.headers(secret)) for case in cases
    ]
    assert {answer.status_code for answer in answers} == {202}
