"""Deliveries from the wire into the database: proven, stored once, with one job, and answered at once."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from shared.schemas.statuses import DeliveryStatus, Provider
from shared.secret import Secret
from shared.workflow.deliveries import settle_delivery
from tests.fakes.redis_server import RedisServer
from tests.webhooks.conftest import TESTER, Service, Start
from tests.webhooks.payloads import Payload, own, published
from tests.webhooks.senders import as_form, from_ci, from_github, from_gitlab, signed_by_gitlab

GITHUB, GITLAB = Provider.GITHUB, Provider.GITLAB
BODY = b'{"ref": "refs/heads/0001-x", "after": "1f0c2b7a90d4e5566778899aabbccddeeff00112"}'
SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def other(number: int) -> bytes:
    return b'{"number": %d}' % number


def problem(answer: Any) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


async def test_a_signed_delivery_is_stored_with_its_job_and_answered_with_its_id(service: Service) -> None:
    hook = await service.hook(GITHUB, "s-1")
    answer = await service.client.post(f"/webhooks/github/{hook.key}", content=BODY, headers=from_github("s-1", BODY))
    (delivery,), (job,) = await service.deliveries(), await service.jobs()
    assert (answer.status_code, answer.json()) == (202, {"status": "received", "delivery": delivery["id"]})
    assert (delivery["hook_id"], delivery["project_id"], delivery["event"]) == (hook.id, hook.project_id, "push")
    assert (delivery["delivery_key"], delivery["body"], delivery["status"]) == ("d-1", BODY, "received")
    assert (job["delivery_id"], job["project_id"], job["state"]) == (delivery["id"], hook.project_id, "queued")


async def test_the_event_of_a_delivery_names_it_its_job_and_the_request(service: Service) -> None:
    hook = await service.hook(GITHUB, "s-1")
    headers = from_github("s-1", BODY) | {"x-request-id": "req-7"}
    await service.client.post(f"/webhooks/github/{hook.key}", content=BODY, headers=headers)
    (job,) = await service.jobs()
    (event,) = await service.rows("SELECT * FROM events WHERE event_type = 'delivery_received'")
    assert (event["delivery_id"], event["job_id"], event["entity"]) == (job["delivery_id"], job["id"], "delivery")
    assert (event["request_id"], event["actor"], event["from_status"]) == ("req-7", "webhook:github", None)
    assert json.loads(event["metadata"]) == {"provider": "github", "event": "push"}


async def test_the_worker_is_rung_for_after_the_commit(service: Service) -> None:
    await service.client.post("/webhooks/github", content=BODY, headers=from_github("the global one", BODY))
    redis = service.queue.worker_client()
    waiting = await redis.zcard(service.queue.name)
    await redis.aclose(close_connection_pool=True)
    assert waiting == 1


async def receive_all(service: Service, payloads: Sequence[Payload]) -> None:
    hooks = {"github": await service.hook(GITHUB, "s-1"), "gitlab": await service.hook(GITLAB, SIGNING, "signing")}
    for number, payload in enumerate(payloads):
        body, delivery = payload.read(), f"d-{number}"
        if payload.provider == "github":
            headers = from_github("s-1", body, event=payload.event, delivery=delivery)
        else:
            headers = signed_by_gitlab(SIGNING, body, delivery=delivery) | {"x-gitlab-event": payload.event}
        path = f"/webhooks/{payload.provider}/{hooks[payload.provider].key}"
        assert (await service.client.post(path, content=body, headers=headers)).status_code == 202, payload
    assert [row["event"] for row in await service.deliveries()] == [payload.event for payload in payloads]
    assert len(await service.jobs()) == len(payloads)


async def test_every_payload_of_ours_is_received(service: Service) -> None:
    await receive_all(service, own())


@pytest.mark.skipif(not published(), reason="no folder of published payloads (DEKSDENFLOW_PAYLOADS_DIR)")
async def test_every_published_payload_is_received(service: Service) -> None:
    await receive_all(service, published())


async def test_the_form_that_github_sends_by_default_is_received(service: Service) -> None:
    hook, form = await service.hook(GITHUB, "s-1"), as_form(BODY)
    headers = from_github("s-1", form, kind="application/x-www-form-urlencoded")
    answer = await service.client.post(f"/webhooks/github/{hook.key}", content=form, headers=headers)
    assert answer.status_code == 202
    assert [row["body"] for row in await service.deliveries()] == [BODY]


async def test_gitlab_is_received_with_a_plain_token_and_with_a_signing_token(service: Service) -> None:
    plain = await service.hook(GITLAB, "p-1", "token")
    signing = await service.hook(GITLAB, SIGNING, "signing")
    by_token = await service.client.post(f"/webhooks/gitlab/{plain.key}", content=BODY, headers=from_gitlab("p-1"))
    by_signature = await service.client.post(
        f"/webhooks/gitlab/{signing.key}", content=BODY, headers=signed_by_gitlab(SIGNING, BODY)
    )
    assert (by_token.status_code, by_signature.status_code) == (202, 202)


async def test_a_wrong_signature_beside_the_right_token_is_refused(service: Service) -> None:
    hook = await service.hook(GITLAB, "p-1", "token")
    headers = signed_by_gitlab(SIGNING, BODY) | {"x-gitlab-token": "p-1"}
    answer = await service.client.post(f"/webhooks/gitlab/{hook.key}", content=BODY, headers=headers)
    assert problem(answer) == (401, "webhook-no-key")
    assert await service.deliveries() == []


async def test_a_signature_is_good_for_five_minutes(service: Service) -> None:
    hook = await service.hook(GITLAB, SIGNING, "signing")
    path, headers = f"/webhooks/gitlab/{hook.key}", signed_by_gitlab(SIGNING, BODY, at=time.time() - 290)
    assert (await service.client.post(path, content=BODY, headers=headers)).status_code == 202
    service.clock.ahead_ms = 20_000
    assert problem(await service.client.post(path, content=BODY, headers=headers)) == (401, "webhook-stale")


@pytest.mark.parametrize(
    "signature",
    [None, "", "sha256=", "sha256=abc", "sha1=" + "a" * 40, "sha256=" + "a" * 64, "a" * 1_000_000, "sha256=é"],
    ids=lambda text: repr(text)[:20],
)
async def test_a_wrong_signature_is_401_whatever_the_body_is(service: Service, signature: str | None) -> None:
    hook = await service.hook(GITHUB, "s-1")
    headers = [(name.encode(), value.encode()) for name, value in from_github("s-1", BODY).items()]
    headers = [pair for pair in headers if pair[0] != b"x-hub-signature-256"]
    headers += [] if signature is None else [(b"x-hub-signature-256", signature.encode("latin-1"))]
    for body in (BODY, b"{not json", b"[" * 200_000):
        answer = await service.client.post(f"/webhooks/github/{hook.key}", content=body, headers=headers)
        assert answer.status_code == 401
    assert await service.deliveries() == []


async def test_a_body_of_one_byte_more_is_401(service: Service) -> None:
    hook = await service.hook(GITHUB, "s-1")
    answer = await service.client.post(
        f"/webhooks/github/{hook.key}", content=BODY + b" ", headers=from_github("s-1", BODY)
    )
    assert problem(answer) == (401, "webhook-wrong")
    assert "differ" in answer.json()["detail"]


async def test_of_a_request_without_a_proof_no_byte_of_the_body_is_read(service: Service) -> None:
    hook = await service.hook(GITHUB, "s-1")
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        read += 1
        yield b"{}"

    headers = {"content-type": "application/json", "content-length": "99000000000"}
    for path in (f"/webhooks/github/{hook.key}", "/webhooks/gitlab", "/webhooks/github/unknown"):
        answer = await service.client.post(path, content=body(), headers=headers)
        assert answer.status_code in {401, 404}
    assert read == 0


async def test_a_body_over_25_mib_is_413(service: Service) -> None:
    cap = 25 * 1024 * 1024
    body = b'{"a":"' + b"x" * (cap - 8) + b'"}'
    headers = from_github("the global one", body)
    assert (await service.client.post("/webhooks/github", content=body, headers=headers)).status_code == 202
    body += b" "
    headers = from_github("the global one", body, delivery="d-2")
    assert problem(await service.client.post("/webhooks/github", content=body, headers=headers)) == (413, "too-large")

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1_000_000):
            yield body[start : start + 1_000_000]

    assert problem(await service.client.post("/webhooks/github", content=chunks(), headers=headers))[0] == 413


async def test_a_hook_answers_to_its_own_secret_only(service: Service) -> None:
    one, two = await service.hook(GITHUB, "s-1"), await service.hook(GITHUB, "s-2", project="two")
    for hook, secret, status in ((one, "s-1", 202), (two, "s-1", 401), (two, "the global one", 401), (two, "s-2", 202)):
        headers = from_github(secret, BODY)
        answer = await service.client.post(f"/webhooks/github/{hook.key}", content=BODY, headers=headers)
        assert answer.status_code == status
    assert [row["project_id"] for row in await service.deliveries()] == [one.project_id, two.project_id]


async def test_an_unknown_key_and_the_key_of_the_other_forge_are_404(service: Service) -> None:
    hook = await service.hook(GITHUB, "s-1")
    for path in ("/webhooks/github/nobody", f"/webhooks/gitlab/{hook.key}", f"/webhooks/github/{hook.key}%00"):
        answer = await service.client.post(path, content=BODY, headers=from_github("s-1", BODY))
        assert problem(answer) == (404, "not-found")


async def test_a_hook_without_a_secret_refuses_everything_and_says_what_to_do(service: Service) -> None:
    hook = await service.hook(GITHUB, None)
    answer = await service.client.post(f"/webhooks/github/{hook.key}", content=BODY, headers=from_github("", BODY))
    assert problem(answer) == (403, "no-webhook-secret")
    assert f"Hook {hook.id} of project {hook.project_id}" in answer.json()["detail"]


async def test_the_bare_urls_refuse_everything_while_no_global_secret_is_set(start: Start) -> None:
    async with start() as service:
        for path, headers in (("github", from_github("", BODY)), ("gitlab", from_gitlab("x"))):
            answer = await service.client.post(f"/webhooks/{path}", content=BODY, headers=headers)
            assert problem(answer) == (403, "no-webhook-secret")
            assert "DEKSDENFLOW_WEBHOOK_TOKEN" in answer.json()["detail"]


async def test_the_bare_urls_accept_the_present_and_the_previous_global_secret(start: Start) -> None:
    both = {"webhook_token": Secret("new"), "webhook_token_previous": Secret("old")}
    async with start(**both) as service:
        for number, secret in enumerate(("new", "old", "older")):
            headers = from_github(secret, other(number), delivery=f"d-{number}")
            answer = await service.client.post("/webhooks/github", content=other(number), headers=headers)
            assert answer.status_code == (401 if secret == "older" else 202)
        by_token = await service.client.post("/webhooks/gitlab", content=BODY, headers=from_gitlab("old"))
        assert by_token.status_code == 202
        assert [row["project_id"] for row in await service.deliveries()] == [None, None, None]


async def test_a_global_signing_token_proves_by_signature_and_not_as_a_plain_token(start: Start) -> None:
    async with start(webhook_token=Secret(SIGNING)) as service:
        signed = await service.client.post("/webhooks/gitlab", content=BODY, headers=signed_by_gitlab(SIGNING, BODY))
        plain = await service.client.post("/webhooks/gitlab", content=BODY, headers=from_gitlab(SIGNING))
        assert (signed.status_code, plain.status_code) == (202, 401)


async def test_the_former_secret_of_a_hook_is_accepted_until_its_end(service: Service) -> None:
    hook = await service.hook(GITHUB, "old")
    context = f"hook:{hook.key}"
    await service.database.write(
        lambda tx: tx.run("UPDATE hook_secrets SET valid_until = ? WHERE hook_id = ?", (tx.now + 60_000, hook.id))
    )
    await service.database.write(
        lambda tx: tx.run(
            "INSERT INTO hook_secrets (hook_id, scheme, sealed, created_at) VALUES (?, 'hmac', ?, ?)",
            (hook.id, service.vault.seal("new", context), tx.now),
        )
    )
    seen: list[int] = []
    for ahead_ms in (0, 61_000):
        service.clock.ahead_ms = ahead_ms
        for secret in ("old", "new"):
            body = other(len(seen))
            headers = from_github(secret, body, delivery=f"{secret}-{ahead_ms}")
            answer = await service.client.post(f"/webhooks/github/{hook.key}", content=body, headers=headers)
            seen.append(answer.status_code)
    assert seen == [202, 202, 401, 202]


async def test_a_secret_that_was_sealed_for_another_hook_opens_nothing(service: Service) -> None:
    one, two = await service.hook(GITHUB, "s-1"), await service.hook(GITHUB, "s-2")
    await service.database.write(
        lambda tx: tx.run(
            "UPDATE hook_secrets SET sealed = (SELECT sealed FROM hook_secrets WHERE hook_id = ?) WHERE hook_id = ?",
            (one.id, two.id),
        )
    )
    answer = await service.client.post(f"/webhooks/github/{two.key}", content=BODY, headers=from_github("s-1", BODY))
    assert problem(answer) == (503, "unavailable")


async def test_the_same_delivery_again_is_200_duplicate_and_changes_nothing(service: Service) -> None:
    hook = await service.hook(GITHUB, "s-1")
    path, headers = f"/webhooks/github/{hook.key}", from_github("s-1", BODY)
    first = await service.client.post(path, content=BODY, headers=headers)
    again = await service.client.post(path, content=BODY, headers=headers)
    assert (again.status_code, again.json()) == (200, {"status": "duplicate", "delivery": first.json()["delivery"]})
    assert (len(await service.deliveries()), len(await service.jobs())) == (1, 1)


async def test_of_twenty_at_once_with_one_id_one_is_received(start: Start) -> None:
    async with AsyncExitStack() as stack:
        settings = {"webhook_token": Secret("the global one")}
        running = [await stack.enter_async_context(start(**settings)) for _ in range(2)]
        headers = from_github("the global one", BODY)
        answers = await asyncio.gather(
            *(running[n % 2].client.post("/webhooks/github", content=BODY, headers=headers) for n in range(20))
        )
        assert sorted(answer.status_code for answer in answers) == [200] * 19 + [202]
        assert (len(await running[0].deliveries()), len(await running[0].jobs())) == (1, 1)


async def test_an_equal_body_under_another_id_is_200_duplicate_body_and_gets_no_job(service: Service) -> None:
    hook = await service.hook(GITHUB, "s-1")
    answers: list[tuple[int, str]] = []
    for delivery in ("d-1", "d-2", "d-2"):
        headers = from_github("s-1", BODY, delivery=delivery)
        answer = await service.client.post(f"/webhooks/github/{hook.key}", content=BODY, headers=headers)
        answers.append((answer.status_code, answer.json()["status"]))
    assert answers == [(202, "received"), (200, "duplicate_body"), (200, "duplicate")]
    assert [row["status"] for row in await service.deliveries()] == ["received", "duplicate"]
    assert len(await service.jobs()) == 1


async def test_of_twenty_ids_at_once_with_one_body_one_gets_a_job(start: Start) -> None:
    async with AsyncExitStack() as stack:
        settings = {"webhook_token": Secret("the global one")}
        running = [await stack.enter_async_context(start(**settings)) for _ in range(2)]

        async def send(number: int) -> int:
            headers = from_github("the global one", BODY, delivery=f"d-{number}")
            answer = await running[number % 2].client.post("/webhooks/github", content=BODY, headers=headers)
            return answer.status_code

        assert sorted(await asyncio.gather(*(send(number) for number in range(20)))) == [200] * 19 + [202]
        assert (len(await running[0].deliveries()), len(await running[0].jobs())) == (20, 1)


async def test_a_ci_job_reports_at_its_own_urls_signed_like_github(service: Service) -> None:
    hook = await service.hook(Provider.CI, "s-1")
    for path, secret in ((f"/webhooks/ci/{hook.key}", "s-1"), ("/webhooks/ci", "the global one")):
        answer = await service.client.post(path, content=BODY, headers=from_ci(secret, BODY))
        assert answer.status_code == 202
        wrong = await service.client.post(path, content=BODY, headers=from_ci("wrong", BODY))
        assert problem(wrong) == (401, "webhook-wrong")
        assert "DEKSDENFLOW_WEBHOOK_TOKEN" in wrong.json()["detail"]
        plain = await service.client.post(path, content=BODY, headers=from_gitlab(secret))
        assert problem(plain) == (401, "webhook-missing")
    assert [(row["provider"], row["project_id"]) for row in await service.deliveries()] == [
        ("ci", hook.project_id),
        ("ci", None),
    ]


async def test_a_ci_report_is_known_by_its_id_or_by_what_it_says(service: Service) -> None:
    seen: list[tuple[int, str]] = []
    for more in (
        {"x-deksdenflow-delivery": "r-1"},
        {"idempotency-key": "r-1"},
        {"idempotency-key": "r-2"},
        {},
        {},
    ):
        answer = await service.client.post(
            "/webhooks/ci", content=BODY, headers=from_ci("the global one", BODY, delivery=None) | more
        )
        seen.append((answer.status_code, answer.json()["status"]))
    again = (200, "duplicate")
    assert seen == [(202, "received"), again, (202, "received"), (202, "received"), again]


@pytest.mark.parametrize("provider", ["github", "gitlab", "ci"])
async def test_the_url_may_name_the_protocol_run(service: Service, provider: str) -> None:
    headers = {
        "github": from_github("the global one", BODY),
        "gitlab": from_gitlab("the global one"),
        "ci": from_ci("the global one", BODY),
    }[provider]
    url = f"/webhooks/{provider}?protocol_run_id="
    for wrong in ("", "0", "-1", "1.5", "x", "%D9%A3", "9" * 17, "9007199254740992", "1&protocol_run_id=2"):
        answer = await service.client.post(url + wrong, content=BODY, headers=headers)
        assert problem(answer) == (400, "invalid"), wrong
        assert "protocol_run_id" in answer.json()["detail"]
    assert await service.deliveries() == []
    assert (await service.client.post(f"{url}007", content=BODY, headers=headers)).status_code == 202
    (row,) = await service.deliveries()
    assert json.loads(row["headers"])["deksdenflow-protocol-run-id"] == "7"


async def test_a_header_cannot_name_the_protocol_run(service: Service) -> None:
    headers = from_github("the global one", BODY) | {"deksdenflow-protocol-run-id": "7"}
    await service.client.post("/webhooks/github", content=BODY, headers=headers)
    (row,) = await service.deliveries()
    assert "deksdenflow-protocol-run-id" not in json.loads(row["headers"])


async def test_a_wrong_protocol_run_is_no_news_for_who_cannot_sign(service: Service) -> None:
    answer = await service.client.post(
        "/webhooks/github?protocol_run_id=x", content=BODY, headers=from_github("wrong", BODY)
    )
    assert answer.status_code == 401


async def test_the_same_id_at_another_hook_is_another_delivery(service: Service) -> None:
    for name in ("one", "two"):
        hook = await service.hook(GITHUB, "s-1", project=name)
        headers = from_github("s-1", BODY)
        assert (
            await service.client.post(f"/webhooks/github/{hook.key}", content=BODY, headers=headers)
        ).status_code == 202
    assert len(await service.jobs()) == 2


@pytest.mark.parametrize(
    ("status", "answered", "jobs"),
    [("failed", 202, 2), ("applied", 200, 1), ("ignored", 200, 1), ("received", 200, 1)],
)
async def test_only_a_delivery_whose_application_failed_is_applied_again(
    service: Service, status: str, answered: int, jobs: int
) -> None:
    headers = from_github("the global one", BODY)
    first = await service.client.post("/webhooks/github", content=BODY, headers=headers)
    await service.flow.run(TESTER, settle_delivery, first.json()["delivery"], DeliveryStatus(status), "because")
    again = await service.client.post("/webhooks/github", content=BODY, headers=headers)
    assert (again.status_code, again.json()["delivery"]) == (answered, first.json()["delivery"])
    assert len(await service.jobs()) == jobs


async def test_a_late_word_does_not_undo_what_became_of_a_delivery(service: Service) -> None:
    headers = from_github("the global one", BODY)
    delivery = (await service.client.post("/webhooks/github", content=BODY, headers=headers)).json()["delivery"]
    await service.flow.run(TESTER, settle_delivery, delivery, DeliveryStatus.APPLIED)
    settled = await service.flow.run(TESTER, settle_delivery, delivery, DeliveryStatus.FAILED, "late")
    assert (settled.status, settled.reason) == (DeliveryStatus.APPLIED, None)


async def test_broken_json_under_a_right_signature_is_400_and_not_stored(service: Service) -> None:
    for body in (b"{", b"", b"[1]", b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"):
        answer = await service.client.post(
            "/webhooks/github", content=body, headers=from_github("the global one", body)
        )
        assert problem(answer) == (400, "invalid")
    assert await service.deliveries() == []


async def test_another_content_type_is_415(service: Service) -> None:
    headers = from_github("the global one", BODY, kind="text/plain")
    answer = await service.client.post("/webhooks/github", content=BODY, headers=headers)
    assert problem(answer) == (415, "wrong-media-type")


async def test_events_nobody_knows_and_pings_are_2xx(service: Service) -> None:
    for number, event in enumerate(("ping", "stacked_pull_request", "sponsorship")):
        headers = from_github("the global one", BODY, delivery=f"d-{number}", event=event)
        assert (await service.client.post("/webhooks/github", content=BODY, headers=headers)).status_code == 202


async def test_values_of_ci_variables_and_secrets_never_reach_the_database(service: Service) -> None:
    hook = await service.hook(GITLAB, "canary-token", "token")
    (payload,) = (each for each in own() if each.file.name == "gitlab.pipeline.json")
    headers = from_gitlab("canary-token", event=payload.event)
    answer = await service.client.post(f"/webhooks/gitlab/{hook.key}", content=payload.read(), headers=headers)
    assert answer.status_code == 202
    await service.database.write(lambda tx: tx.run("UPDATE meta SET value = value"))
    files = service.database.path.parent.glob(f"{service.database.path.name}*")
    assert not [file for file in files if b"canary" in file.read_bytes()]


async def test_a_bearer_opens_nothing_here(start: Start) -> None:
    async with start(api_token=Secret("t-1"), webhook_token=Secret("w-1")) as service:
        headers = {"authorization": "Bearer t-1", "content-type": "application/json"}
        assert problem(await service.client.post("/webhooks/github", content=BODY, headers=headers))[0] == 401


async def test_who_keeps_failing_is_told_to_wait_and_a_right_signature_still_passes(service: Service) -> None:
    wrong = from_github("wrong", BODY)
    seen = [(await service.client.post("/webhooks/github", content=BODY, headers=wrong)) for _ in range(40)]
    assert [seen[0].status_code, seen[-1].status_code] == [401, 429]
    assert int(seen[-1].headers["retry-after"]) > 0
    right = from_github("the global one", BODY)
    assert (await service.client.post("/webhooks/github", content=BODY, headers=right)).status_code == 202


async def test_health_is_open_and_metrics_ask_for_the_api_token(start: Start) -> None:
    async with start(api_token=Secret("t-1")) as service:
        assert (await service.client.get("/health")).json() == {"status": "ok"}
        assert (await service.client.get("/health/ready")).status_code == 200
        assert problem(await service.client.get("/metrics"))[0] == 401
        metrics = await service.client.get("/metrics", headers={"authorization": "Bearer t-1"})
        assert 'path="/health"' in metrics.text


async def test_other_paths_and_methods_are_problems(service: Service) -> None:
    assert problem(await service.client.get("/webhooks/github"))[0] == 405
    for path in ("/webhooks/bitbucket", "/webhooks/github/a/b", "/webhooks", "/projects"):
        assert problem(await service.client.post(path, content=b"{}"))[0] == 404


async def test_without_redis_a_delivery_is_taken_at_once_and_its_job_waits(
    start: Start, redis_server: RedisServer
) -> None:
    redis_server.kill9()
    async with start(redis=redis_server.url, webhook_token=Secret("the global one")) as service:
        slowest = 0.0
        for number in range(20):
            headers = from_github("the global one", other(number), delivery=f"d-{number}")
            began = time.perf_counter()
            answer = await service.client.post("/webhooks/github", content=other(number), headers=headers)
            slowest = max(slowest, time.perf_counter() - began)
            assert answer.status_code == 202
        assert slowest < 1.0
        assert [job["dispatched_at"] for job in await service.jobs()] == [None] * 20
        assert (await service.client.get("/health")).status_code == 200
        ready = await service.client.get("/health/ready")
        assert (ready.status_code, ready.json()["checks"]["redis"]["ok"]) == (503, False)


async def test_a_redis_that_hangs_holds_up_one_delivery_for_less_than_a_second(
    start: Start, redis_server: RedisServer
) -> None:
    async with start(redis=redis_server.url, webhook_token=Secret("the global one")) as service:
        redis_server.freeze()
        for number in range(3):
            headers = from_github("the global one", other(number), delivery=f"d-{number}")
            began = time.perf_counter()
            answer = await service.client.post("/webhooks/github", content=other(number), headers=headers)
            assert answer.status_code == 202
            assert time.perf_counter() - began < 1.0
        redis_server.thaw()
