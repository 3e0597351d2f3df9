"""The pages that describe the API: the OpenAPI document, and the same for people, drawn here and without a script."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Litestar, Request, Response, Router, get
from litestar.enums import OpenAPIMediaType
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.plugins import OpenAPIRenderPlugin

from services.api.openapi import Doc, complete

FOLDER = Path(__file__).parent / "pages"

INTRODUCTION = (
    "Register a *project* (a repository), open a *protocol run* (one task on one branch), start it, and watch its"
    " *steps* being planned, executed, judged and published.\n\n"
    "Lists take `limit` and `cursor`; the next page is in the `Link` header. Refusals are problems (RFC 9457) that name"
    " the current status and the actions it allows. A `POST` may carry an `Idempotency-Key`, a change an `If-Match`."
    "\n\nWhere an API token is set, requests carry it as `Authorization: Bearer …`; a project's own token goes into"
    " `X-Project-Token` and reaches that project alone."
)

TAGS = {
    "projects": "Repositories with their base branch, forge, models and policy.",
    "protocols": "Protocol runs: one task on one branch.",
    "steps": "The steps of a protocol run, and how they are judged.",
    "attempts": "Every life of a Codex process, its files and its diff.",
    "events": "What happened, append-only.",
    "deliveries": "What forges and CI jobs sent, and what became of it.",
    "attention": "Why things move or do not, what waits for somebody, and who is told.",
    "queue": "Background work.",
    "access": "Tokens, secrets and webhook addresses of a project.",
    "service": "Health, metrics, documentation.",
}

METHODS = ("get", "post", "put", "patch", "delete")


class Field(msgspec.Struct, frozen=True):
    """A parameter, or a field of a body or an answer."""

    name: str
    type: str
    required: bool
    description: str


class Shape(msgspec.Struct, frozen=True):
    """A named schema for people."""

    name: str
    description: str
    fields: list[Field]


class Operation(msgspec.Struct, frozen=True):
    """One method of one path for people."""

    method: str
    path: str
    summary: str
    parameters: list[Field]
    body: str | None
    example: str | None
    answers: list[tuple[str, str, str | None]]


class Document(OpenAPIRenderPlugin):
    """`/openapi.json`, and where the framework puts it: the document, completed; drawn at the first request."""

    def __init__(self) -> None:
        super().__init__(path="/openapi.json", media_type=OpenAPIMediaType.OPENAPI_JSON)
        self.of = functools.cache(complete)

    def render(self, request: Request[Any, Any, Any], openapi_schema: Doc) -> bytes:  # noqa: ARG002  the base's signature
        """The document as JSON."""
        return self.encoded(request.app)

    @functools.cache  # noqa: B019  it lives as long as its app
    def encoded(self, app: Litestar) -> bytes:
        """The document as it is sent."""
        return msgspec.json.encode(self.of(app))


def schema_router() -> Router:
    """The router that Litestar puts the document on."""
    return Router("/schema", route_handlers=[], opt={"open": True}, include_in_schema=False)


def docs_routes(document: Document) -> list[HTTPRouteHandler]:
    """`/docs`, its style and `/openapi.json`; open to everybody, since they tell nothing of this installation."""

    @functools.cache
    def drawn(app: Litestar) -> str:
        return draw(document.of(app))

    @get("/docs", opt={"open": True}, include_in_schema=False, sync_to_thread=False)
    def page(request: Request[Any, Any, Any]) -> Response[str]:
        return Response(drawn(request.app), media_type="text/html")

    @get("/docs/style.css", opt={"open": True}, include_in_schema=False, sync_to_thread=False)
    def style() -> Response[str]:
        return Response((FOLDER / "docs.css").read_text(), media_type="text/css")

    @get("/openapi.json", opt={"open": True}, include_in_schema=False, sync_to_thread=False)
    def plain(request: Request[Any, Any, Any]) -> Response[bytes]:
        return Response(document.encoded(request.app), media_type=OpenAPIMediaType.OPENAPI_JSON)

    return [page, style, plain]


def draw(doc: Doc) -> str:
    """The page of a document."""
    jinja = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    groups = {tag: [each for each, tags in _operations(doc) if tag in tags] for tag in TAGS}
    shapes = [_shape(name, schema) for name, schema in sorted(doc["components"]["schemas"].items())]
    return jinja.get_template("docs.html").render(
        info=doc["info"],
        introduction=INTRODUCTION.replace("*", ""),
        tags=TAGS,
        groups=groups,
        shapes=shapes,
        known={shape.name for shape in shapes},
    )


def _operations(doc: Doc) -> Iterator[tuple[Operation, list[str]]]:
    for path, methods in doc["paths"].items():
        for method in METHODS:
            if raw := methods.get(method):
                yield _operation(doc, method, path, raw), raw.get("tags", [])


def _operation(doc: Doc, method: str, path: str, raw: Doc) -> Operation:
    body = raw.get("requestBody", {}).get("content", {}).get("application/json")
    return Operation(
        method=method.upper(),
        path=path,
        summary=raw.get("description") or raw["summary"],
        parameters=[_parameter(each) for each in raw.get("parameters", [])],
        body=type_of(body["schema"]) if body else None,
        example=json.dumps(body["example"], indent=2) if body else None,
        answers=[_answer(doc, status, each) for status, each in sorted(raw["responses"].items())],
    )


def _parameter(raw: Doc) -> Field:
    return Field(
        name=raw["name"],
        type=type_of(raw["schema"]),
        required=raw.get("required", False),
        description=raw.get("description") or raw["schema"].get("description", ""),
    )


def _answer(doc: Doc, status: str, raw: Doc) -> tuple[str, str, str | None]:
    if "$ref" in raw:
        raw = doc["components"]["responses"][raw["$ref"].rpartition("/")[2]]
    schemas = [content.get("schema", {}) for content in raw.get("content", {}).values()]
    return status, raw["description"], type_of(schemas[0]) if schemas and not status.startswith(("4", "5")) else None


def _shape(name: str, schema: Doc) -> Shape:
    required = schema.get("required", [])
    fields = [
        Field(name=field, type=type_of(raw), required=field in required, description=_description(raw))
        for field, raw in schema.get("properties", {}).items()
    ]
    if "enum" in schema:
        fields = [Field(name=str(value), type="", required=False, description="") for value in schema["enum"]]
    return Shape(name=name, description=schema.get("description", ""), fields=fields)


def _description(raw: Doc) -> str:
    nested: list[Doc] = [raw, *raw.get("anyOf", [])]
    return next((each["description"] for each in nested if "description" in each), "")


def type_of(schema: Doc) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if "anyOf" in schema or "oneOf" in schema:
        return " or ".join(type_of(each) for each in schema.get("anyOf") or schema["oneOf"])
    if "enum" in schema:
        return " or ".join(json.dumps(value) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {type_of(schema.get('items', {}))}"
    kinds: str | list[str] = schema.get("type", "any")
    return schema.get("format", kinds) if isinstance(kinds, str) else " or ".join(kinds)
