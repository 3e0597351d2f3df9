"""A hook made through the API opens for deliveries that prove to know the secret that it was shown with."""

from typing import Any

import httpx
import pytest

from services.api.app import create_app
from shared.schemas.statuses import Provider
from shared.secret import Secret
from shared.settings import Settings
from tests.webhooks.conftest import Service
from tests.webhooks.senders import from_github, from_gitlab, signed_by_gitlab

BODY = b'{"object_kind": "push"}'


async def made_by_the_api(service: Service, **wish: Any) -> dict[str, Any]:
    settings = Settings(redis_url=Secret("redis://127.0.0.1:1/0"), api_token=Secret("t-1"), public_url="http://hooks")
    api = create_app(settings, service.database, service.flow, service.queue, service.vault)
    project = await service.project("one")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://api") as client:
        answer = await client.post(f"/projects/{project}/hooks", json=wish, headers={"authorization": "Bearer t-1"})
        assert answer.status_code == 201, answer.text
        return answer.json()


@pytest.mark.parametrize("scheme", ["hmac", "token", "signing"])
async def test_its_url_and_secret_are_what_the_forge_needs(service: Service, scheme: str) -> None:
    provider = Provider.GITHUB if scheme == "hmac" else Provider.GITLAB
    wish = {"provider": provider} if scheme == "hmac" else {"provider": provider, "scheme": scheme}
    hook = await made_by_the_api(service, **wish)
    senders = {
        "hmac": lambda: from_github(hook["secret"], BODY),
        "token": lambda: from_gitlab(hook["secret"]),
        "signing": lambda: signed_by_gitlab(hook["secret"], BODY),
    }
    answer = await service.client.post(hook["url"], content=BODY, headers=senders[scheme]())
    assert answer.status_code == 202
    assert [row["project_id"] for row in await service.deliveries()] == [hook["project_id"]]
