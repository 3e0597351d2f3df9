"""The front of every app: ids, headers, the log and what happens when something fails behind it."""

import json
from collections.abc import AsyncIterator
from io import StringIO
from typing import Any

import httpx
import pytest
from litestar import Litestar, get, post

from shared import log
from shared.errors import Conflict, Unavailable
from shared.web.front import put_front
from shared.web.metrics import HttpMeter, metrics_route, new_registry
from shared.web.peers import Peers
from shared.web.problems import problem_handlers


@get("/fine")
async def fine() -> dict[str, str]:
    return {"a": "b"}


@get("/page", media_type="text/html")
async def page() -> str:
    return "<!doctype html><title>x</title>"


@post("/busy")
async def busy() -> None:
    raise Unavailable("Try again.")


@post("/wrong")
async def wrong() -> None:
    raise Conflict("It is over.", status_now="completed", allowed_actions=())


@get("/broken")
async def broken() -> None:
    raise RuntimeError("SELECT secret FROM /etc/passwd")


@get("/deep")
async def deep() -> None:
    raise RecursionError


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    registry = new_registry()
    app = Litestar(
        [fine, page, busy, wrong, broken, deep, metrics_route(registry, None)],
        exception_handlers=problem_handlers(),
        logging_config=None,
        openapi_config=None,
    )
    put_front(app, meter=HttpMeter(registry), peers=Peers(()))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as running:
        yield running


@pytest.fixture
def lines() -> StringIO:
    """What is logged, one JSON object a line."""
    stream = StringIO()
    log.configure(stream=stream, as_json=True)
    return stream


def records(lines: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


async def test_a_request_keeps_the_id_that_it_came_with(client: httpx.AsyncClient) -> None:
    answer = await client.get("/fine", headers={"x-request-id": "ci-7.a_b"})
    assert answer.headers["x-request-id"] == "ci-7.a_b"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a;b", "é", "a\tb", "\x1b[31m"])
async def test_an_id_that_could_do_harm_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get("/fine", headers=[(b"x-request-id", given.encode("latin-1"))])
    assert answer.headers["x-request-id"] != given
    assert len(answer.headers["x-request-id"]) == 16


async def test_requests_without_an_id_get_different_ones(client: httpx.AsyncClient) -> None:
    ids = {(await client.get("/fine")).headers["x-request-id"] for _ in range(20)}
    assert len(ids) == 20


async def test_what_finds_no_route_has_an_id_too(client: httpx.AsyncClient) -> None:
    answer = await client.get("/nope", headers={"x-request-id": "r1"})
    assert (answer.status_code, answer.json()["request_id"]) == (404, "r1")


async def test_a_failure_tells_its_id_and_nothing_of_its_cause(client: httpx.AsyncClient, lines: StringIO) -> None:
    answer = await client.get("/broken", headers={"x-request-id": "r1"})
    assert answer.status_code == 500
    assert answer.json() == {
        "type": "urn:deksdenflow:problem:internal-error",
        "title": "Something failed on our side",
        "status": 500,
        "detail": "The log has the details under this request id.",
        "request_id": "r1",
    }
    (record,) = [each for each in records(lines) if each["event"] == "request_failed"]
    assert record["request_id"] == "r1"
    assert "RuntimeError" in record["exception"]


async def test_what_is_nested_too_deeply_is_the_callers_fault(client: httpx.AsyncClient) -> None:
    assert (await client.get("/deep")).status_code == 400


async def test_an_unavailable_service_says_when_to_ask_again(client: httpx.AsyncClient) -> None:
    answer = await client.post("/busy")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_a_refusal_tells_the_status_and_that_nothing_is_allowed(client: httpx.AsyncClient) -> None:
    answer = await client.post("/wrong")
    assert (answer.json()["status_now"], answer.json()["allowed_actions"]) == ("completed", [])


async def test_changes_and_refusals_are_logged_in_one_line_each(client: httpx.AsyncClient, lines: StringIO) -> None:
    await client.get("/fine")
    await client.post("/wrong", headers={"x-request-id": "r1"})
    await client.get("/nope")
    first, second = records(lines)
    assert (first["event"], first["method"], first["path"], first["status"]) == ("request", "POST", "/wrong", 409)
    assert first["request_id"] == "r1"
    assert second["status"] == 404


async def test_reads_are_logged_for_those_who_ask_for_everything(client: httpx.AsyncClient) -> None:
    stream = StringIO()
    log.configure(level="DEBUG", stream=stream, as_json=True)
    await client.get("/fine")
    assert [each["path"] for each in records(stream)] == ["/fine"]


async def test_a_path_cannot_break_the_line(client: httpx.AsyncClient, lines: StringIO) -> None:
    await client.get("/a%0A%1B[31mb")
    (record,) = records(lines)
    assert record["path"] == "/a\n\x1b[31mb"


async def test_pages_get_a_strict_policy_and_data_needs_none(client: httpx.AsyncClient) -> None:
    assert "default-src 'none'" in (await client.get("/page")).headers["content-security-policy"]
    data = await client.get("/fine")
    assert "content-security-policy" not in data.headers
    assert (data.headers["cache-control"], data.headers["x-content-type-options"]) == ("no-store", "nosniff")


async def test_head_answers_like_get_without_a_body(client: httpx.AsyncClient) -> None:
    answer = await client.head("/fine")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "9")


async def test_methods_that_nobody_knows_do_not_multiply_the_metrics(client: httpx.AsyncClient) -> None:
    for method in ("FOO", "BAR", "PROPFIND"):
        assert (await client.request(method, "/fine")).status_code == 405
    text = (await client.get("/metrics")).text
    assert 'requests_total{method="other"' in text
    assert "FOO" not in text
