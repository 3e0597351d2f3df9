"""Forges as senders: the headers that GitHub and GitLab put beside a body, signed."""

import hashlib
import hmac
import time
from datetime import UTC, datetime
from urllib.parse import urlencode

from standardwebhooks.webhooks import Webhook


def from_github(
    secret: str, body: bytes, *, delivery: str = "d-1", event: str = "push", kind: str = "application/json"
) -> dict[str, str]:
    return {
        "content-type": kind,
        "user-agent": "GitHub-Hookshot/044aadd",
        "x-github-delivery": delivery,
        "x-github-event": event,
        "x-github-hook-id": "77",
        "x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }


def from_ci(
    secret: str, body: bytes, *, delivery: str | None = "r-1", kind: str = "application/json"
) -> dict[str, str]:
    headers = {
        "content-type": kind,
        "user-agent": "curl/8.5.0",
        "x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }
    return headers if delivery is None else headers | {"x-deksdenflow-delivery": delivery}


def as_form(body: bytes) -> bytes:
    return urlencode({"payload": body}).encode()


def from_gitlab(token: str, *, delivery: str | None = "d-1", event: str = "Push Hook") -> dict[str, str]:
    """With the plain token of the versions before 19."""
    headers = {
        "content-type": "application/json",
        "user-agent": "GitLab/18.4.0",
        "x-gitlab-event": event,
        "x-gitlab-instance": "https://gitlab.example.test",
        "x-gitlab-token": token,
        "x-gitlab-webhook-uuid": "5a1f7c1e-0000-4000-8000-000000000001",
        "x-gitlab-event-uuid": "5a1f7c1e-0000-4000-8000-000000000002",
    }
    return headers if delivery is None else headers | {"idempotency-key": delivery}


def signed_by_gitlab(key: str, body: bytes, *, delivery: str = "d-1", at: float | None = None) -> dict[str, str]:
    """With the signing token of version 19, signed by the reference library."""
    when = datetime.fromtimestamp(int(time.time() if at is None else at), UTC)
    signature = Webhook(key).sign(delivery, when, body.decode())
    headers = from_gitlab("", delivery=delivery)
    del headers["x-gitlab-token"]
    return headers | {
        "webhook-id": delivery,
        "webhook-timestamp": str(int(when.timestamp())),
        "webhook-signature": signature,
    }
