"""The answers about hooks and deliveries: what forges and CI jobs send us, and by which door."""

from typing import Annotated, Any

from msgspec import Meta

from shared.schemas.answers import RUN_AND_STEP, Actions, Answer, Time
from shared.schemas.statuses import DeliveryStatus, Provider


class HookSecretAnswer(Answer, frozen=True):
    """A secret of a hook, without the secret."""

    scheme: Annotated[str, Meta(description="`hmac`, `token` or `signing`.", examples=["hmac"])]
    created_at: Time
    valid_until: Annotated[Time | None, Meta(description="Its end, once another one has taken its place.")]


class HookAnswer(Answer, frozen=True):
    """An address for the webhooks of a forge, or for the reports of CI jobs."""

    id: int
    project_id: int
    provider: Provider
    url: Annotated[str, Meta(description="Where deliveries go; only a path while PUBLIC_URL is not set.")]
    secrets: Annotated[tuple[HookSecretAnswer, ...], Meta(description="Those that are valid now, newest first.")]
    created_at: Time
    disabled_at: Time | None


class NewHookAnswer(HookAnswer, frozen=True):
    """An address that was just made."""

    scheme: str
    secret: Annotated[
        str | None, Meta(description="Shown this once; null when the answer is repeated for the same Idempotency-Key.")
    ]


class DeliveryAnswer(Answer, frozen=True, rename=RUN_AND_STEP):
    """An inbound webhook: what it was, what became of it, and what it turned out to be about."""

    id: int
    provider: Provider
    hook_id: Annotated[int | None, Meta(description="The hook it came in by; null for the bare URL.")]
    delivery_key: Annotated[str, Meta(description="What its sender calls it; the same again is a duplicate.")]
    event: str
    status: DeliveryStatus
    reason: Annotated[str | None, Meta(description="Why it was ignored, or failed.")]
    effect: Annotated[str | None, Meta(description="What it changed.")]
    allowed_actions: Actions
    project_id: int | None
    protocol_id: int | None
    step_id: int | None
    received_at: Time
    applied_at: Time | None


class DeliveryDetailAnswer(DeliveryAnswer, frozen=True):
    """An inbound webhook with what it said."""

    headers: Annotated[dict[str, str], Meta(description="Those that describe it; never a signature or a token.")]
    body: Annotated[
        dict[str, Any] | None,
        Meta(description="Without the values of CI variables and what looks like a secret; null when it is too long."),
    ]
    body_sha256: Annotated[str, Meta(description="Of the bytes as they came.")]
    body_bytes: Annotated[int, Meta(description="The length of what is stored.")]


class HopAnswer(Answer, frozen=True):
    """One stage on the way of a delivery."""

    name: Annotated[str, Meta(examples=["dns"])]
    ok: Annotated[bool | None, Meta(description="Null when it was not reached.")]
    detail: str


class ForgeSettingsAnswer(Answer, frozen=True):
    """What to enter at the forge, or in the CI job, so that deliveries come."""

    where: str
    payload_url: Annotated[str | None, Meta(description="Null while PUBLIC_URL is not set.")]
    content_type: str
    secret: Annotated[str, Meta(description="Where it is to be had; never the secret itself.")]
    events: tuple[str, ...]
    ssl_verification: str


class WebhookTestAnswer(Answer, frozen=True):
    """How a signed delivery fared that was sent to a hook of the project by its public address."""

    ok: Annotated[bool, Meta(description="Whether it was stored.")]
    hook_id: int
    delivery_id: int | None
    hops: tuple[HopAnswer, ...]
    settings: ForgeSettingsAnswer
