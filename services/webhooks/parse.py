"""The place for what a proven delivery says of itself: headers and bytes in, the row to store out; no I/O."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import parse_qs

import msgspec

from services.webhooks.verify import Headers
from shared.errors import UNREADABLE, Invalid, WrongMediaType
from shared.schemas.forge import PROTOCOL_HEADER
from shared.schemas.records import Delivery
from shared.schemas.statuses import DeliveryStatus, Provider

# What identifies and describes a delivery. Signatures, tokens, cookies and what a proxy adds are never stored.
STORED_HEADERS: Final[Mapping[Provider, frozenset[bytes]]] = {
    Provider.GITHUB: frozenset(
        {
            b"content-type",
            b"user-agent",
            b"x-github-delivery",
            b"x-github-enterprise-host",
            b"x-github-enterprise-version",
            b"x-github-event",
            b"x-github-hook-id",
            b"x-github-hook-installation-target-id",
            b"x-github-hook-installation-target-type",
        }
    ),
    Provider.GITLAB: frozenset(
        {
            b"content-type",
            b"idempotency-key",
            b"user-agent",
            b"webhook-id",
            b"webhook-timestamp",
            b"x-gitlab-event",
            b"x-gitlab-event-uuid",
            b"x-gitlab-instance",
            b"x-gitlab-webhook-uuid",
        }
    ),
    Provider.CI: frozenset({b"content-type", b"idempotency-key", b"user-agent", b"x-deksdenflow-delivery"}),
}
# What a CI job sends to the hooks of its own kind.
REPORT: Final = "report"
MAX_STORED_CHARS: Final = 300
# What every JSON reader can hold exactly.
LAST_ID: Final = 2**53 - 1

_WORD: Final = re.compile(r"[\x21-\x7e]{1,200}")
_EVENT: Final = re.compile(r"[A-Za-z][A-Za-z0-9_ -]{0,99}")
_ID: Final = re.compile(r"[0-9]{1,16}")
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_WHOLE: Final = msgspec.json.Decoder()


def delivery_of(provider: Provider, headers: Headers, raw: bytes, protocol_ids: Sequence[str] = ()) -> Delivery:
    """The delivery as it will be stored, still without its hook, project and id; a `Refusal` when it is none.

    `protocol_ids` are the values of `?protocol_run_id=`: one at most.
    """
    known = _plain(headers)
    text = _json_text(known.get("content-type", ""), raw)
    _check_object(text)
    protocol_id = _protocol_id(protocol_ids)
    digest = hashlib.sha256(raw).hexdigest()
    kept = {name: known[name] for name in sorted(known) if name.encode() in STORED_HEADERS[provider]}
    return Delivery(
        id=0,
        provider=provider,
        hook_id=None,
        delivery_key=_key(provider, known, digest if protocol_id is None else f"{digest}:{protocol_id}"),
        event=_event(provider, known),
        headers=kept if protocol_id is None else kept | {PROTOCOL_HEADER: protocol_id},
        body=text if provider is Provider.GITHUB else _without_ci_variables(text),
        body_sha256=digest,
        project_id=None,
        protocol_id=None,
        step_id=None,
        status=DeliveryStatus.RECEIVED,
        reason=None,
        effect=None,
        received_at=0,
        applied_at=None,
    )


def _plain(headers: Headers) -> dict[str, str]:
    """Cut to a sane length, with a mark for what is not printable ASCII; of several of one name the first."""
    known: dict[str, str] = {}
    for name, value in headers:
        text = "".join(char if " " <= char <= "~" else "\N{REPLACEMENT CHARACTER}" for char in value.decode("latin-1"))
        known.setdefault(name.decode("latin-1").lower(), text[:MAX_STORED_CHARS].strip())
    return known


def _json_text(content_type: str, raw: bytes) -> bytes:
    match content_type.partition(";")[0].strip().lower():
        case "application/json":
            return raw
        case "application/x-www-form-urlencoded":
            return _form_payload(raw)
        case other:
            raise WrongMediaType(
                f"The delivery has Content-Type {other!r}. Set the webhook's content type to application/json"
                " (application/x-www-form-urlencoded with the field payload is read too)."
            )


def _form_payload(raw: bytes) -> bytes:
    try:
        fields = parse_qs(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=2)
    except ValueError as error:
        raise Invalid("The form cannot be read; it must be URL-encoded with one field, payload.") from error
    if len(values := fields.get("payload", [])) != 1:
        raise Invalid("The form must have exactly one field payload, with the JSON of the event.")
    return values[0].encode()


def _check_object(text: bytes) -> None:
    try:
        text.decode()  # msgspec passes over strings that it need not decode
        _OBJECT.decode(text)
    except UNREADABLE as error:
        raise _no_event() from error


def _without_ci_variables(text: bytes) -> bytes:
    """The values of CI variables may be secrets, wherever in a pipeline's event they stand; they are not for us."""
    if b"variables" not in text and b"\\u" not in text:
        return text
    try:
        return msgspec.json.encode(_stripped(_WHOLE.decode(text)))
    except UNREADABLE as error:
        raise _no_event() from error


def _stripped(value: Any) -> Any:
    match value:
        case dict():
            members = cast("dict[str, Any]", value).items()
            return {name: _stripped(each) for name, each in members if name != "variables"}
        case list():
            return [_stripped(each) for each in cast("list[Any]", value)]
        case _:
            return value


def _no_event() -> Invalid:
    return Invalid("The signature is right, but the body is not the JSON object of an event.")


def _protocol_id(given: Sequence[str]) -> str | None:
    if not given:
        return None
    if len(given) > 1 or not _ID.fullmatch(given[0]) or not 0 < int(given[0]) <= LAST_ID:
        raise Invalid("protocol_run_id: the id of one protocol run, a whole number above 0.")
    return str(int(given[0]))


def _key(provider: Provider, known: Mapping[str, str], digest: str) -> str:
    """What names the delivery itself; where nothing does, only hook, event and content together are unique."""
    match provider:
        case Provider.GITHUB:
            return _needed(known, "x-github-delivery")
        case Provider.GITLAB:
            uuids = f"{known.get('x-gitlab-webhook-uuid', '')}:{known.get('x-gitlab-event-uuid', '')}"
            return _first_word(known, "webhook-id", "idempotency-key") or f"{uuids}:{digest}"
        case Provider.CI:
            return _first_word(known, "x-deksdenflow-delivery", "idempotency-key") or digest


def _first_word(known: Mapping[str, str], *names: str) -> str | None:
    return next((known[name] for name in names if _WORD.fullmatch(known.get(name, ""))), None)


def _event(provider: Provider, known: Mapping[str, str]) -> str:
    if provider is Provider.CI:
        return REPORT
    name = f"x-{provider}-event"
    event = known.get(name, "")
    if not _EVENT.fullmatch(event):
        raise Invalid(f"The header {name} must name the event.")
    return event


def _needed(known: Mapping[str, str], name: str) -> str:
    value = known.get(name, "")
    if not _WORD.fullmatch(value):
        raise Invalid(f"The header {name} must hold the id of the delivery.")
    return value
