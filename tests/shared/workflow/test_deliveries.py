"""Inbound deliveries: stored once, queued once, settled once; one that had failed gets a second chance."""

from typing import Any

import pytest

from shared.errors import Category
from shared.schemas.records import Delivery
from shared.schemas.reports import Claim, DeliveryDone, Failed
from shared.schemas.statuses import DeliveryStatus, JobKind, Provider
from shared.workflow.deliveries import receive_delivery, settle_delivery
from shared.workflow.jobs import claim_job
from tests.shared.workflow.ground import WORKER, Ground


@pytest.fixture
def ground() -> Ground:
    return Ground()


def a_delivery(key: str = "guid") -> Delivery:
    return Delivery(
        id=0,
        provider=Provider.GITHUB,
        hook_id=None,
        delivery_key=key,
        event="push",
        headers={},
        body=b"{}",
        body_sha256="h",
        project_id=None,
        protocol_id=None,
        step_id=None,
        status=DeliveryStatus.RECEIVED,
        reason=None,
        received_at=0,
        applied_at=None,
    )


def claimed(ground: Ground) -> Claim:
    (job,) = ground.rung
    claim = ground.run_as(WORKER, claim_job, job.id, job.dispatch, "w1")
    assert claim is not None
    return claim


def events(ground: Ground) -> list[Any]:
    return [row["event_type"] for row in ground.sql("SELECT event_type FROM events ORDER BY id")]


def test_a_delivery_is_stored_with_its_job(ground: Ground):
    delivery, new = ground.run(receive_delivery, a_delivery())
    assert new
    (job,) = ground.rung
    assert (job.kind, job.delivery_id) == (JobKind.DELIVERY, delivery.id)
    assert events(ground) == ["delivery_received"]


def test_the_same_delivery_twice_is_one(ground: Ground):
    first, _ = ground.run(receive_delivery, a_delivery())
    again, new = ground.run(receive_delivery, a_delivery())
    assert (again, new) == (first, False)
    assert ground.rung == []
    assert events(ground) == ["delivery_received"]


def test_what_became_of_it_is_kept(ground: Ground):
    delivery, _ = ground.run(receive_delivery, a_delivery())
    claim = claimed(ground)
    ground.wait(1)
    ground.end(claim, DeliveryDone(status=DeliveryStatus.APPLIED, reason="merged"))
    (row,) = ground.sql("SELECT status, reason, applied_at FROM deliveries")
    assert row == {"status": "applied", "reason": "merged", "applied_at": ground.now}
    late = ground.run(settle_delivery, delivery.id, DeliveryStatus.FAILED, "late")
    assert late.status is DeliveryStatus.APPLIED


def test_one_that_had_failed_gets_a_second_chance(ground: Ground):
    ground.run(receive_delivery, a_delivery())
    ground.end(claimed(ground), Failed(category=Category.CONFIG, message="no secret"))
    assert ground.sql("SELECT status, reason FROM deliveries") == [{"status": "failed", "reason": "no secret"}]
    again, new = ground.run(receive_delivery, a_delivery())
    assert new
    assert again.status is DeliveryStatus.RECEIVED
    ground.end(claimed(ground), DeliveryDone(status=DeliveryStatus.IGNORED))
    assert ground.run(receive_delivery, a_delivery())[1] is False
