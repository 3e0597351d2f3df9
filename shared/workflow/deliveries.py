"""Verbs of inbound webhooks: a delivery is stored once with its job, and what became of it is written down."""

from enum import StrEnum
from typing import Final

from msgspec.structs import replace

from shared.errors import Conflict
from shared.repository import deliveries
from shared.schemas.records import Delivery
from shared.schemas.statuses import DeliveryStatus, EventType, JobKind, Provider
from shared.workflow import find
from shared.workflow.unit import Unit

PUSHES: Final = frozenset({"push", "Push Hook"})


def hook_seal_context(key: str) -> str:
    """What the secrets of the hook with this key are sealed for, so that they open for no other row."""
    return f"hook:{key}"


class Taken(StrEnum):
    """How a delivery was taken: queued to be applied, known by its id, or known by what it says."""

    RECEIVED = "received"
    DUPLICATE = "duplicate"
    DUPLICATE_BODY = "duplicate_body"


def receive_delivery(unit: Unit, delivery: Delivery) -> tuple[Delivery, Taken]:
    """Store a proven delivery and queue its job; nothing happens for one that is known already.

    One whose application had failed is known too, but is queued again: the forge's redelivery is a second chance.
    What a forge says again under another id is stored without a job, since it was heard.
    """
    twin = _twin(unit, delivery)
    if twin is not None:
        delivery = replace(
            delivery,
            status=DeliveryStatus.DUPLICATE,
            reason=Taken.DUPLICATE_BODY,
            effect=f"It says the same as delivery {twin.id}.",
            project_id=delivery.project_id or twin.project_id,
        )
    stored = deliveries.add(unit.tx, delivery)
    if stored is None:
        stored = deliveries.known(unit.tx, delivery.provider, delivery.hook_id, delivery.delivery_key)
        if stored is None:
            raise LookupError(f"delivery {delivery.delivery_key}")
        # The one that a repetition stood back for may have failed since.
        lost = stored.status is DeliveryStatus.DUPLICATE and _twin(unit, stored) is None
        if stored.status is not DeliveryStatus.FAILED and not lost:
            return stored, Taken.DUPLICATE
        stored = deliveries.reopen(unit.tx, stored.id)
    elif twin is not None:
        unit.say(EventType.DELIVERY_RECEIVED, stored, provider=stored.provider, event=stored.event, repeats=twin.id)
        return stored, Taken.DUPLICATE_BODY
    job = unit.enqueue(JobKind.DELIVERY, project_id=stored.project_id, delivery_id=stored.id)
    unit.say(EventType.DELIVERY_RECEIVED, stored, job=job, provider=stored.provider, event=stored.event)
    return stored, Taken.RECEIVED


def replay_delivery(unit: Unit, delivery_id: int) -> Delivery:
    """Queue a settled delivery again; what it says is a level, so applying it twice is the same as once."""
    delivery = find.delivery(unit.tx, unit.caller.project_id, delivery_id)
    if delivery.status is DeliveryStatus.RECEIVED:
        message = f"Delivery {delivery_id} is still waiting to be applied; wait for its job, or for a worker."
        raise Conflict(message, status_now=delivery.status, allowed_actions=())
    reopened = deliveries.reopen(unit.tx, delivery_id)
    job = unit.enqueue(JobKind.DELIVERY, project_id=reopened.project_id, delivery_id=delivery_id)
    unit.say(EventType.DELIVERY_REPLAYED, reopened, job=job)
    return reopened


def settle_delivery(unit: Unit, delivery_id: int, status: DeliveryStatus, reason: str | None = None) -> Delivery:
    """Write what became of a delivery; once it is applied or ignored, a late word changes nothing."""
    delivery = deliveries.expect(unit.tx, delivery_id)
    if delivery.status in {DeliveryStatus.APPLIED, DeliveryStatus.IGNORED}:
        return delivery
    deliveries.settle(unit.tx, delivery_id, status, reason)
    return deliveries.expect(unit.tx, delivery_id)


def _twin(unit: Unit, delivery: Delivery) -> Delivery | None:
    """What this delivery only repeats.

    A CI job's report is none: it may be red, green, and red again in the same words. Neither is the push that moves a
    branch once more to where it was before another push: it tells of no time.
    """
    if delivery.provider is Provider.CI:
        return None
    twin = deliveries.twin(unit.tx, delivery)
    if twin is not None and twin.event in PUSHES and deliveries.another_since(unit.tx, twin):
        return None
    return twin
