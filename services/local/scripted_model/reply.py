"""A play as bytes: the events of the stream, or the fault that takes their place."""

from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

from services.local.scripted_model.player import Play
from services.local.scripted_model.script import Cut, HttpError, Usage


class Ending(StrEnum):
    """What happens after the last chunk."""

    DONE = "the response ends as HTTP wants it"
    CLOSE = "the connection is closed in the middle"
    RESET = "the connection is reset in the middle"
    SILENCE = "nothing, until the client or the server goes"


class Reply(Struct, frozen=True):
    """What goes over the wire. Status 0: no HTTP head, the chunks are sent as they are."""

    status: int
    chunks: tuple[bytes, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    ending: Ending = Ending.DONE
    delay_s: float = 0


_STREAM = (("content-type", "text/event-stream"), ("cache-control", "no-store"))
_JSON = ("content-type", "application/json")


def reply_to(play: Play, response_id: str) -> Reply:
    """The reply that plays this turn; `response_id` is named in the events."""
    turn = play.turn
    if turn.error is not None:
        return _http_error(turn.error, play.delay_s)
    if turn.garbage is not None:
        return _garbage(turn.garbage, response_id, play)
    if turn.hang == "before_headers":
        return Reply(0, ending=Ending.SILENCE)
    chunks = tuple(_events(play, response_id))
    if turn.hang == "after_headers":
        return Reply(200, chunks[:1], _STREAM, Ending.SILENCE)
    if turn.cut is None:
        return Reply(200, chunks, _STREAM, delay_s=play.delay_s)
    cut = Cut(turn.cut) if isinstance(turn.cut, int) else turn.cut
    ending = {"close": Ending.CLOSE, "reset": Ending.RESET, "end": Ending.DONE}[cut.how]
    return Reply(200, chunks[: cut.after], _STREAM, ending, play.delay_s)


def refusal(status: int, message: str, code: str) -> Reply:
    """An error of this server itself; Codex shows the body of a 400 as it is."""
    return _http_error(HttpError(status, message, code, "invalid_request_error"), 0)


def _http_error(error: HttpError, delay_s: float) -> Reply:
    described = {"error": {"message": error.message, "type": error.type, "code": error.code, "param": None}}
    body = msgspec.json.encode(described) if error.body is None else error.body.encode()
    headers = {name.lower(): value for name, value in error.headers.items()}
    return Reply(error.status, (body,), tuple(({_JSON[0]: _JSON[1]} | headers).items()), delay_s=delay_s)


def _garbage(kind: str, response_id: str, play: Play) -> Reply:
    match kind:
        case "not_http":
            return Reply(0, (b"220 mail.example ESMTP\r\n",), ending=Ending.CLOSE)
        case "html":
            return Reply(200, (b"<!doctype html><title>Sign in</title>",), (("content-type", "text/html"),))
        case "bad_event":
            return Reply(200, (b"event: response.created\ndata: {not json\n\n", b"what?\n\n"), _STREAM)
        case "bad_item":
            item = {"type": "message", "role": 7, "content": "not a list"}
            return Reply(200, tuple(_events(msgspec.structs.replace(play, items=(item,)), response_id)), _STREAM)
        case _:
            return Reply(200, (), _STREAM)


def _events(play: Play, response_id: str) -> list[bytes]:
    events = [_event("response.created", response={"id": response_id, "status": "in_progress"})]
    for number, item in enumerate(play.items):
        events.append(_event("response.output_item.done", output_index=number, item=item))
    turn, response = play.turn, {"id": response_id, "usage": _usage(play.usage)}
    if turn.failed is not None:
        error = {"code": turn.failed.code, "message": turn.failed.message}
        events.append(_event("response.failed", response=response | {"status": "failed", "error": error}))
    elif turn.incomplete is not None:
        why = {"status": "incomplete", "incomplete_details": {"reason": turn.incomplete}}
        events.append(_event("response.incomplete", response=response | why))
    else:
        events.append(_event("response.completed", response=response | {"status": "completed"}))
    return events


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {msgspec.json.encode({'type': kind, **fields}).decode()}\n\n".encode()


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_output_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
