"""What people do to runs while the storm rages, each by the API: and what each of it entitles a run to."""

import random
from collections import Counter
from typing import Any

from tests.chaos import outside
from tests.chaos.outside import Place
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
AT_FORGE = {"adopt branch", "reset branch", "trigger ci"}
MENDING = {"retry job", "retry latest", "resume"}
KINDS = tuple(sorted({wish for wishes in WISHES for wish in wishes} | MENDING | AT_FORGE))
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
# To cancel others costs a PR or a look at it, which nobody would do again.
OF_AGENTS = {"plan_protocol_job", "execute_step_job", "run_quality_job"}
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
        listed = await self._caller.ask("GET", f"/queues/jobs?protocol_run_id={self._run.protocol_id}&limit=20")
        going = [job for job in listed if job["status"] in {"queued", "running"} and job["job_type"] in OF_AGENTS]
        return bool(going) and await self._tell("cancel job", f"/queues/jobs/{going[0]['id']}/actions/cancel")

    async def _mend(self, reason: str) -> bool:
        """Do again what was cancelled, once that has ended; a block that none of us caused is nobody's wish."""
        if not self._run.told["cancel job"] or reason not in {"step_failed", "plan_failed", "qa_unavailable"}:
            return False
        if self._rest > 0:
            return True
        listed = await self._caller.ask("GET", f"/queues/jobs?protocol_run_id={self._run.protocol_id}&limit=20")
        ended = [job["id"] for job in listed if job["status"] == "cancelled" and job["job_type"] in OF_AGENTS]
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


class HandAtForge(Hand):
    """One person at a run whose branch is at a forge: meddles there too, and answers for what others do."""

    def __init__(self, caller: Caller, run: Run, place: Place, chance: random.Random, done: Counter[str]) -> None:
        super().__init__(caller, run, chance, done)
        self._place = place
        wish = outside.WISHES[run.number // 3 % len(outside.WISHES)]
        self._todo, self._then = list(wish.what), wish.then
        self._visit = chance.randrange(5, 60)

    async def look(self, protocol: Any) -> bool:
        status, reason = protocol["status"], protocol["reason"]
        if status == "blocked" and reason in {"diverged", "pr_closed", "step_failed"} and self._place.meddled:
            await self._answer(reason)
            return True
        if protocol["phase"] == "awaiting_merge":
            self._place.merge()
        self._visit -= 1
        if status == "running" and self._visit <= 0 and self._todo and await self._meddle(protocol["branch"]):
            self._todo.pop(0)
            self._visit = self._chance.randrange(5, 30)
        return await super().look(protocol)

    async def _meddle(self, branch: str) -> bool:
        match self._todo[0]:
            case "stray":
                if not self._place.stray(branch):
                    return False
                self._run.told["commit of a stranger"] += 1
                return True
            case "close":
                return self._place.close()
            case _:
                body = {"workflow": "ci.yml"} if self._place.repository.provider == "github" else {}
                return await self._tell("trigger ci", f"{self._run.path}/actions/trigger_ci", body)

    async def _answer(self, reason: str) -> None:
        """What is too early is told again at the next look."""
        self._visit -= 1
        if self._visit > 0:
            return
        self._visit = 3
        match reason, self._then:
            case "pr_closed", _:
                self._place.reopen()
            case "step_failed", _:
                await self._tell("retry latest", f"{self._run.path}/actions/retry_latest")
            case _, "adopt branch":
                await self._tell("adopt branch", f"{self._run.path}/actions/adopt", {"sha": self._place.theirs[-1]})
            case _, "reset branch":
                await self._tell("reset branch", f"{self._run.path}/actions/reset")
            case _, wish:
                await self._tell(wish, f"{self._run.path}/actions/cancel")
