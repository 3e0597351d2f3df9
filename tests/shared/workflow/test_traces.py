"""Random traces of all verbs, people's and workers', late and stale ones too, against the invariants of DESIGN §4."""

import os
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from shared.errors import Category, PreconditionFailed, Refusal
from shared.repository import deliveries, jobs, protocols, steps
from shared.schemas.forge import Said, Word
from shared.schemas.records import Job, Protocol, StepRun
from shared.schemas.reports import (
    Claim,
    DeliveryDone,
    Ending,
    Failed,
    Lost,
    PublishDone,
    SetupDone,
    Stopped,
    SyncDone,
    Usage,
)
from shared.schemas.statuses import JobKind, JobState, Outcome, Phase, ProtocolStatus, Provider, Reason, StepStatus
from shared.states import protocol as protocol_table
from shared.states import step as step_table
from shared.workflow import protocols as run_verbs
from shared.workflow import steps as step_verbs
from shared.workflow.deliveries import receive_delivery
from shared.workflow.jobs import beat, claim_job, note_attempt, note_branch, note_commit, release
from shared.workflow.line import lift_ended, resume_line, stop_line
from shared.workflow.pulls import adopt_branch, reset_branch
from shared.workflow.queue import cancel_job, retry_job
from shared.workflow.sync import sync_due, sync_protocol
from shared.workflow.unit import Rules, Unit
from tests.shared.workflow.forge_ground import REPO, ForgeGround
from tests.shared.workflow.ground import WORKER

DEEP = int(os.environ.get("TRACE_EXAMPLES", "0"))  # e.g. TRACE_EXAMPLES=2000 for a long night

POLICIES: dict[str, list[Any]] = {
    "progression": ["manual", "auto", "auto_until:1"],
    "plan_approval": [False, False, True],
    "judged_by": ["qa_or_approval", "qa", "approval", "qa_and_approval"],
    "auto_fix": [0, 1, 2],
    "completion": ["steps", "merge"],
    "allow_no_changes": [False, True],
    "auto_qa_after_exec": [False, True],
    "auto_qa_on_ci": [False, True],
    "ci_completes_step": [False, False, True],
    "ci_settle_s": [0, 0, 60],
    "required_contexts": [(), (), ("a",)],
    "open_pr": ["asked", "planned", "steps_done"],
}
STRANGE = "e" * 40
policies = st.fixed_dictionaries({}, optional={name: st.sampled_from(some) for name, some in POLICIES.items()})
ENDINGS = ["done", "done", "done", "done", "poor", "poor", "failed", "stopped", "lost"]
endings = st.sampled_from(ENDINGS)


def adopt(unit: Unit, protocol_id: int) -> Protocol | None:
    """Adopt what was seen on the branch, if something was."""
    seen = protocols.expect(unit.tx, protocol_id).diverged_sha
    return None if seen is None else adopt_branch(unit, protocol_id, seen)


nth = st.integers(0, 7)
PEOPLE: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (run_verbs.start_protocol, {}),
    (run_verbs.start_protocol, {"plan": False}),
    (run_verbs.approve_plan, {}),
    (run_verbs.reject_plan, {"feedback": "too long"}),
    (run_verbs.pause_protocol, {}),
    (run_verbs.pause_protocol, {"mode": "interrupt"}),
    (run_verbs.resume_protocol, {}),
    (run_verbs.unblock_protocol, {}),
    (run_verbs.run_next_step, {}),
    (run_verbs.retry_latest, {}),
    (run_verbs.open_pr, {}),
    (adopt, {}),
    (reset_branch, {}),
    (sync_protocol, {}),
    (step_verbs.add_step, {"step_name": "one more"}),
]
ENDS = [(run_verbs.cancel_protocol, {}), (run_verbs.fail_protocol, {"reason": "hopeless"})]
ON_STEPS: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (step_verbs.run_step, {}),
    (step_verbs.run_qa, {}),
    (step_verbs.approve_step, {}),
    (step_verbs.approve_step, {"reason": "I looked"}),
    (step_verbs.reject_step, {"feedback": "no"}),
    (step_verbs.retry_step, {}),
    (step_verbs.retry_step, {"fresh": True, "feedback": "again"}),
    (step_verbs.skip_step, {"reason": "not needed"}),
    (step_verbs.cancel_step, {}),
]
NOTES = ["beat", "attempt", "commit", "branch"]
CATEGORIES = [
    Category.NETWORK,
    Category.AUTH,
    Category.DIVERGED,
    Category.LOST,
    Category.BUSY,
    Category.QUOTA,
    Category.RATE_LIMITED,
]
ON_JOBS = [cancel_job, retry_job]
ON_THE_LINE: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (stop_line, {}),
    (stop_line, {"interrupt": True}),
    (resume_line, {}),
    (lift_ended, {}),
]
SAID = ["ci", "ci", "ci", "ci", "ci", "pull", "pull", "branch"]


class Traces(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ground = ForgeGround(Rules(max_attempts=2, max_continuations=1, project_concurrency=2))
        self.claims: list[Claim] = []
        self.said: dict[str, tuple[Word, Sequence[Word]]] = {}

    # people

    @initialize(policy=policies, head_start=st.integers(0, 8))
    def a_project(self, policy: dict[str, Any], head_start: int):
        self.project = self.ground.home
        self.open(policy, head_start)

    @precondition(lambda self: len(self.open_runs()) < 3)
    @rule(policy=policies, head_start=st.integers(0, 8))
    def somebody_opens_a_protocol(self, policy: dict[str, Any], head_start: int):
        self.open(policy, head_start)

    def open(self, policy: dict[str, Any], head_start: int):
        run = self.ground.opened(project=self.project, **policy)
        for _ in range(head_start):
            self.moved_on(self.ground.protocol(run.id))

    @rule(which=nth, verb=st.sampled_from(PEOPLE))
    def somebody_acts_on_a_protocol(self, which: int, verb: tuple[Callable[..., Any], dict[str, Any]]):
        self.tried(verb[0], self.pick(self.runs(), which).id, **verb[1])

    @rule(which=nth, choice=st.integers(0, 60))
    def somebody_does_what_is_allowed(self, which: int, choice: int):
        run = self.pick(self.open_runs() or self.runs(), which)
        allowed = set(protocol_table.allowed_actions(run.status, run.phase, run.reason))
        verbs = [
            each for each in PEOPLE if each[0].__name__.removesuffix("_protocol").removesuffix("_branch") in allowed
        ]
        ways = [(verb, run.id, more) for verb, more in verbs]
        for step in steps.of_protocol(self.ground.tx, run.id):
            allowed = set(step_table.allowed_actions(step.status))
            ways += [(verb, step.id, more) for verb, more in ON_STEPS if verb.__name__.removesuffix("_step") in allowed]
        if ways:
            verb, thing, more = self.pick(ways, choice)
            self.tried(verb, thing, **more)

    @rule(which=nth, verb=st.sampled_from(ENDS), sure=st.integers(0, 9))
    def somebody_ends_a_protocol(self, which: int, verb: tuple[Callable[..., Any], dict[str, Any]], sure: int):
        if sure == 0:
            self.tried(verb[0], self.pick(self.runs(), which).id, **verb[1])

    @precondition(lambda self: self.steps())
    @rule(which=nth, verb=st.sampled_from(ON_STEPS))
    def somebody_acts_on_a_step(self, which: int, verb: tuple[Callable[..., Any], dict[str, Any]]):
        self.tried(verb[0], self.pick(self.steps(), which).id, **verb[1])

    @rule(which=nth, verb=st.sampled_from(ON_JOBS))
    def somebody_acts_on_a_job(self, which: int, verb: Callable[..., Any]):
        self.tried(verb, self.pick(self.jobs(), which).id)

    @rule(verb=st.sampled_from(ON_THE_LINE))
    def somebody_acts_on_the_line(self, verb: tuple[Callable[..., Any], dict[str, Any]]):
        self.tried(verb[0], **verb[1])

    @rule(which=nth)
    def the_natural_next_thing_happens(self, which: int):
        self.moved_on(self.pick(self.runs(), which))

    # the forge

    @rule(which=nth, said=st.sampled_from(SAID), seed=st.integers(0, 999))
    def the_forge_delivers(self, which: int, said: str, seed: int):
        run = self.pick(self.open_runs() if seed % 8 and self.open_runs() else self.runs(), which)
        self.said[f"key {len(self.said) + 1}"] = self.word(run, said, random.Random(seed))
        self.ground.number = len(self.said)
        self.tried(receive_delivery, self.ground.a_delivery(Provider.GITHUB, None))
        for job in self.ground.rung if seed % 4 else ():
            claim = self.tried(claim_job, job.id, job.dispatch, "w3", caller=WORKER)
            if claim is not None:
                self.tried(release, job.id, claim.job.token, self.read(claim), caller=WORKER)

    @rule()
    def what_was_not_heard_of_for_long_is_polled(self):
        self.tried(sync_due, 300_000)

    def word(self, run: Protocol, said: str, chance: random.Random) -> tuple[Word, Sequence[Word]]:
        """What the forge says of this protocol, and what is seen when it is looked at because of that."""
        heads = [step.head_sha for step in steps.of_protocol(self.ground.tx, run.id) if step.head_sha]
        commit = chance.choice([*heads * 4, run.head_sha or STRANGE, STRANGE])
        match said:
            case "ci":
                outcome = chance.choice([*Outcome, *[Outcome.PASS, Outcome.FAIL] * 4])
                attempt = chance.choice([1, len(self.said) + 1, len(self.said) + 1])
                return self.ground.ci_word(commit, outcome, chance.choice("aaab"), run_attempt=attempt), ()
            case "pull":
                state = chance.choice(["open", "open", "open", "closed", "merged"])
                number = run.id * 10 + (chance.random() < 0.1)
                pull = self.ground.pull_word(run, state, number=number, sha=commit)
                return pull, chance.choice([(), (pull,), (self.ground.branch_word(run, commit),)])
            case _:
                moved = self.ground.branch_word(run, chance.choice([commit, None]))
                return moved, chance.choice([(), (moved,)])

    # workers

    @precondition(lambda self: self.queued())
    @rule(which=nth, stale=st.integers(0, 5))
    def a_worker_hears_the_bell(self, which: int, stale: int):
        job = self.pick(self.queued(), which)
        dispatch = job.dispatch - 1 if stale == 0 else job.dispatch
        claim = self.tried(claim_job, job.id, dispatch, "w1", caller=WORKER)
        if claim is not None:
            assert stale != 0
            self.claims.append(claim)

    @precondition(lambda self: self.ground.due())
    @rule(which=nth, ending=endings, shade=nth)
    def a_worker_does_a_job(self, which: int, ending: str, shade: int):
        job = self.pick(self.ground.due(), which)
        claim = self.tried(claim_job, job.id, job.dispatch, "w1", caller=WORKER)
        if claim is not None:
            self.tried(release, job.id, claim.job.token, self.ending(claim, ending, shade), caller=WORKER)

    @precondition(lambda self: self.claims)
    @rule(which=nth, ending=endings, shade=nth)
    def a_worker_releases(self, which: int, ending: str, shade: int):
        claim = self.claims.pop(which % len(self.claims))
        usage = Usage(thread_id=f"thread-{claim.job.id}", input_tokens=10)
        self.tried(release, claim.job.id, claim.job.token, self.ending(claim, ending, shade), usage, caller=WORKER)

    @precondition(lambda self: self.claims)
    @rule(which=nth, what=st.sampled_from(NOTES))
    def a_worker_notes(self, which: int, what: str):
        claim = self.pick(self.claims, which)
        held = (claim.job.id, claim.job.token)
        match what:
            case "beat":
                self.tried(beat, *held, caller=WORKER)
            case "attempt":
                self.tried(note_attempt, *held, Usage(thread_id="thread-x"), "/attempts/1", caller=WORKER)
            case "commit" if claim.job.kind is JobKind.EXECUTE:
                self.tried(note_commit, *held, self.ground.sha(), self.ground.executed_well(), caller=WORKER)
            case "branch" if claim.job.kind is JobKind.EXECUTE and claim.plan is not None:
                self.tried(note_branch, *held, self.ground.sha(), self.ground.sha(), claim.plan, caller=WORKER)
            case _:
                pass

    @precondition(lambda self: self.running())
    @rule(which=nth)
    def a_worker_dies(self, which: int):
        job = self.pick(self.running(), which)
        assert self.tried(release, job.id, job.token, Lost(message="dead"), caller=WORKER)

    @rule(seconds=st.sampled_from([1, 10, 100, 100_000]))
    def time_passes(self, seconds: int):
        self.ground.wait(seconds)

    # at the end

    def teardown(self):
        for run in self.runs() if hasattr(self, "project") else ():
            if run.id % 2:
                self.tried(run_verbs.cancel_protocol, run.id)
            else:
                self.reach_an_end(run)
            assert self.ground.protocol(run.id).status.terminal

    def reach_an_end(self, run: Protocol):
        """By ordinary means, without a cancel: no status is a dead end."""
        for _ in range(200):
            run = self.ground.protocol(run.id)
            if run.status.terminal:
                return
            if run.phase is Phase.AWAITING_MERGE:
                self.tried(run_verbs.cancel_protocol, run.id)
                return
            assert self.moved_on(run), f"nothing helps: {self.ground.story(run.id)}"

    # what is there

    def runs(self) -> list[Protocol]:
        return self.ground.tx.load_all(Protocol, "SELECT * FROM protocol_runs ORDER BY id")

    def open_runs(self) -> list[Protocol]:
        return [run for run in self.runs() if not run.status.terminal]

    def steps(self) -> list[StepRun]:
        return self.ground.tx.load_all(StepRun, "SELECT * FROM step_runs ORDER BY id")

    def jobs(self) -> list[Job]:
        return self.ground.tx.load_all(Job, "SELECT * FROM jobs ORDER BY id DESC")

    def queued(self) -> list[Job]:
        return self.ground.tx.load_all(Job, "SELECT * FROM jobs WHERE state = 'queued' ORDER BY id")

    def running(self) -> list[Job]:
        return list(jobs.running(self.ground.tx))

    def pick(self, things: list[Any], which: int) -> Any:
        return things[which % len(things)]

    # how it is done

    def tried(self, verb: Callable[..., Any], *args: Any, caller: Any = None, **more: Any) -> Any:
        """The verb's answer, or None when it was refused; any other error is a bug, and so is a stale version."""
        run = self.ground.run if caller is None else lambda *given, **kw: self.ground.run_as(caller, *given, **kw)
        try:
            return run(verb, *args, **more)
        except PreconditionFailed as error:
            raise AssertionError("nobody else was there to change anything") from error
        except Refusal:
            assert caller is None, "a worker's verb is never refused"
            return None

    def ending(self, claim: Claim, how: str, shade: int) -> Ending:
        if how == "failed":
            return Failed(category=CATEGORIES[shade % len(CATEGORIES)], message="it broke", stderr_tail="tail")
        if how == "lost":
            return Lost(message="dead")
        if how == "stopped":
            return Stopped(message="parked")
        poor = how == "poor"
        match claim.job.kind:
            case JobKind.PLAN:
                return self.ground.plan_done(claim, 3, after={2: (1,)})
            case JobKind.EXECUTE:
                return self.ground.executed_well(**({"changed": False, "head_sha": None} if poor else {}))
            case JobKind.QA:
                assert claim.step is not None
                verdict = "pass" if not poor else "fail" if shade % 3 else "inconclusive"
                return self.ground.verdict(claim.step, verdict)
            case JobKind.OPEN_PR:
                return self.published(claim, pushed=not poor)
            case JobKind.DELIVERY:
                return self.read(claim, readable=not poor)
            case JobKind.SYNC:
                return self.looked(claim, shade)
            case _:
                return SetupDone(base_sha=self.ground.sha(), default_branch="main")

    def published(self, claim: Claim, *, pushed: bool = True) -> PublishDone:
        assert claim.protocol is not None
        run = self.ground.protocol(claim.protocol.id)
        pull = self.ground.pull_word(run, number=run.id * 10, draft=True) if run.id % 3 else None
        return PublishDone(sha=run.head_sha or "", pushed=pushed, note="pushed", pull=pull, comment="c")

    def read(self, claim: Claim, *, readable: bool = True) -> DeliveryDone:
        delivery = deliveries.expect(self.ground.tx, claim.job.delivery_id or 0)
        word, seen = self.said[delivery.delivery_key]
        said = Said(repository=REPO, word=word) if readable else None
        return DeliveryDone(said=said, seen=tuple(seen), reason=None if readable else "not JSON")

    def looked(self, claim: Claim, shade: int) -> SyncDone:
        assert claim.protocol is not None
        chance = random.Random(shade)
        seen = [self.word(claim.protocol, said, chance)[0] for said in SAID[: shade % 4]]
        return SyncDone(seen=tuple(seen), logs={"status:a": "boom"})

    def moved_on(self, run: Protocol) -> bool:
        """One thing that leads this protocol towards its end; whether there was one."""
        return self.work_of(run) or self.act_on(run)

    def work_of(self, run: Protocol) -> bool:
        """A worker takes and does well whatever of the protocol may start now; running jobs end first."""
        self.tried(resume_line)
        for job in jobs.open_of_protocol(self.ground.tx, run.id):
            if job.state is JobState.RUNNING:
                assert self.tried(release, job.id, job.token, Lost(message="dead"), caller=WORKER)
                return True
        for other in self.running():
            self.tried(release, other.id, other.token, Stopped(message="make room"), caller=WORKER)
        self.ground.wait(60)
        for job in self.ground.due():
            if job.protocol_id == run.id:
                claim = self.tried(claim_job, job.id, job.dispatch, "w2", caller=WORKER)
                if claim is not None:
                    self.tried(release, job.id, claim.job.token, self.good(claim), caller=WORKER)
                return True
        return False

    def good(self, claim: Claim) -> Ending:
        match claim.job.kind:
            case JobKind.PLAN:
                return self.ground.plan_done(claim, 2)
            case JobKind.EXECUTE:
                return self.ground.executed_well()
            case JobKind.QA:
                assert claim.step is not None
                return self.ground.verdict(claim.step)
            case JobKind.OPEN_PR:
                return self.published(claim)
            case JobKind.SYNC:
                return SyncDone()
            case _:
                return SetupDone(base_sha=self.ground.sha(), default_branch="main")

    def act_on(self, run: Protocol) -> bool:
        present = steps.of_protocol(self.ground.tx, run.id)
        waiting = [step for step in present if step.status is StepStatus.NEEDS_QA]
        failed = any(step.status is StepStatus.FAILED for step in present)
        match run.status:
            case ProtocolStatus.PENDING:
                return self.done(run_verbs.start_protocol, run.id, plan=not present)
            case ProtocolStatus.PAUSED:
                return self.done(run_verbs.resume_protocol, run.id)
            case ProtocolStatus.BLOCKED if run.reason is Reason.PLAN_FAILED:
                return self.done(run_verbs.start_protocol, run.id, plan=not present)
            case ProtocolStatus.BLOCKED if run.reason is Reason.STEP_FAILED:
                return self.done(run_verbs.retry_latest, run.id)
            case ProtocolStatus.BLOCKED:
                return self.done(run_verbs.unblock_protocol, run.id)
            case ProtocolStatus.PLANNED if run.phase is Phase.AWAITING_PLAN_APPROVAL:
                return self.done(run_verbs.approve_plan, run.id)
            case ProtocolStatus.PLANNED | ProtocolStatus.RUNNING:
                if waiting:
                    return self.done(step_verbs.approve_step, waiting[0].id, reason="fine")
                return self.done(run_verbs.retry_latest if failed else run_verbs.run_next_step, run.id)
            case _:
                return False

    def done(self, verb: Callable[..., Any], *args: Any, **more: Any) -> bool:
        return self.tried(verb, *args, **more) is not None


TestTraces = Traces.TestCase
TestTraces.settings = settings(
    max_examples=DEEP or 40,
    stateful_step_count=60 if DEEP else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


def a_long_trace(seed: int, moves: int) -> Traces:
    """The same moves by plain chance: Hypothesis shrinks well but wanders little."""
    chance = random.Random(seed)
    machine = Traces()

    def policy() -> dict[str, Any]:
        return {name: chance.choice(some) for name, some in POLICIES.items()}

    def which() -> int:
        return chance.randrange(1000)

    ways: list[tuple[int, Callable[[], None]]] = [
        (1, lambda: len(machine.open_runs()) < 3 and machine.open(policy(), chance.randrange(9))),
        (1, lambda: machine.somebody_acts_on_a_protocol(which(), chance.choice(PEOPLE))),
        (1, lambda: machine.steps() and machine.somebody_acts_on_a_step(which(), chance.choice(ON_STEPS))),
        (8, lambda: machine.somebody_does_what_is_allowed(which(), which())),
        (1, lambda: machine.somebody_ends_a_protocol(which(), chance.choice(ENDS), chance.randrange(10))),
        (1, lambda: machine.somebody_acts_on_a_job(chance.randrange(4), chance.choice(ON_JOBS))),
        (1, lambda: machine.somebody_acts_on_the_line(chance.choice(ON_THE_LINE))),
        (1, lambda: machine.the_natural_next_thing_happens(which())),
        (12, lambda: machine.the_forge_delivers(which(), chance.choice(SAID), which())),
        (1, machine.what_was_not_heard_of_for_long_is_polled),
        (4, lambda: machine.queued() and machine.a_worker_hears_the_bell(which(), chance.randrange(6))),
        (8, lambda: machine.ground.due() and machine.a_worker_does_a_job(which(), chance.choice(ENDINGS), which())),
        (4, lambda: machine.claims and machine.a_worker_releases(which(), chance.choice(ENDINGS), which())),
        (1, lambda: machine.claims and machine.a_worker_notes(which(), chance.choice(NOTES))),
        (1, lambda: machine.running() and machine.a_worker_dies(which())),
        (3, lambda: machine.time_passes(chance.choice([1, 10, 100, 100_000]))),
    ]
    machine.a_project(policy(), 3)
    for way in chance.choices([way for _, way in ways], [weight for weight, _ in ways], k=moves):
        way()
    machine.teardown()
    return machine


@pytest.mark.parametrize("seed", range(DEEP or 20))
def test_a_long_random_trace_keeps_the_invariants(seed: int):
    a_long_trace(seed, 250)
