"""The jobs without an agent: setting up, publishing, looking at a delivery."""

from pathlib import Path

from shared.repository import deliveries
from shared.schemas.records import Delivery
from shared.schemas.statuses import DeliveryStatus, Provider
from shared.workflow.deliveries import receive_delivery
from shared.workflow.projects import set_up_project
from shared.workflow.protocols import open_pr
from tests.e2e.house import addition, answered, done
from tests.worker.workshop import NAME, open_workshop

EXECUTED = answered("execute step 01", done("greet"), addition("greeting.txt", ["hello"]))


async def test_setting_up_clones_the_repository_and_tells_its_base_and_default_branch(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        await shop.open("Greet")
        event = await shop.event("setup_done")
        assert event.metadata == {"base_sha": shop.origin.head("main"), "default_branch": "main"}
        assert shop.mirror.is_dir()


async def test_a_repository_that_is_gone_fails_the_setup_and_says_so(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        await shop.open("Greet")
        shop.origin.bare.rename(ground_floor / "elsewhere.git")
        await shop.call(set_up_project, 1)
        for _ in range(3):
            await shop.work()
            shop.pass_time(60)
        failed = await shop.event("job_failed")
        assert failed.metadata["kind"] == "setup"
        assert "origin.git" in failed.metadata["message"]


async def test_publishing_pushes_the_branch_as_it_stands_and_says_what_it_did_not_do(ground_floor: Path) -> None:
    async with open_workshop(ground_floor, EXECUTED) as shop:
        await shop.open("Greet")
        step = await shop.execute()
        await shop.call(open_pr, 1)
        await shop.work()
        pushed = (await shop.event("branch_pushed")).metadata
        assert (pushed["sha"], pushed["branch"], pushed["pushed"]) == (step.head_sha, NAME, True)
        assert "No PR was opened" in pushed["note"]


async def test_a_branch_that_somebody_else_moved_is_not_published_over_theirs(ground_floor: Path) -> None:
    async with open_workshop(ground_floor, EXECUTED) as shop:
        await shop.open("Greet")
        await shop.execute()
        theirs = shop.origin.commit({"theirs.txt": "mine\n"}, branch=NAME)
        await shop.call(open_pr, 1)
        await shop.work()
        assert shop.origin.head(NAME) == theirs
        failed = await shop.event("job_failed")
        assert failed.reason == "diverged"
        assert (await shop.protocol()).status == "blocked"


async def test_a_delivery_is_recorded_and_changes_nothing(ground_floor: Path) -> None:
    async with open_workshop(ground_floor) as shop:
        delivery = Delivery(
            id=0,
            provider=Provider.GITHUB,
            hook_id=None,
            delivery_key="guid",
            event="ping",
            headers={},
            body=b"{}",
            body_sha256="0" * 64,
            project_id=None,
            protocol_id=None,
            step_id=None,
            status=DeliveryStatus.RECEIVED,
            reason=None,
            received_at=0,
            applied_at=None,
        )
        await shop.call(receive_delivery, delivery)
        await shop.work()
        (job,) = await shop.jobs("process_delivery")
        assert job["state"] == "succeeded"
        kept = await shop.runtime.database.read(deliveries.expect, 1)
        assert (kept.status, kept.reason) == ("received", "recorded; deliveries do not change anything yet")
