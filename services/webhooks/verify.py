"""The place for whether a delivery comes from the forge: raw headers and bytes in, a verdict out; no I/O."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from shared.schemas.statuses import Provider
from shared.secret import SIGNING_PREFIX, Secret

# As ASGI hands them over: names in lower case, several of one name possible, any bytes as values.
Headers = Sequence[tuple[bytes, bytes]]

TOLERANCE_MS: Final = 300_000

_MIN_SIGNING_KEY_BYTES: Final = 24
_MAX_SIGNATURES: Final = 20
_GITHUB_SIGNATURE: Final = re.compile(rb"sha256=([0-9a-fA-F]{64})")
_GITLAB_ID: Final = re.compile(rb"[\x21-\x7e]{1,200}")
_GITLAB_TIMESTAMP: Final = re.compile(rb"[0-9]{1,12}")
_GITLAB_SIGNATURE: Final = re.compile(rb"v1,([A-Za-z0-9+/]{43}=)")


class Key(msgspec.Struct, frozen=True):
    """One secret that a delivery may prove to know; `scheme` is `hmac`, `token` or `signing`, as in its row."""

    scheme: str
    secret: Secret


class Verdict(StrEnum):
    """What a delivery's proof is worth; everything but `accepted` and `unread` is a refusal.

    `unread` comes from `screen` only: what could be judged without the body is in order.
    """

    ACCEPTED = "accepted"
    UNREAD = "unread"
    MISSING = "missing"
    MALFORMED = "malformed"
    STALE = "stale"
    WRONG = "wrong"
    NO_KEY = "no_key"


def bare_keys(provider: Provider, secrets: Sequence[Secret]) -> tuple[Key, ...]:
    """The keys that a secret without a scheme stands for; its form tells GitLab's signing token from a plain one."""
    if provider is not Provider.GITLAB:
        return tuple(Key("hmac", secret) for secret in secrets)
    return tuple(
        Key("signing" if secret.reveal().startswith(SIGNING_PREFIX) else "token", secret) for secret in secrets
    )


def screen(provider: Provider, headers: Headers, keys: Sequence[Key], now_ms: int) -> Verdict:
    """What can be said before the body is read; GitLab's plain token is judged to the end. Never raises."""
    if provider is not Provider.GITLAB:  # CI jobs sign as GitHub does
        _, verdict = _github_digest(headers, keys)
        return verdict
    if _values(headers, b"webhook-signature"):
        return _screen_signed(headers, keys, now_ms)
    return _plain_token(headers, keys)


def verify(provider: Provider, headers: Headers, body: bytes, keys: Sequence[Key], now_ms: int) -> Verdict:
    """The verdict over the bytes as they came. Never raises, and takes the same way whichever key matches."""
    verdict = screen(provider, headers, keys, now_ms)
    if verdict is not Verdict.UNREAD:
        return verdict
    if provider is not Provider.GITLAB:
        claimed, _ = _github_digest(headers, keys)
        return _judge(body, [claimed], _texts(keys, "hmac"))
    signed = b".".join((_values(headers, b"webhook-id")[0], _values(headers, b"webhook-timestamp")[0], body))
    return _judge(signed, _claimed_signatures(headers), _signing_keys(keys))


def _judge(message: bytes, claimed: Sequence[bytes], keys: Sequence[bytes]) -> Verdict:
    matched = False
    for key in keys:
        digest = hmac.digest(key, message, hashlib.sha256)
        for each in claimed:
            matched |= hmac.compare_digest(digest, each)
    return Verdict.ACCEPTED if matched else Verdict.WRONG


def _github_digest(headers: Headers, keys: Sequence[Key]) -> tuple[bytes, Verdict]:
    found = _values(headers, b"x-hub-signature-256")
    if not found:
        return b"", Verdict.MISSING
    match = _GITHUB_SIGNATURE.fullmatch(found[0])
    if match is None or len(found) > 1:
        return b"", Verdict.MALFORMED
    if not _texts(keys, "hmac"):
        return b"", Verdict.NO_KEY
    return bytes.fromhex(match[1].decode()), Verdict.UNREAD


def _screen_signed(headers: Headers, keys: Sequence[Key], now_ms: int) -> Verdict:
    """A delivery that carries a signature must pass by it; a right plain token beside it counts for nothing."""
    ids, stamps = _values(headers, b"webhook-id"), _values(headers, b"webhook-timestamp")
    if len(ids) != 1 or not _GITLAB_ID.fullmatch(ids[0]):
        return Verdict.MALFORMED
    if len(stamps) != 1 or not _GITLAB_TIMESTAMP.fullmatch(stamps[0]):
        return Verdict.MALFORMED
    if not _claimed_signatures(headers):
        return Verdict.MALFORMED
    if abs(now_ms - int(stamps[0]) * 1000) > TOLERANCE_MS:
        return Verdict.STALE
    return Verdict.UNREAD if _signing_keys(keys) else Verdict.NO_KEY


def _claimed_signatures(headers: Headers) -> list[bytes]:
    """The signatures of the version we know; others may stand beside them."""
    found = _values(headers, b"webhook-signature")
    if len(found) != 1:
        return []
    matches = (_GITLAB_SIGNATURE.fullmatch(part) for part in found[0].split(b" ", _MAX_SIGNATURES)[:_MAX_SIGNATURES])
    return [base64.b64decode(match[1]) for match in matches if match]


def _plain_token(headers: Headers, keys: Sequence[Key]) -> Verdict:
    found = _values(headers, b"x-gitlab-token")
    if not found:
        return Verdict.MISSING
    if len(found) > 1 or not found[0]:
        return Verdict.MALFORMED
    texts = _texts(keys, "token")
    matched = False
    for text in texts:
        matched |= hmac.compare_digest(text, found[0])
    if matched:
        return Verdict.ACCEPTED
    return Verdict.WRONG if texts else Verdict.NO_KEY


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for key, value in headers if key.lower() == name]


def _texts(keys: Sequence[Key], scheme: str) -> list[bytes]:
    texts = (key.secret.reveal().encode(errors="surrogatepass") for key in keys if key.scheme == scheme)
    return [text for text in texts if text]


def _signing_keys(keys: Sequence[Key]) -> list[bytes]:
    """The bytes behind `whsec_…`; what is no base64 or too short to be one opens nothing."""
    found: list[bytes] = []
    for text in _texts(keys, "signing"):
        try:
            key = base64.b64decode(text.removeprefix(SIGNING_PREFIX.encode()), validate=True)
        except binascii.Error:
            continue
        if len(key) >= _MIN_SIGNING_KEY_BYTES:
            found.append(key)
    return found
