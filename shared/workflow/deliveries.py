"""Verbs of inbound webhooks: a delivery is stored once with its job, and what became of it is written down."""

from shared.errors import Conflict
from shared.repository import deliveries
from shared.schemas.records import Delivery
from shared.schemas.statuses import DeliveryStatus, EventType, JobKind
from shared.workflow.unit import Unit


def hook_seal_context(key: str) -> str:
    """What the secrets of the hook with this key are sealed for, so that they open for no other row."""
    return f"hook:{key}"


def receive_delivery(unit: Unit, delivery: Delivery) -> tuple[Delivery, bool]:
    """Store a proven delivery and queue its job; False when it is known already, and then nothing happens.

    One whose application had failed is known too, but is queued again: the forge's redelivery is a second chance.
    """
    stored = deliveries.add(unit.tx, delivery)
    if stored is None:
        stored = deliveries.known(unit.tx, delivery.provider, delivery.hook_id, delivery.delivery_key)
        if stored is None:
            raise LookupError(f"delivery {delivery.delivery_key}")
        if stored.status is not DeliveryStatus.FAILED:
            return stored, False
        stored = deliveries.reopen(unit.tx, stored.id)
    job = unit.enqueue(JobKind.DELIVERY, project_id=stored.project_id, delivery_id=stored.id)
    unit.say(EventType.DELIVERY_RECEIVED, stored, job=job, provider=stored.provider, event=stored.event)
    return stored, True


def replay_delivery(unit: Unit, delivery_id: int) -> Delivery:
    """Queue a delivery again whose application had failed."""
    delivery = deliveries.expect(unit.tx, delivery_id)
    if delivery.status is not DeliveryStatus.FAILED:
        message = f"Delivery {delivery_id} is {delivery.status}; there is nothing to repeat."
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
