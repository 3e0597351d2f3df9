"""The description of the API is complete, correct and readable without a network."""

import re
from typing import Any

import httpx
import msgspec
import pytest

from services.api.openapi import handlers_of
from shared.schemas.requests import EXAMPLES, Body
from tests.api.house import House

Doc = dict[str, Any]


@pytest.fixture
async def doc(house: House) -> Doc:
    answer = await house.client.get("/openapi.json")
    assert answer.status_code == 200
    return answer.json()


def operations(doc: Doc) -> list[tuple[str, str, Doc]]:
    return [(method, path, each) for path, methods in doc["paths"].items() for method, each in methods.items()]


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set[str]()
        return own.union(*(references(each) for each in node.values()))
    return set[str]().union(*(references(each) for each in node)) if isinstance(node, list) else set()


def test_every_reference_leads_somewhere(doc: Doc) -> None:
    for reference in references(doc):
        room, name = re.fullmatch(r"#/components/(\w+)/(\w+)", reference).groups()  # pyright: ignore[reportOptionalMemberAccess]
        assert name in doc["components"][room], reference


def test_every_route_is_described(doc: Doc, house: House) -> None:
    hidden = {"/docs", "/docs/style.css", "/openapi.json", "/schema", "/schema/openapi.json", "/schema/{path}"}
    for path, method, _ in handlers_of(house.app):
        if method != "options" and path not in hidden and not path.startswith(("/webhooks", "/console")):
            operation = doc["paths"][path][method]
            assert operation["description"].endswith("."), path
            assert operation["tags"], path


def test_what_narrows_to_a_run_or_a_step_is_named_as_in_the_answers(doc: Doc) -> None:
    asked = {
        each["name"] for _, _, operation in operations(doc) for each in operation["parameters"] if each["in"] == "query"
    }
    assert {"protocol_run_id", "step_run_id"} <= asked
    assert not {"protocol_id", "step_id"} & asked


def test_operation_ids_are_unique(doc: Doc) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(doc)]
    assert len(ids) == len(set(ids))


def test_every_refusal_is_a_problem(doc: Doc) -> None:
    for method, path, operation in operations(doc):
        for status, answer in operation["responses"].items():
            if status.startswith(("4", "5")) and "$ref" in answer:
                found = doc["components"]["responses"][answer["$ref"].rpartition("/")[2]]
                assert list(found["content"]) == ["application/problem+json"], (method, path)


def test_bodies_refuse_unknown_fields_and_have_a_valid_example(doc: Doc) -> None:
    for _, path, operation in operations(doc):
        if "requestBody" in operation:
            body = operation["requestBody"]["content"]["application/json"]
            name = body["schema"]["$ref"].rpartition("/")[2]
            assert doc["components"]["schemas"][name]["additionalProperties"] is False, path
            assert body["example"] is not None


def test_every_body_has_an_example_that_decodes() -> None:
    nested = {"Models", "PolicyChanges"}
    bodies = {kind.__name__ for kind in Body.__subclasses__() if kind.__module__.startswith("shared.")}  # forms are not
    assert bodies - nested == {kind.__name__ for kind in EXAMPLES}
    for kind, example in EXAMPLES.items():
        assert msgspec.json.decode(msgspec.json.encode(example), type=kind) == example


def test_what_needs_a_credential_says_which(doc: Doc) -> None:
    assert doc["security"] == [{"bearer": []}, {"projectToken": []}]
    assert set(doc["components"]["securitySchemes"]) == {"bearer", "projectToken"}
    open_ones = {path for _, path, operation in operations(doc) if operation.get("security") == []}
    assert open_ones == {"/", "/health", "/health/ready", "/metrics"}


def test_the_names_of_the_wire_are_used(doc: Doc) -> None:
    schemas = doc["components"]["schemas"]
    assert {"protocol_run_id", "step_run_id", "event_type", "metadata"} <= set(schemas["EventAnswer"]["properties"])
    assert {"protocol_run_id", "step_index", "step_name", "step_type"} <= set(schemas["StepAnswer"]["properties"])
    assert {"job_type", "status", "payload"} <= set(schemas["JobAnswer"]["properties"])
    assert schemas["ProjectAnswer"]["properties"]["created_at"]["format"] == "date-time"


async def test_the_page_names_every_route_and_asks_nobody_else(house: House, doc: Doc) -> None:
    page = await house.client.get("/docs")
    for path in doc["paths"]:
        assert path in page.text
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", page.text)
    assert "<script" not in page.text
    style = await house.client.get("/docs/style.css")
    assert style.headers["content-type"].startswith("text/css")
    assert not re.findall(r"url\(|@import", style.text)


async def test_pages_forbid_everything_but_their_own_style(house: House) -> None:
    page = await house.client.get("/docs")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"


async def test_the_root_says_where_to_go(house: House) -> None:
    root = (await house.client.get("/")).json()
    for name in ("docs", "openapi", "health"):
        assert (await house.client.get(root[name])).status_code == 200


async def test_every_internal_link_of_the_page_has_its_target(house: House, admin: httpx.AsyncClient) -> None:
    page = (await admin.get("/docs")).text
    targets = set(re.findall(r'id="([^"]+)"', page))
    assert {link for link in re.findall(r'href="#([^"]+)"', page) if link not in targets} == set()
