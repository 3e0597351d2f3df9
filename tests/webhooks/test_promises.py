"""What the first alpha broke of its word about webhooks, the right way round; and the official vectors."""

import json
import time
from io import StringIO

import pytest

from shared import log
from shared.schemas.statuses import Provider
from shared.secret import Secret
from tests.webhooks.conftest import Service, Start
from tests.webhooks.payloads import own
from tests.webhooks.senders import from_github, from_gitlab, signed_by_gitlab

BODY = b'{"ref": "refs/heads/nobody-knows-it", "after": "1f0c2b7a90d4e5566778899aabbccddeeff00112"}'

GITHUB_SECRET = "It's a Secret to Everybody"
GITHUB_VECTOR = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
GITLAB_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
GITLAB_VECTOR = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


@pytest.mark.parametrize("path", ["github", "gitlab", "ci"])
async def test_a_signature_alone_opens_while_an_api_token_is_set(start: Start, path: str) -> None:
    """A forge can send no bearer (D3, H14)."""
    async with start(api_token=Secret("t-1"), webhook_token=Secret("w-1")) as service:
        headers = from_gitlab("w-1") if path == "gitlab" else from_github("w-1", BODY)
        assert (await service.client.post(f"/webhooks/{path}", content=BODY, headers=headers)).status_code == 202


@pytest.mark.parametrize(
    "event", ["ping", "push", "workflow_run", "check_suite", "pull_request", "an_event_of_tomorrow"]
)
async def test_what_concerns_nobody_is_taken_so_that_the_forge_does_not_switch_the_hook_off(
    service: Service, event: str
) -> None:
    """Unknown branches, repositories and events were 404 and counted as failures of the hook (D14, H13)."""
    for number, body in enumerate((BODY, b"{}", b'{"action": 7, "repository": []}')):
        headers = from_github("the global one", body, event=event, delivery=f"{event}-{number}")
        assert (await service.client.post("/webhooks/github", content=body, headers=headers)).status_code == 202
        headers = from_gitlab("the global one", delivery=f"{event}-{number}")
        assert (await service.client.post("/webhooks/gitlab", content=body, headers=headers)).status_code == 202


async def test_a_protocol_run_that_is_not_there_is_no_failure_of_the_service(service: Service) -> None:
    """It was a 500 (D14); the worker says what it thinks of it."""
    headers = from_github("the global one", BODY)
    url = "/webhooks/github?protocol_run_id=999999"
    assert (await service.client.post(url, content=BODY, headers=headers)).status_code == 202


async def test_a_hook_binds_a_delivery_to_its_project_whatever_its_body_says(service: Service) -> None:
    """One project's events failed another's step, since both had a branch of one name (D15)."""
    body = b'{"repository": {"id": 1, "full_name": "orchard/two"}, "ref": "refs/heads/0001-a"}'
    one, two = await service.hook(Provider.GITHUB, "s-1"), await service.hook(Provider.GITHUB, "s-2", project="two")
    await service.client.post(f"/webhooks/github/{one.key}", content=body, headers=from_github("s-1", body))
    assert [row["project_id"] for row in await service.deliveries()] == [one.project_id]
    assert [job["project_id"] for job in await service.jobs()] == [one.project_id]
    assert two.project_id != one.project_id


async def test_the_same_delivery_twice_is_one_event(service: Service) -> None:
    """It was two merges (D16)."""
    for _ in range(2):
        headers = from_github("the global one", BODY, event="pull_request")
        await service.client.post("/webhooks/github", content=BODY, headers=headers)
    assert len(await service.rows("SELECT id FROM events WHERE entity = 'delivery'")) == 1


async def vector_of_github(service: Service, key: str, signature: str = GITHUB_VECTOR) -> int:
    headers = from_github("", b"") | {"x-hub-signature-256": signature}
    return (await service.client.post(f"/webhooks/github/{key}", content=b"Hello, World!", headers=headers)).status_code


async def vector_of_gitlab(service: Service, key: str, body: bytes = b'{"test": 2432232314}') -> int:
    headers = from_gitlab("") | GITLAB_VECTOR
    del headers["x-gitlab-token"]
    return (await service.client.post(f"/webhooks/gitlab/{key}", content=body, headers=headers)).status_code


@pytest.mark.parametrize("secrets", [1, 2])
async def test_the_official_vectors_pass_the_service_with_one_secret_and_with_two(
    service: Service, secrets: int
) -> None:
    """GitHub's body is no JSON: 400 says that its signature was right."""
    hub = await service.hook(Provider.GITHUB, GITHUB_SECRET)
    lab = await service.hook(Provider.GITLAB, GITLAB_SECRET, "signing")
    if secrets > 1:
        await service.rotate(hub, "the new one")
        await service.rotate(lab, "whsec_" + "A" * 43 + "=", "signing")
    service.clock.ahead_ms = int(GITLAB_VECTOR["webhook-timestamp"]) * 1000 - time.time_ns() // 1_000_000
    assert await vector_of_github(service, hub.key) == 400
    assert await vector_of_github(service, hub.key, GITHUB_VECTOR.replace("7", "8", 1)) == 401
    assert await vector_of_gitlab(service, lab.key) == 202
    assert await vector_of_gitlab(service, lab.key, b'{"test": 2432232315}') == 401


@pytest.mark.parametrize("which", ["old", "new", "neither"])
async def test_what_an_independent_signer_signs_passes_by_either_secret(service: Service, which: str) -> None:
    texts = {"old": GITLAB_SECRET, "new": "whsec_" + "B" * 43 + "=", "neither": "whsec_" + "C" * 43 + "="}
    hook = await service.hook(Provider.GITLAB, texts["old"], "signing")
    await service.rotate(hook, texts["new"], "signing")
    headers = signed_by_gitlab(texts[which], BODY)
    answer = await service.client.post(f"/webhooks/gitlab/{hook.key}", content=BODY, headers=headers)
    assert answer.status_code == (401 if which == "neither" else 202)


async def test_neither_ci_variables_nor_secrets_nor_signatures_are_logged(service: Service) -> None:
    logged = StringIO()
    log.configure(level="DEBUG", as_json=True, stream=logged)  # knows none of the secrets: they must not get there
    hook = await service.hook(Provider.GITLAB, "canary-token", "token")
    (payload,) = (each for each in own() if each.file.name == "gitlab.pipeline.json")
    for token in ("canary-token", "canary-wrong"):
        headers = from_gitlab(token, event=payload.event)
        await service.client.post(f"/webhooks/gitlab/{hook.key}", content=payload.read(), headers=headers)
    headers = from_github("canary", BODY)
    await service.client.post("/webhooks/github", content=BODY, headers=headers)
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert {"delivery", "delivery_refused"} <= {line["event"] for line in lines}
    assert "canary" not in logged.getvalue()
    assert headers["x-hub-signature-256"].removeprefix("sha256=") not in logged.getvalue()
