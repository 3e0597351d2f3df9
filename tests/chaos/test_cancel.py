"""A cancel against an agent that will not go: dead in time, kept what it wrote, and nothing that comes later counts."""

import time
from pathlib import Path

from shared.schemas.reports import ExecutionDone
from shared.workflow.jobs import release
from shared.workflow.protocols import cancel_protocol
from tests.e2e.house import conversation, done
from tests.waiting import eventually
from tests.worker.codex.ground import alive
from tests.worker.git.stage import plain_git
from tests.worker.workshop import NAME, open_workshop

DEAD_WITHIN_S = 12
# Grandchildren in sessions of their own, one of which no request to end can move.
BROOD = """\
echo half > half.txt
setsid sleep 600 & echo $! > $TMPDIR/pids
setsid sh -c 'trap "" TERM HUP INT; echo $$ >> $TMPDIR/pids; while :; do sleep 600; done' &
while [ "$(wc -l < $TMPDIR/pids)" -lt 2 ]; do sleep 0.05; done
touch here
sleep 600
"""


async def test_a_cancelled_agent_and_its_stubborn_grandchildren_are_dead_within_twelve_seconds(
    ground_floor: Path,
) -> None:
    execution = conversation("execute step 01", {"command": BROOD}, {"answer": done()})
    async with open_workshop(ground_floor, execution) as shop:
        await shop.open("Greet")
        async with shop.waiting_agent():
            pids = shop.agents()
            sleepers = [pid for pid in pids if b"sleep\x00600" in Path(f"/proc/{pid}/cmdline").read_bytes()]
            assert len(sleepers) >= 2
            (job,) = await shop.jobs("execute_step_job")

            async def all_dead() -> bool:
                return not any(alive(pid) for pid in pids)

            began = time.monotonic()
            await shop.call(cancel_protocol, 1)
            assert (await shop.protocol()).status == (await shop.step()).status == "cancelled", "at once"
            await eventually(all_dead, within=DEAD_WITHIN_S)
            assert time.monotonic() - began < DEAD_WITHIN_S
        (attempt,) = await shop.attempts()
        assert attempt["state"] == "cancelled"
        (ref,) = shop.salvaged()
        assert ref == f"refs/deksdenflow/salvage/{attempt['id']}"
        assert plain_git(shop.mirror, "show", f"{ref}:half.txt") == "half"

        before = await shop.events()
        late = ExecutionDone(summary="I did it.", changed=True, head_sha="a" * 40, pushed=True)
        assert not await shop.runtime.flow.run(shop.worker.caller, release, job["id"], job["token"], late)
        assert (await shop.protocol()).status == (await shop.step()).status == "cancelled"
        (said,) = (await shop.events())[len(before) :]
        assert (said.event_type, said.from_status) == ("late_result", None)
        assert not shop.origin.head(NAME)
