"""Lists come in pages; the next one is in the Link header."""

import re
from typing import Any

import httpx
import pytest

from tests.api.house import House


async def all_pages(client: httpx.AsyncClient, path: str) -> list[list[dict[str, Any]]]:
    pages: list[list[dict[str, Any]]] = []
    while path:
        answer = await client.get(path)
        assert answer.status_code == 200, answer.text
        pages.append(answer.json())
        link = re.fullmatch(r'<(.*)>; rel="next"', answer.headers.get("link", ""))
        path = link[1] if link else ""
    return pages


@pytest.mark.parametrize("size", [1, 2, 5, 6])
async def test_pages_together_are_the_list(house: House, admin: httpx.AsyncClient, size: int) -> None:
    for number in range(5):
        await house.project(f"p{number}")
    pages = await all_pages(admin, f"/projects?limit={size}")
    assert [each["name"] for page in pages for each in page] == [f"p{number}" for number in range(5)]
    assert all(len(page) == size for page in pages[:-1])
    assert 0 < len(pages[-1]) <= size


async def test_steps_are_paged_by_their_index(house: House, admin: httpx.AsyncClient) -> None:
    protocol = await house.protocol(await house.project())
    for index in (7, 0, 3):
        await admin.post(f"/protocols/{protocol}/steps", json={"step_name": f"s{index}", "step_index": index})
    pages = await all_pages(admin, f"/protocols/{protocol}/steps?limit=1")
    assert [page[0]["step_index"] for page in pages] == [0, 3, 7]


async def test_events_are_paged_newest_first_with_their_filter(house: House, admin: httpx.AsyncClient) -> None:
    project = await house.project()
    await house.protocol(project)
    await house.project("other")
    pages = await all_pages(admin, f"/events?limit=2&project_id={project}")
    ids = [each["id"] for page in pages for each in page]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 3


async def test_what_is_added_meanwhile_does_not_shift_a_page(house: House, admin: httpx.AsyncClient) -> None:
    await house.project("one")
    first = await admin.get("/events?limit=1")
    await house.project("two")
    following = re.sub(r"^<|>.*$", "", first.headers["link"])
    assert (await admin.get(following)).json()[0]["id"] == first.json()[0]["id"] - 1


async def test_the_cursor_of_another_list_is_refused(house: House, admin: httpx.AsyncClient) -> None:
    await house.project()
    link = (await admin.get("/events?limit=1")).headers["link"]
    cursor = re.sub(r".*cursor=|>.*$", "", link)
    assert (await admin.get(f"/queues/jobs?cursor={cursor}")).status_code == 400


async def test_a_list_that_fits_has_no_next_page(house: House, admin: httpx.AsyncClient) -> None:
    await house.project()
    assert "link" not in (await admin.get("/projects?limit=1")).headers
