"""The one table from what is raised to the problem that the caller reads."""

import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from shared.errors import Invalid, NotFound, Refusal, TooLarge, TooMany, Unauthenticated, Unavailable
from shared.schemas.problems import URN, Flaw, Problem

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1

Handlers = dict[int | type[Exception], Callable[[Request[Any, Any, Any], Any], Response[Any]]]

log = structlog.stdlib.get_logger(__name__)

_PLACE = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")
_BODY = "data"  # how the framework calls the body

# What Litestar refuses by itself; everything else is a `Refusal` of ours.
_BY_STATUS: Mapping[int, tuple[str, str]] = {
    400: (Invalid.type, Invalid.title),
    404: (NotFound.type, "There is nothing at this path"),
    405: ("method-not-allowed", "This path does not answer this method"),
    413: (TooLarge.type, TooLarge.title),
}


def problem_handlers() -> Handlers:
    """The exception handlers of an app."""
    return {
        Refusal: _refused,
        HTTPException: _refused_by_framework,
        RecursionError: _too_deep,
        Exception: _failed,
    }


def problem_of(refusal: Refusal, request_id: str | None) -> Problem:
    """A refusal as it goes over the wire."""
    return Problem(
        type=URN + refusal.type,
        title=refusal.title,
        status=refusal.http_status,
        detail=refusal.detail,
        request_id=request_id,
        status_now=refusal.status_now,
        allowed_actions=refusal.allowed_actions,
        errors=_flaws_of(refusal),
    )


def answer(problem: Problem, headers: Mapping[str, str] | None = None) -> Response[Any]:
    """The response that carries a problem."""
    return Response(
        content=msgspec.json.encode(problem),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=dict(headers or {}),
    )


def bad_body(error: msgspec.MsgspecError | UnicodeDecodeError, unknown: Sequence[str] = ()) -> Invalid:
    """The refusal of a body that does not decode; `unknown` are all its unknown fields where the decoder met one."""
    text = str(error)
    place = _PLACE.search(text)
    field = place[1] if place else ""
    message = _PLACE.sub("", text)
    if found := _UNKNOWN.search(text):
        names = [f"{field}.{name}" if field else name for name in unknown or [found[1]]]
        flaws = [Flaw(field=name, message="There is no such field") for name in names]
        return FlawedRequest(f"The body has fields that do not exist: {', '.join(names)}.", flaws)
    if not isinstance(error, msgspec.ValidationError):
        return Invalid(f"The body is not valid JSON: {text}.", type="malformed-json")
    return FlawedRequest(f"The body is not valid: {text}.", [Flaw(field=field, message=message)])


class FlawedRequest(Invalid):
    """An invalid request whose flaws are known by field."""

    def __init__(self, detail: str, flaws: Sequence[Flaw]) -> None:
        super().__init__(detail)
        self.flaws = tuple(flaws)


def request_id(request: Request[Any, Any, Any]) -> str | None:
    """The id that the front gave to this request."""
    return request.scope["state"].get("request_id")


def _flaws_of(refusal: Refusal) -> tuple[Flaw, ...] | None:
    return refusal.flaws if isinstance(refusal, FlawedRequest) else None


def _refused(request: Request[Any, Any, Any], refusal: Refusal) -> Response[Any]:
    return answer(problem_of(refusal, request_id(request)), _headers(refusal))


def _headers(refusal: Refusal) -> dict[str, str]:
    match refusal:
        case Unauthenticated():
            return {"www-authenticate": 'Bearer realm="deksdenflow"'}
        case TooMany():
            return {"retry-after": str(refusal.retry_after_s)}
        case Unavailable():
            return {"retry-after": str(RETRY_AFTER_S)}
        case _:
            return {}


def _refused_by_framework(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    status = error.status_code
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _failed(request, error)
    kind, title = _BY_STATUS.get(status, ("refused", HTTPStatus(status).phrase))
    flaws = _flaws(error.extra)
    detail = _detail(request, error, flaws)
    problem = Problem(
        type=URN + kind,
        title=title,
        status=status,
        detail=detail,
        request_id=request_id(request),
        errors=tuple(flaw for flaw in flaws if flaw.field != _BODY) or None,
    )
    return answer(problem, error.headers)


def _detail(request: Request[Any, Any, Any], error: HTTPException, flaws: Sequence[Flaw]) -> str:
    if any(flaw.field == _BODY for flaw in flaws):
        return "This needs a body: a JSON object, whose fields /docs shows."
    if flaws:
        return f"{flaws[0].field}: {flaws[0].message}"
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return f"{request.scope['path']} does not exist; /docs of the API shows what does."
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return f"{request.scope['path']} answers {(error.headers or {}).get('allow', 'another method')}."
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return "The body is larger than this service reads."
        case _:
            return error.detail


def _flaws(extra: object) -> tuple[Flaw, ...]:
    """The flaws in Litestar's list of `{"key", "message", "source"}`."""
    flaws = extra if isinstance(extra, list) else []  # pyright: ignore[reportUnknownVariableType]
    return tuple(
        Flaw(field=str(flaw.get("key", "")), message=str(flaw.get("message", "")))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        for flaw in flaws  # pyright: ignore[reportUnknownVariableType]
        if isinstance(flaw, dict)
    )


def _too_deep(request: Request[Any, Any, Any], _: RecursionError) -> Response[Any]:
    refusal = Invalid("The body is nested too deeply.", type="malformed-json")
    return answer(problem_of(refusal, request_id(request)))


def _failed(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Nothing of the error leaves the house but the id that its log record has too."""
    log.error("request_failed", method=request.method, path=request.scope["path"], exc_info=error)
    problem = Problem(
        type=f"{URN}internal-error",
        title="Something failed on our side",
        status=500,
        detail="The log has the details under this request id.",
        request_id=request_id(request),
    )
    return answer(problem)
