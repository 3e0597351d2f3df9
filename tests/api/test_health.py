"""Health, readiness and metrics of the running API."""

from pathlib import Path

import httpx

from tests.api.house import ADMIN, House, open_house


async def test_liveness_is_ok_whatever_is_away(house: House) -> None:
    answer = await house.client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_without_redis_the_api_is_unready_and_says_so(house: House) -> None:
    answer = await house.client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["status"] == "unready"
    assert answer.json()["checks"]["database"]["ok"] is True
    assert answer.json()["checks"]["redis"]["ok"] is False


async def test_with_everything_there_it_is_ready(tmp_path: Path, redis_url: str) -> None:
    async with open_house(tmp_path, redis=redis_url) as house:
        answer = await house.client.get("/health/ready")
        assert (answer.status_code, answer.json()["status"]) == (200, "ready")


async def test_without_redis_work_is_accepted_and_waits_in_the_outbox(house: House) -> None:
    await house.project()
    (job,) = await house.rows("SELECT state, dispatched_at FROM jobs")
    assert (job["state"], job["dispatched_at"]) == ("queued", None)


async def test_requests_are_counted_by_route_and_not_by_path(house: House) -> None:
    for number in range(3):
        await house.client.get(f"/projects/{number + 100}", headers=ADMIN)
        await house.client.get(f"/nope/{number}")
    text = (await house.client.get("/metrics", headers=ADMIN)).text
    assert 'requests_total{method="GET",path="/projects/{project_id}",status="404"} 3.0' in text
    assert 'requests_total{method="GET",path="unmatched",status="404"} 3.0' in text
    assert "/nope" not in text


async def test_all_services_are_told_as_the_api_sees_them(house: House, admin: httpx.AsyncClient) -> None:
    answer = await admin.get("/services")
    assert answer.status_code == 200
    told = {each["name"]: each for each in answer.json()["services"]}
    assert list(told) == ["api", "webhooks", "worker"]
    ready = (await house.client.get("/health/ready")).json()
    assert told["api"]["status"] == ready["status"] == "unready"
    assert {each["name"]: each["ok"] for each in told["api"]["checks"]} == {"database": True, "redis": False}
    for name in ("webhooks", "worker"):
        assert told[name]["status"] == "unknown"
        assert told[name]["note"].endswith(".")
