"""Completes the OpenAPI document with what follows from our rules: exact schemas, problems, headers, examples."""

from collections.abc import Iterator
from typing import Any

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from shared.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    PreconditionNeeded,
    Refusal,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
    WrongMediaType,
)
from shared.schemas import answers, hook_answers, notices, problems, requests, steering
from shared.schemas.problems import URN, Problem
from shared.schemas.requests import EXAMPLES
from shared.web import health
from shared.web.problems import MEDIA_TYPE

Doc = dict[str, Any]

REF = "#/components/schemas/{name}"
EVERY_ROUTE: tuple[type[Refusal], ...] = (Invalid, Unauthenticated, Forbidden, TooMany, Unavailable)
WITH_BODY: tuple[type[Refusal], ...] = (TooLarge, WrongMediaType)

SUCCESS = {
    "200": "Done.",
    "201": "Made; `Location` says where.",
    "202": "Accepted; the work is queued.",
    "204": "Done; there is nothing to show.",
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same body gives the first answer again and changes nothing more.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[ -~]+$"},
    "example": "6f1d3c1e-5f0e-4f83-9d57-3b0c5f1f8a11",
}
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "The ETag that was read; refused when it has changed since.",
    "schema": {"type": "string"},
    "example": '"3"',
}
ETAG = {"description": "The version, for If-Match.", "schema": {"type": "string"}, "example": '"3"'}
REQUEST_ID = {"description": "The request's id, as sent or made.", "schema": {"type": "string"}}
LINK = {"description": 'The next page as `<…>; rel="next"`, if there is one.', "schema": {"type": "string"}}


def complete(app: Litestar) -> Doc:
    """The document of an app."""
    doc: Doc = app.openapi_schema.to_schema()
    doc["components"]["schemas"] = _schemas()
    doc["components"]["responses"] = {kind.__name__: _problem(kind) for kind in _refusals()} | {"Failure": _failure()}
    for path, method, handler in handlers_of(app):
        operation = doc["paths"].get(path, {}).get(method)
        if operation is not None:
            _complete_operation(operation, method, path, handler)
    return doc


def _schemas() -> Doc:
    """The schemas as msgspec gives them, since msgspec decodes and encodes: every bound that is enforced is told."""
    structs = [
        each
        for module in (requests, answers, hook_answers, notices, steering, problems, health)
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, msgspec.Struct) and each.__module__ == module.__name__
    ]
    _, found = msgspec.json.schema_components(structs, ref_template=REF)
    return found


def handlers_of(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """Every handler with its path and method, in lower case."""
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            for method in sorted(getattr(handler, "http_methods", ())):
                yield route.path_format, method.lower(), handler


def _complete_operation(operation: Doc, method: str, path: str, handler: HTTPRouteHandler) -> None:
    operation["summary"] = handler.handler_name.replace("_", " ").capitalize()
    parameters: list[Doc] = operation.setdefault("parameters", [])
    responses: Doc = operation["responses"]
    status, success = next((status, each) for status, each in responses.items() if status.startswith("2"))
    success["description"] = SUCCESS.get(status, success["description"])
    success.setdefault("headers", {})["X-Request-ID"] = REQUEST_ID
    for parameter in parameters:
        _make_whole(parameter["schema"])
    refusals = [Invalid] if handler.opt.get("open") else _refusals_of(operation, method, path, handler)
    responses |= {str(kind.http_status): _ref(kind.__name__) for kind in refusals} | {"500": _ref("Failure")}
    if handler.opt.get("open"):
        operation["security"] = []
        if path == "/metrics":
            responses["401"] = _ref("Unauthenticated")
        return
    if method == "post":
        parameters.append(IDEMPOTENCY_KEY)
    if wanted := handler.opt.get("if_match"):
        parameters.append(IF_MATCH | {"required": wanted == "needed"})
    if any(parameter["name"] == "cursor" for parameter in parameters):
        success["headers"]["Link"] = LINK
    _describe_body(operation, handler)
    _describe_success(success)
    operation["responses"] = dict(sorted(responses.items()))


def _ref(response: str) -> Doc:
    return {"$ref": f"#/components/responses/{response}"}


def _make_whole(schema: Doc) -> None:
    """Litestar writes the bounds of whole numbers as fractions."""
    for bound in {"minimum", "maximum"} & schema.keys():
        schema[bound] = int(schema[bound])


def _describe_body(operation: Doc, handler: HTTPRouteHandler) -> None:
    if "requestBody" not in operation or handler.parsed_data_field is None:
        return
    wanted = handler.parsed_data_field.annotation
    operation["requestBody"] = {
        "required": not handler.parsed_data_field.has_default,
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(name=wanted.__name__)},
                "example": msgspec.to_builtins(EXAMPLES[wanted]),
            }
        },
    }


def _describe_success(success: Doc) -> None:
    """The header of versioned things; a stream has no schema, since it is no value but one after the other."""
    success.get("content", {}).get("text/event-stream", {}).pop("schema", None)
    schemas = [content.get("schema", {}) for content in success.get("content", {}).values()]
    name = next((schema["$ref"].rpartition("/")[2] for schema in schemas if "$ref" in schema), "")
    kind: type[answers.Answer] = getattr(answers, name, answers.Answer)
    if "version" in kind.__struct_fields__:
        success["headers"]["ETag"] = ETAG


def _refusals_of(operation: Doc, method: str, path: str, handler: HTTPRouteHandler) -> Iterator[type[Refusal]]:
    yield from EVERY_ROUTE
    if "{" in path or any(parameter["name"] == "project_id" for parameter in operation["parameters"]):
        yield NotFound
    if method != "get":
        yield Conflict
    if "requestBody" in operation:
        yield from WITH_BODY
    if wanted := handler.opt.get("if_match"):
        yield PreconditionFailed
        if wanted == "needed":
            yield PreconditionNeeded


def _refusals() -> list[type[Refusal]]:
    return [*EVERY_ROUTE, *WITH_BODY, NotFound, Conflict, PreconditionFailed, PreconditionNeeded]


def _problem(kind: type[Refusal]) -> Doc:
    example = Problem(
        type=URN + kind.type, title=kind.title, status=kind.http_status, detail="…", request_id="3f9a0c1d2e4b5a69"
    )
    first = (kind.__doc__ or "").splitlines()[0]
    return {
        "description": first.partition(": ")[2].capitalize() or first,
        "headers": {"X-Request-ID": REQUEST_ID},
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": REF.format(name="Problem")},
                "example": msgspec.to_builtins(example),
            }
        },
    }


def _failure() -> Doc:
    return {
        "description": "Something failed on our side; the log has the details under the request id.",
        "content": {MEDIA_TYPE: {"schema": {"$ref": REF.format(name="Problem")}}},
    }
