"""The place for what a proven delivery says of itself: headers and bytes in, the row to store out; no I/O."""

import hashlib
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs

import msgspec

from services.webhooks.verify import Headers
from shared.errors import Invalid, WrongMediaType
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
}
MAX_STORED_CHARS: Final = 300

_WORD: Final = re.compile(r"[\x21-\x7e]{1,200}")
_EVENT: Final = re.compile(r"[A-Za-z][A-Za-z0-9_ -]{0,99}")
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def delivery_of(provider: Provider, headers: Headers, raw: bytes) -> Delivery:
    """The delivery as it will be stored, still without its hook, project and id; a `Refusal` when it is none."""
    known = _plain(headers)
    text = _json_text(known.get("content-type", ""), raw)
    members = _members(text)
    body = _without_ci_variables(members) if provider is Provider.GITLAB else text
    digest = hashlib.sha256(raw).hexdigest()
    return Delivery(
        id=0,
        provider=provider,
        hook_id=None,
        delivery_key=_github_key(known) if provider is Provider.GITHUB else _gitlab_key(known, digest),
        event=_event(provider, known),
        headers={name: known[name] for name in sorted(known) if name.encode() in STORED_HEADERS[provider]},
        body=body,
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


def _members(text: bytes) -> dict[str, msgspec.Raw]:
    try:
        text.decode()  # msgspec passes over strings that it need not decode
        return _OBJECT.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid("The signature is right, but the body is not the JSON object of an event.") from error


def _without_ci_variables(members: dict[str, msgspec.Raw]) -> bytes:
    """A pipeline event carries the values of CI variables, which may be secrets; they are nobody's business here."""
    kept = dict(members)
    try:
        attributes = _OBJECT.decode(members["object_attributes"])
    except (KeyError, msgspec.MsgspecError):
        attributes = {}
    if "variables" in attributes:
        attributes = {name: value for name, value in attributes.items() if name != "variables"}
        kept["object_attributes"] = msgspec.Raw(msgspec.json.encode(attributes))
    return msgspec.json.encode(kept)


def _github_key(known: Mapping[str, str]) -> str:
    return _needed(known, "x-github-delivery")


def _gitlab_key(known: Mapping[str, str], digest: str) -> str:
    """GitLab 19 and 17.4 name the delivery itself; before, only hook, event and content together are unique."""
    for name in ("webhook-id", "idempotency-key"):
        if _WORD.fullmatch(known.get(name, "")):
            return known[name]
    return f"{known.get('x-gitlab-webhook-uuid', '')}:{known.get('x-gitlab-event-uuid', '')}:{digest}"


def _event(provider: Provider, known: Mapping[str, str]) -> str:
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
