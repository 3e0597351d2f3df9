"""Inbound deliveries: stored once, queued once; repetitions stand back, and what had failed gets a second chance."""

from typing import Any

import pytest
from msgspec.structs import replace

from shared.errors import Category, Conflict, NotFound
from shared.schemas.forge import PROTOCOL_HEADER
from shared.schemas.records import Delivery
from shared.schemas.reports import Claim, Failed
from shared.schemas.statuses import DeliveryStatus, JobKind, Provider
from shared.workflow.deliveries import Taken, receive_delivery, replay_delivery, settle_delivery
from shared.workflow.jobs import claim_job
from shared.workflow.unit import Caller
from tests.shared.workflow.ground import WORKER, Ground


@pytest.fixture
def ground() -> Ground:
    return Ground()


def a_delivery(key: str = "guid", body: str = "h", **changes: Any) -> Delivery:
    delivery = Delivery(
        id=0,
        provider=Provider.GITHUB,
        hook_id=None,
        delivery_key=key,
        event="status",
        headers={},
        body=b"{}",
        body_sha256=body,
        project_id=None,
        protocol_id=None,
        step_id=None,
        status=DeliveryStatus.RECEIVED,
        reason=None,
        effect=None,
        received_at=0,
        applied_at=None,
    )
    return replace(delivery, **changes)


def claimed(ground: Ground) -> Claim:
    (job,) = ground.rung
    claim = ground.run_as(WORKER, claim_job, job.id, job.dispatch, "w1")
    assert claim is not None
    return claim


def fail(ground: Ground) -> None:
    ground.end(claimed(ground), Failed(category=Category.CONFIG, message="no secret"))


def settle(ground: Ground, delivery: Delivery, status: str) -> None:
    ground.run(settle_delivery, delivery.id, DeliveryStatus(status), "because")


def events(ground: Ground) -> list[Any]:
    return [row["event_type"] for row in ground.sql("SELECT event_type FROM events ORDER BY id")]


def test_a_delivery_is_stored_with_its_job(ground: Ground):
    delivery, taken = ground.run(receive_delivery, a_delivery())
    assert taken is Taken.RECEIVED
    (job,) = ground.rung
    assert (job.kind, job.delivery_id) == (JobKind.DELIVERY, delivery.id)
    assert events(ground) == ["delivery_received"]


def test_the_same_delivery_twice_is_one(ground: Ground):
    first, _ = ground.run(receive_delivery, a_delivery())
    again, taken = ground.run(receive_delivery, a_delivery(body="another"))
    assert (again, taken) == (first, Taken.DUPLICATE)
    assert ground.rung == []
    assert events(ground) == ["delivery_received"]


def test_one_that_had_failed_gets_a_second_chance(ground: Ground):
    ground.run(receive_delivery, a_delivery())
    fail(ground)
    assert ground.sql("SELECT status, reason FROM deliveries") == [{"status": "failed", "reason": "no secret"}]
    again, taken = ground.run(receive_delivery, a_delivery())
    assert (taken, again.status, again.reason) == (Taken.RECEIVED, DeliveryStatus.RECEIVED, None)
    settle(ground, again, "ignored")
    assert ground.run(receive_delivery, a_delivery())[1] is Taken.DUPLICATE


@pytest.mark.parametrize("status", ["received", "applied", "ignored"])
def test_an_equal_body_under_another_id_is_kept_and_gets_no_job(ground: Ground, status: str):
    first, _ = ground.run(receive_delivery, a_delivery("one"))
    if status != "received":
        settle(ground, first, status)
    second, taken = ground.run(receive_delivery, a_delivery("two"))
    assert (taken, second.status, second.reason) == (Taken.DUPLICATE_BODY, DeliveryStatus.DUPLICATE, "duplicate_body")
    assert f"delivery {first.id}" in (second.effect or "")
    assert ground.rung == []
    assert events(ground) == ["delivery_received", "delivery_received"]
    assert ground.run(receive_delivery, a_delivery("two"))[1] is Taken.DUPLICATE


def test_an_equal_body_is_applied_where_the_first_one_failed(ground: Ground):
    ground.run(receive_delivery, a_delivery("one"))
    fail(ground)
    assert ground.run(receive_delivery, a_delivery("two"))[1] is Taken.RECEIVED


def test_a_repetition_is_applied_when_it_comes_again_and_the_one_it_stood_back_for_has_failed(ground: Ground):
    first, _ = ground.run(receive_delivery, a_delivery("one"))
    ground.run(receive_delivery, a_delivery("two"))
    settle(ground, first, "failed")
    again, taken = ground.run(receive_delivery, a_delivery("two"))
    assert (taken, again.status, again.effect) == (Taken.RECEIVED, DeliveryStatus.RECEIVED, None)
    assert len(ground.rung) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"event": "check_suite"},
        {"body": "another"},
        {"provider": Provider.GITLAB},
        {"headers": {PROTOCOL_HEADER: "7"}},
    ],
    ids=str,
)
def test_what_differs_in_more_than_its_id_is_no_repetition(ground: Ground, other: dict[str, Any]):
    ground.run(receive_delivery, a_delivery("one"))
    assert ground.run(receive_delivery, a_delivery("two", **other))[1] is Taken.RECEIVED


def test_an_equal_body_for_the_same_protocol_run_is_a_repetition(ground: Ground):
    headers = {PROTOCOL_HEADER: "7"}
    ground.run(receive_delivery, a_delivery("one", headers=headers))
    assert ground.run(receive_delivery, a_delivery("two", headers=headers))[1] is Taken.DUPLICATE_BODY


def test_a_ci_job_may_report_the_same_again(ground: Ground):
    ground.run(receive_delivery, a_delivery("one", provider=Provider.CI))
    assert ground.run(receive_delivery, a_delivery("two", provider=Provider.CI))[1] is Taken.RECEIVED


def test_the_push_that_repeats_one_from_before_another_push_is_heard(ground: Ground):
    for key, body, taken in (
        ("one", "there", Taken.RECEIVED),
        ("two", "there", Taken.DUPLICATE_BODY),
        ("three", "and back", Taken.RECEIVED),
        ("four", "there", Taken.RECEIVED),
    ):
        assert ground.run(receive_delivery, a_delivery(key, body, event="push"))[1] is taken, key


@pytest.mark.parametrize("status", ["applied", "ignored", "failed", "duplicate"])
def test_whatever_became_of_it_a_settled_delivery_is_applied_again_on_request(ground: Ground, status: str):
    delivery, _ = ground.run(receive_delivery, a_delivery())
    ground.sql("UPDATE deliveries SET status = ?, reason = 'r', effect = 'e', applied_at = 1", status)
    again = ground.run(replay_delivery, delivery.id)
    assert (again.status, again.reason, again.effect, again.applied_at) == ("received", None, None, None)
    assert [job.delivery_id for job in ground.rung] == [delivery.id]
    assert events(ground) == ["delivery_received", "delivery_replayed"]


def test_one_that_waits_to_be_applied_is_not_queued_twice(ground: Ground):
    delivery, _ = ground.run(receive_delivery, a_delivery())
    with pytest.raises(Conflict) as refused:
        ground.run(replay_delivery, delivery.id)
    assert refused.value.status_now == "received"


def test_another_projects_delivery_is_not_there(ground: Ground):
    delivery, _ = ground.run(receive_delivery, a_delivery(project_id=ground.project().id))
    settle(ground, delivery, "ignored")
    with pytest.raises(NotFound):
        ground.run_as(Caller(actor="token", project_id=99), replay_delivery, delivery.id)
