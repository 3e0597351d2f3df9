"""What people do to runs while the storm rages, each by the API: and what each of it entitles a run to."""

import random
from collections import Counter
from typing import Any

from tests.chaos.runs import Caller, Run

# What is wished for one run; a run of each kind in its turn. Most go on untouched or are only held up.
WISHES: tuple[tuple[str, ...], ...] = (
    (),
    ("cancel run",),
    ("pause drain", "reject step"),
    ("cancel job",),
    ("pause interrupt", "retry step"),
    ("skip step",),
    ("cancel job", "pause interrupt"),
    ("cancel step",),
    ("cancel job", "cancel job"),
    ("pause drain", "pause interrupt"),
)
KINDS = tuple(sorted({wish for wishes in WISHES for wish in wishes} | {"retry job", "retry latest", "resume"}))
# These settle a step without an accepted execution; the run is then no longer one of four steps.
WITHOUT_WORK = frozenset({"cancel step", "skip step"})
# These ask for one more execution of a step that had one.
ONCE_MORE = frozenset({"reject step", "retry step"})
# A step's status in which each of them means something.
TARGETS = {
    "cancel step": {"running", "needs_qa"},
    "skip step": {"needs_qa", "pending"},
    "reject step": {"needs_qa"},
    "retry step": {"needs_qa"},
}
BODIES = {
    "reject step": {"feedback": "Say it better."},
    "skip step": {"reason": "Not needed."},
}
OPEN = {"planning", "planned", "running"}


class Hand:
    """One person at one run: does what is wished as soon as it is possible, and mends what came of it."""

    def __init__(self, caller: Caller, run: Run, chance: random.Random, done: Counter[str]) -> None:
        self._caller = caller
        self._run = run
        self._chance = chance
        self._done = done
        self._wishes = list(WISHES[run.number % len(WISHES)])
        # So many looks pass before the next wish, or before a pause ends.
        self._rest = chance.randrange(2, 40)

    async def look(self, protocol: Any) -> bool:
        """Act, or let a while pass; whether the protocol may be at rest as it is."""
        status = protocol["status"]
        self._rest -= 1
        if status == "cancelled":
            return bool(self._run.told["cancel run"])
        if status == "blocked":
            return await self._mend(protocol["reason"])
        if self._rest > 0:
            return False
        if status == "paused":
            await self._tell("resume", f"{self._run.path}/actions/resume")
        elif status in OPEN and self._wishes and await self._grant(self._wishes[0]):
            self._wishes.pop(0)
            self._rest = self._chance.randrange(1, 12)
        return False

    async def _grant(self, wish: str) -> bool:
        what, _, about = wish.partition(" ")
        match what, about:
            case "pause", mode:
                return await self._tell(wish, f"{self._run.path}/actions/pause", {"mode": mode})
            case "cancel", "run":
                return await self._tell(wish, f"{self._run.path}/actions/cancel")
            case "cancel", "job":
                return await self._cancel_job()
            case _:
                return await self._act_on_step(wish)

    async def _act_on_step(self, wish: str) -> bool:
        steps = await self._caller.ask("GET", f"{self._run.path}/steps")
        fitting = [step for step in steps if step["status"] in TARGETS[wish]]
        if not fitting:
            return False
        step = self._chance.choice(fitting) if wish == "skip step" else fitting[0]
        action = wish.removesuffix(" step")
        told = await self._tell(wish, f"/steps/{step['id']}/actions/{action}", BODIES.get(wish))
        if told:
            self._run.steps.setdefault(step["step_index"], Counter())[wish] += 1
        return told

    async def _cancel_job(self) -> bool:
        listed = await self._caller.ask("GET", f"/queues/jobs?protocol_run_id={self._run.protocol_id}&limit=5")
        going = [job for job in listed if job["status"] in {"queued", "running"}]
        return bool(going) and await self._tell("cancel job", f"/queues/jobs/{going[0]['id']}/actions/cancel")

    async def _mend(self, reason: str) -> bool:
        """Do again what was cancelled, once that has ended; a block that none of us caused is nobody's wish."""
        if not self._run.told["cancel job"] or reason not in {"step_failed", "plan_failed", "qa_unavailable"}:
            return False
        if self._rest > 0:
            return True
        listed = await self._caller.ask("GET", f"/queues/jobs?protocol_run_id={self._run.protocol_id}&limit=5")
        ended = [job["id"] for job in listed if job["status"] == "cancelled"]
        if reason == "step_failed" and self._chance.random() < 0.4:
            await self._tell("retry latest", f"{self._run.path}/actions/retry_latest")
        elif ended:
            await self._tell("retry job", f"/queues/jobs/{ended[0]}/actions/retry")
        return True

    async def _tell(self, what: str, path: str, body: dict[str, Any] | None = None) -> bool:
        accepted = await self._caller.may(path, {} if body is None else body)
        if accepted:
            self._run.told[what] += 1
            self._done[what] += 1
        return accepted
