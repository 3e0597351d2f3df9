"""Sends a signed delivery to a hook by its public address, as its forge would, and tells how far it came."""

import asyncio
import hashlib
import hmac
import ipaddress
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import msgspec

from services.api.showing import hook_url
from shared.errors import SealError
from shared.log import on_one_line
from shared.redaction import Redactor
from shared.repository import deliveries
from shared.repository.database import Database, Tx
from shared.schemas.hook_answers import ForgeSettingsAnswer, HopAnswer, WebhookTestAnswer
from shared.schemas.records import Delivery, Hook, HookSecret
from shared.schemas.statuses import DeliveryStatus, Provider
from shared.security import Vault, signed_headers
from shared.settings import PREFIX, Settings
from shared.workflow.deliveries import hook_seal_context

CONNECT_S: Final = 5.0
ANSWER_S: Final = 10.0  # what GitHub and GitLab wait
WORKER_S: Final = 5.0
LOOK_EVERY_S: Final = 0.1
MAX_SHOWN_BYTES: Final = 600

# Whether this stage of the way is fine, and what to know or to do about it.
Found = tuple[bool, str]


class Parcel(msgspec.Struct, frozen=True):
    """A delivery on its way."""

    key: str
    headers: dict[str, str]
    body: bytes


async def probe(
    settings: Settings, database: Database, vault: Vault, hook: Hook, sealed: Sequence[HookSecret]
) -> WebhookTestAnswer:
    """Go stage by stage until one is stuck; no other host than that of PUBLIC_URL is ever spoken to."""
    way = _Way(settings, database, vault, hook, sealed)
    stages: tuple[tuple[str, Callable[[], Awaitable[Found]]], ...] = (
        ("public_url", way.public_url),
        ("secret", way.secret),
        ("dns", way.dns),
        ("connection", way.connection),
        ("answer", way.answer),
        ("stored", way.stored),
        ("processed", way.processed),
    )
    hops: list[HopAnswer] = []
    for name, stage in stages:
        if hops and not hops[-1].ok:
            hops.append(HopAnswer(name=name, ok=None, detail="Not reached."))
        else:
            fine, detail = await stage()
            hops.append(HopAnswer(name=name, ok=fine, detail=detail))
    return WebhookTestAnswer(
        ok=way.delivery is not None,
        hook_id=hook.id,
        delivery_id=None if way.delivery is None else way.delivery.id,
        hops=tuple(hops),
        settings=at_the_forge(hook, settings.public_url, sealed[0].scheme if sealed else None),
    )


class _Way:
    """The way of one delivery; what a stage finds out is there for the next ones."""

    def __init__(
        self, settings: Settings, database: Database, vault: Vault, hook: Hook, sealed: Sequence[HookSecret]
    ) -> None:
        self.delivery: Delivery | None = None
        self._public_url = settings.public_url
        self._url = hook_url(hook, settings.public_url)
        self._redactor = Redactor(settings.secrets())
        self._database, self._vault, self._hook, self._sealed = database, vault, hook, sealed
        self._parcel = Parcel("", {}, b"")
        parts = urlsplit(self._url)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._tls else 80)

    async def public_url(self) -> Found:
        """Nobody can deliver to an address that is not known."""
        if self._public_url is None:
            return False, f"Set {PREFIX}PUBLIC_URL to the address by which forges reach this installation; restart."
        return True, f"POST {self._url}"

    async def secret(self) -> Found:
        """What the delivery is signed with is what the webhook service proves it by."""
        if not self._sealed:
            return False, f"Hook {self._hook.id} has no valid secret; rotate it."
        newest = self._sealed[0]
        try:
            text = self._vault.open(newest.sealed, hook_seal_context(self._hook.key))
        except SealError as error:
            return False, f"{error}; rotate the hook."
        self._redactor.learn(text)
        self._parcel = _packed(self._hook, newest.scheme, text)
        return True, f"Signed by {newest.scheme}."

    async def dns(self) -> Found:
        """The addresses of the host."""
        try:
            asked = asyncio.get_running_loop().getaddrinfo(self._host, self._port, proto=6)
            found = sorted({str(each[4][0]) for each in await asyncio.wait_for(asked, CONNECT_S)})
        except (OSError, TimeoutError, UnicodeError) as error:
            return False, f"{self._host} cannot be resolved from here: {_said(error)}. Set its name in the DNS."
        outside = any(ipaddress.ip_address(each.partition("%")[0]).is_global for each in found)
        warning = "" if outside else " None of them can be reached from the internet, and so not by a forge there."
        return True, f"{', '.join(found)}.{warning}"

    async def connection(self) -> Found:
        """TCP, and TLS with a certificate that is checked."""
        try:
            opening = asyncio.open_connection(self._host, self._port, ssl=self._tls)
            _, writer = await asyncio.wait_for(opening, CONNECT_S)
        except ssl.SSLError as error:
            return False, f"TLS failed: {_said(error)}. The forge checks the certificate too."
        except (OSError, TimeoutError) as error:
            return False, (
                f"Port {self._port} cannot be reached from here: {_said(error)}. Where the API has no way out of its"
                " own network, look at the forge's list of recent deliveries instead."
            )
        writer.close()
        return True, f"Port {self._port}, {'TLS with a valid certificate' if self._tls else 'without TLS'}."

    async def answer(self) -> Found:
        """What answers there to the delivery."""
        try:
            async with (
                httpx.AsyncClient(verify=self._tls or False, trust_env=False, timeout=ANSWER_S) as client,
                client.stream("POST", self._url, headers=self._parcel.headers, content=self._parcel.body) as answer,
            ):
                text = b""
                async for chunk in answer.aiter_raw(MAX_SHOWN_BYTES):
                    text = chunk
                    break
        except httpx.HTTPError as error:
            return False, f"No answer within {ANSWER_S:g} s: {_said(error)}."
        said = on_one_line(self._redactor.redact(text.decode(errors="replace")))
        if answer.is_success:
            return True, f"{answer.status_code} {said}"
        if answer.has_redirect_location:
            where = on_one_line(answer.headers["location"][:MAX_SHOWN_BYTES])
            return False, f"{answer.status_code}, a redirect to {where}: forges do not follow it. Mend PUBLIC_URL."
        return False, f"{answer.status_code} {said} (the webhook service must answer /webhooks/*, not the API)"

    async def stored(self) -> Found:
        """The row that the webhook service must have made in our database."""
        self.delivery = await self._database.read(self._look)
        if self.delivery is None:
            return False, "What answers there has another database than this API."
        return True, f"Delivery {self.delivery.id}."

    async def processed(self) -> Found:
        """What a worker made of it, if one took it within some seconds."""
        end = time.monotonic() + WORKER_S
        while time.monotonic() < end:
            now = await self._database.read(self._look)
            if now is not None and now.status is not DeliveryStatus.RECEIVED:
                because = f" ({now.reason})" if now.reason else ""
                return now.status is not DeliveryStatus.FAILED, f"{now.status}{because}."
            await asyncio.sleep(LOOK_EVERY_S)
        return False, f"Still queued after {WORKER_S:g} s: no worker runs, or all are busy, or the line is stopped."

    def _look(self, tx: Tx) -> Delivery | None:
        return deliveries.known(tx, self._hook.provider, self._hook.id, self._parcel.key)


def _packed(hook: Hook, scheme: str, secret: str) -> Parcel:
    """A delivery that concerns nobody, in the words and with the proof of its forge."""
    key = str(uuid4())
    common = {"content-type": "application/json", "user-agent": "DeksdenFlow-webhook-test"}
    match hook.provider:
        case Provider.GITHUB:
            body = msgspec.json.encode({"zen": "It works.", "hook_id": hook.id, "test": key})
            headers = {"x-github-event": "ping", "x-github-delivery": key}
        case Provider.GITLAB:
            # A tag that was taken away before anybody saw it.
            said = {"object_kind": "tag_push", "event_name": "tag_push", "ref": f"refs/tags/test-{key}"}
            body = msgspec.json.encode(said | {"before": "0" * 40, "after": "0" * 40, "checkout_sha": None})
            headers = {"x-gitlab-event": "Tag Push Hook", "idempotency-key": key}
        case Provider.CI:
            said = {"state": "success", "sha": hashlib.sha1(key.encode()).hexdigest(), "context": "webhook test"}  # noqa: S324  the form of a commit id
            body = msgspec.json.encode(said)
            headers = {"x-deksdenflow-delivery": key}
    return Parcel(key, common | headers | _proof(scheme, secret, key, body), body)


def _proof(scheme: str, secret: str, key: str, body: bytes) -> dict[str, str]:
    match scheme:
        case "token":
            return {"x-gitlab-token": secret}
        case "signing":
            return signed_headers(key, int(time.time()), body, secret)
        case _:
            return {"x-hub-signature-256": "sha256=" + hmac.digest(secret.encode(), body, hashlib.sha256).hex()}


def at_the_forge(hook: Hook, public_url: str | None, scheme: str | None) -> ForgeSettingsAnswer:
    """What to enter where, so that deliveries come."""
    forms: dict[Provider, tuple[str, str, tuple[str, ...]]] = {
        Provider.GITHUB: (
            "GitHub: the repository's Settings → Webhooks → Add webhook",
            "application/json",
            ("Workflow runs", "Check suites", "Statuses", "Pull requests", "Pushes", "Check runs" + ONLY_NAMED),
        ),
        Provider.GITLAB: (
            "GitLab: the project's Settings → Webhooks → Add new webhook",
            "application/json (GitLab has no other)",
            ("Push events", "Merge request events", "Pipeline events", "Job events" + ONLY_NAMED),
        ),
        Provider.CI: (
            f"the CI job: {PREFIX}API_BASE is the payload URL, and scripts/ci/report.sh reports",
            "application/json",
            ("success", "failure"),
        ),
    }
    where, content_type, events = forms[hook.provider]
    secret = (
        f"{secret_field(hook.provider, scheme)}: the one that was shown when hook {hook.id} was made or rotated."
        f" It is lost? POST /projects/{hook.project_id}/hooks/{hook.id}/actions/rotate makes another one."
    )
    return ForgeSettingsAnswer(
        where=where,
        payload_url=None if public_url is None else hook_url(hook, public_url),
        content_type=content_type,
        secret=secret,
        events=events,
        ssl_verification=_ssl_verification(public_url),
    )


def _ssl_verification(public_url: str | None) -> str:
    if public_url is None:
        return f"not known: {PREFIX}PUBLIC_URL is not set"
    if public_url.startswith("https:"):
        return "enabled"
    return f"not possible: {PREFIX}PUBLIC_URL is not https, so anybody on the way can read"


def secret_field(provider: Provider, scheme: str | None) -> str:
    """Where the secret is entered there."""
    match provider:
        case Provider.GITHUB:
            return "`Secret`"
        case Provider.GITLAB:
            return "`Signing token`" if scheme == "signing" else "`Secret token`"
        case Provider.CI:
            return f"the masked variable {PREFIX}WEBHOOK_TOKEN"


ONLY_NAMED: Final = " (only where the policy's required_contexts names single ones)"


def _said(error: Exception) -> str:
    return on_one_line(str(error) or type(error).__name__)
