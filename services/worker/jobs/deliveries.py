"""Reads a stored delivery, and looks at the forge or the origin again where what it says must not be false."""

import structlog

from services.worker.doors import Doors
from services.worker.jobs.branch import branch_there
from services.worker.lease import Lease
from shared.errors import Category, Invalid, JobError
from shared.failpoints import fp
from shared.forges import read_delivery
from shared.repository import deliveries
from shared.schemas.forge import PullWord, Said, Word
from shared.schemas.reports import DeliveryDone
from shared.workflow.matching import Target, target

log = structlog.stdlib.get_logger(__name__)


async def look_at_delivery(doors: Doors, lease: Lease) -> DeliveryDone:
    """What the delivery says, and what is so; one that cannot be read is told of with the reason."""
    delivery_id = lease.claim.job.delivery_id
    if delivery_id is None:
        raise JobError(Category.CONFIG, f"Job {lease.job_id} has no delivery.")
    delivery = await doors.database.read(deliveries.expect, delivery_id)
    try:
        said = read_delivery(delivery.provider, delivery.event, delivery.headers, delivery.body)
    except Invalid as refusal:
        return DeliveryDone(said=None, reason=refusal.detail)
    about = await doors.database.read(target, delivery, said)
    fp("delivery_read_as")
    try:
        seen = await _look_again(doors, about, said)
    except JobError as error:
        if lease.may_try_again(error):
            raise
        lease.check()
        # The delivery is proven: what it says counts where nothing better can be had.
        log.warning("not_looked_at_again", delivery=delivery.id, error=error.message)
        seen = ()
    fp("delivery_looked_at")
    return DeliveryDone(said=said, seen=seen)


async def _look_again(doors: Doors, about: Target, said: Said) -> tuple[Word, ...]:
    project, protocol = about.project, about.protocol
    if project is None or protocol is None:
        return ()
    match about.look, said.word:
        case "pull", PullWord(number=number):
            forge = await doors.forge_of(project)
            if forge is None:
                return ()
            pull = await forge.pull(number)
            fp("pull_read_again")
            return (pull,)
        case "origin", _:
            return (await branch_there(doors, project, protocol),)
        case _:
            return ()
