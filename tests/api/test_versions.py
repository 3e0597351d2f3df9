"""ETag and If-Match: nobody overwrites what he has not seen."""

import httpx
import pytest

from tests.api.house import House


async def test_an_action_on_a_stale_version_is_refused_and_changes_nothing(
    house: House, admin: httpx.AsyncClient
) -> None:
    protocol = await house.protocol(await house.project())
    path = f"/protocols/{protocol}"
    seen = (await admin.get(path)).headers["etag"]
    await admin.post(f"{path}/actions/start", headers={"if-match": seen})
    refused = await admin.post(f"{path}/actions/cancel", headers={"if-match": seen})
    assert refused.status_code == 412
    assert (await admin.get(path)).json()["status"] == "planning"


@pytest.mark.parametrize("given", ['W/"1"', '"x"', "x", '""', '"99999999999999999999"', '"1", "2"'])
async def test_what_is_no_etag_of_ours_fits_no_version(house: House, admin: httpx.AsyncClient, given: str) -> None:
    protocol = await house.protocol(await house.project())
    refused = await admin.post(f"/protocols/{protocol}/actions/cancel", headers={"if-match": given})
    assert refused.status_code == 412
    assert "-1" not in refused.json()["detail"]


async def test_a_star_fits_any_version(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await house.protocol(await house.project())
    done = await admin.post(f"/protocols/{protocol}/actions/cancel", headers={"if-match": "*"})
    assert done.status_code == 200


async def test_the_etag_is_the_version(house: House, admin: httpx.AsyncClient) -> None:
    _, step = await house.executed(await house.project())
    answer = await admin.get(f"/steps/{step}")
    assert answer.headers["etag"] == f'"{answer.json()["version"]}"'


async def test_what_became_impossible_since_is_seen_though_the_version_is_the_same(
    house: House, admin: httpx.AsyncClient
) -> None:
    protocol = await house.planned(await house.project(), "One", "Two")
    first, second = (await admin.get(f"/protocols/{protocol}/steps")).json()
    path = f"/steps/{second['id']}"
    seen = await admin.get(path)
    assert "run" in seen.json()["allowed_actions"]
    await admin.post(f"/steps/{first['id']}/actions/run")
    now = await admin.get(path, headers={"if-none-match": seen.headers["etag"]})
    assert (now.status_code, now.headers["etag"]) == (200, seen.headers["etag"])
    assert "run" not in now.json()["allowed_actions"]


async def test_tokens_used_since_are_seen_though_the_version_is_the_same(
    house: House, admin: httpx.AsyncClient
) -> None:
    protocol, _ = await house.executed(await house.project())
    path = f"/protocols/{protocol}"
    seen = (await admin.get(path)).headers["etag"]
    assert (await admin.get(path, headers={"if-none-match": seen})).status_code == 200
