"""An execution that somebody has claimed and brought as far as to where the agent would start."""

from services.worker.jobs.branch import take_ground, write_plan
from services.worker.lease import Lease
from shared.workflow import jobs as verbs
from shared.workflow.protocols import run_next_step
from shared.workflow.unit import Caller
from tests.worker.workshop import Workshop


async def claimed(shop: Workshop, owner: str) -> Lease:
    """What is due, held by this worker, who does nothing with it yet."""
    (due,) = await shop.due()
    caller = Caller(owner)
    claim = await shop.runtime.flow.run(caller, verbs.claim_job, due.id, due.dispatch, owner)
    assert claim is not None
    return Lease(shop.runtime.flow, caller, claim)


async def begun(shop: Workshop, owner: str) -> Lease:
    """The execution of a first step, with its worktree made."""
    await shop.open("Greet")
    await shop.call(run_next_step, 1)
    lease = await claimed(shop, owner)
    await write_plan(shop.doors, lease, await take_ground(shop.doors, lease))
    return lease
