"""The routes of the webhook service: each proves a delivery, stores it once and leaves the rest to the worker."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import structlog
from litestar import Request, Response, post
from litestar.connection import ASGIConnection
from litestar.handlers import HTTPRouteHandler
from msgspec.structs import replace

from services.webhooks.parse import delivery_of
from services.webhooks.verify import Key, Verdict, bare_keys, screen, verify
from shared.errors import Forbidden, NotFound, SealError, TooMany, Unauthenticated, Unavailable
from shared.failpoints import fp
from shared.repository import deliveries
from shared.repository.database import Clock, Tx
from shared.schemas.records import Hook, HookSecret
from shared.schemas.statuses import Provider
from shared.secret import Secret
from shared.security import Vault
from shared.settings import PREFIX
from shared.web.peers import FailureLimit
from shared.workflow.deliveries import Taken, hook_seal_context, receive_delivery
from shared.workflow.door import Workflow
from shared.workflow.unit import Caller

# GitHub's and GitLab.com's own cap.
MAX_BODY_BYTES: Final = 25 * 1024 * 1024

Connection = ASGIConnection[Any, Any, Any, Any]
SENDERS: Final = {
    Provider.GITHUB: "at the webhook in GitHub",
    Provider.GITLAB: "at the webhook in GitLab",
    Provider.CI: f"in the CI job ({PREFIX}WEBHOOK_TOKEN)",
}

log = structlog.stdlib.get_logger(__name__)


class Address(msgspec.Struct, frozen=True):
    """Where a delivery came in: one project's hook, or the bare URL; and the keys that open it."""

    keys: tuple[Key, ...]
    hook: Hook | None = None


class Received(msgspec.Struct, frozen=True):
    """The answer to a delivery; `delivery` is its id here."""

    status: Taken
    delivery: int


class Reception(msgspec.Struct, frozen=True):
    """The doors that a delivery passes; `bare` are the secrets of the bare URLs."""

    flow: Workflow
    vault: Vault
    bare: tuple[Secret, ...]
    clock: Clock
    failures: FailureLimit

    async def admit(self, connection: Connection, provider: Provider, key: str | None) -> Address:
        """Judge what can be judged before the body is read."""
        address = self._bare(provider) if key is None else await self._of_hook(provider, key)
        verdict = screen(provider, list(connection.scope["headers"]), address.keys, self.clock())
        if verdict not in {Verdict.ACCEPTED, Verdict.UNREAD}:
            raise self._refusal(connection, provider, address, verdict)
        return address

    async def accept(self, request: Request[Any, Any, Any], provider: Provider, address: Address) -> Response[Received]:
        """Judge the body, then store the delivery, or say that it is known."""
        headers, body = list(request.scope["headers"]), await request.body()
        fp("delivery_read")
        verdict = verify(provider, headers, body, address.keys, self.clock())
        if verdict is not Verdict.ACCEPTED:
            raise self._refusal(request, provider, address, verdict)
        delivery = delivery_of(provider, headers, body, request.query_params.getall("protocol_run_id", []))
        if address.hook is not None:
            delivery = replace(delivery, hook_id=address.hook.id, project_id=address.hook.project_id)
        caller = Caller(actor=f"webhook:{provider}", request_id=request.scope["state"].get("request_id"))
        fp("delivery_proven")
        stored, taken = await self.flow.run(caller, receive_delivery, delivery)
        log.info("delivery", delivery=stored.id, provider=provider, kind=stored.event, taken=taken)
        return Response(Received(taken, stored.id), status_code=202 if taken is Taken.RECEIVED else 200)

    def _bare(self, provider: Provider) -> Address:
        if not self.bare:
            raise Forbidden(
                f"This URL accepts nothing until {PREFIX}WEBHOOK_TOKEN is set, here and as the secret"
                f" {SENDERS[provider]}. A hook of a single project has a URL and a secret of its own.",
                type="no-webhook-secret",
            )
        return Address(bare_keys(provider, self.bare))

    async def _of_hook(self, provider: Provider, key: str) -> Address:
        hook, sealed = await self.flow.database.read(_hook_and_secrets, provider, key)
        if hook is None:
            raise NotFound("There is no such hook.")
        if not sealed:
            raise Forbidden(
                f"Hook {hook.id} of project {hook.project_id} has no secret that is still valid, so it accepts nothing."
                f" Make one with POST /projects/{hook.project_id}/hooks/{hook.id}/actions/rotate, and set it"
                f" {SENDERS[provider]}.",
                type="no-webhook-secret",
            )
        return Address(self._opened(hook, sealed), hook)

    def _opened(self, hook: Hook, sealed: Sequence[HookSecret]) -> tuple[Key, ...]:
        """The keys that open; a former one that does not is no loss while another does."""
        keys: list[Key] = []
        for each in sealed:
            try:
                text = self.vault.open(each.sealed, hook_seal_context(hook.key))
            except SealError as error:
                log.error("hook_secret_unusable", hook=hook.id, error=str(error))  # noqa: TRY400  the sentence says it
            else:
                keys.append(Key(each.scheme, Secret(text)))
        if not keys:
            raise Unavailable("The secrets of this hook cannot be opened; the log of this service says why.")
        return tuple(keys)

    def _refusal(
        self, connection: Connection, provider: Provider, address: Address, verdict: Verdict
    ) -> Unauthenticated | TooMany:
        peer = str(connection.scope["state"].get("peer", ""))
        log.warning(
            "delivery_refused",
            provider=provider,
            hook=address.hook.id if address.hook else None,
            verdict=verdict,
            peer=peer,
        )
        if wait_s := self.failures.failed(peer):
            return TooMany("Too many deliveries from there did not prove themselves.", retry_after_s=wait_s)
        return Unauthenticated(_advice(provider, verdict), type=f"webhook-{verdict}".replace("_", "-"))


def webhook_routes(reception: Reception) -> list[HTTPRouteHandler]:
    """`POST /webhooks/{github,gitlab,ci}/{hook_key}` and the bare `POST /webhooks/{github,gitlab,ci}`."""
    return [route for provider in Provider for route in _routes_of(provider, reception)]


def _routes_of(provider: Provider, reception: Reception) -> list[HTTPRouteHandler]:
    @post(
        [f"/webhooks/{provider}", f"/webhooks/{provider}/{{hook_key:str}}"],
        name=f"receive from {provider}",
        request_max_body_size=MAX_BODY_BYTES,
    )
    async def receive(request: Request[Any, Any, Any]) -> Response[Received]:
        # No guard: the framework copies the handler for each guard of each request. The body is read after this alone.
        address = await reception.admit(request, provider, request.path_params.get("hook_key"))
        return await reception.accept(request, provider, address)

    return [receive]


def _hook_and_secrets(tx: Tx, provider: Provider, key: str) -> tuple[Hook | None, Sequence[HookSecret]]:
    hook = deliveries.hook_by_key(tx, provider, key)
    return hook, deliveries.hook_secrets(tx, hook.id) if hook else ()


def _advice(provider: Provider, verdict: Verdict) -> str:
    sender = SENDERS[provider]
    match verdict:
        case Verdict.MISSING:
            proof = "webhook-signature or X-Gitlab-Token" if provider is Provider.GITLAB else "X-Hub-Signature-256"
            return f"The delivery carries no {proof}: set the secret {sender}."
        case Verdict.MALFORMED:
            return f"The proof that the delivery carries does not have the form that is known of {provider}."
        case Verdict.STALE:
            return "The delivery was signed more than five minutes ago or ahead: send it again, or set the clocks."
        case Verdict.NO_KEY:
            return f"The delivery proves itself in a way that no secret is stored for here: store it as set {sender}."
        case _:
            return f"The proof is wrong: the secret {sender} and the one stored here differ."
