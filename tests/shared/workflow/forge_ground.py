"""A ground with a forge: what it delivers and what it says when it is asked, as words, and the jobs that bring them."""

from collections.abc import Sequence
from typing import Any

from shared.repository import deliveries
from shared.schemas.forge import BranchWord, CiWord, PullWord, Repository, Said, Word
from shared.schemas.records import Delivery, Gate, Job, Project, Protocol, StepRun
from shared.schemas.reports import DeliveryDone, PublishDone, SyncDone
from shared.schemas.statuses import DeliveryStatus, GateName, JobKind, Outcome, Provider, PullState
from shared.workflow.deliveries import receive_delivery
from shared.workflow.gates import gate_of
from shared.workflow.jobs import claim_job
from shared.workflow.protocols import start_protocol
from shared.workflow.steps import run_step
from shared.workflow.sync import sync_protocol
from shared.workflow.unit import Rules, Unit
from tests.shared.workflow.ground import WORKER, Ground

REPO = Repository(id="7", full_name="octo/demo", host="github.com")
SETTLE_S = 60
PASS, FAIL, RUNNING = Outcome.PASS, Outcome.FAIL, Outcome.RUNNING


class ForgeGround(Ground):
    """One project at GitHub, registered as `octo/demo` with the id 7; `number` counts its deliveries."""

    def __init__(self, rules: Rules | None = None, *, provider: Provider = Provider.GITHUB, **project: Any) -> None:
        super().__init__(rules)
        self.number = 0
        url = f"https://{provider}.com/octo/demo.git"
        fields: dict[str, Any] = {"git_url": url, "ci_provider": provider, "repository_id": "7"}
        self.home: Project = self.project("octo", **(fields | project))

    # what there is

    def planned_here(self, count: int = 1, **policy: Any) -> Protocol:
        """A planned protocol whose PR is opened only when that is asked for, unless the policy says otherwise."""
        policy = {"open_pr": "asked", "ci_settle_s": SETTLE_S} | policy
        protocol = self.run(start_protocol, self.opened(project=self.home, **policy).id)
        self.plan(protocol.id, count)
        return self.protocol(protocol.id)

    def executed_here(self, count: int = 1, **policy: Any) -> StepRun:
        step = self.step(self.planned_here(count, **policy), 1)
        self.run(run_step, step.id)
        self.execute(step)
        return self.fresh(step)

    def with_pull(self, protocol: Protocol, number: int = 5) -> Protocol:
        """The protocol with an open PR, as its delivery tells."""
        self.deliver(self.pull_word(protocol, number=number))
        return self.protocol(protocol.id)

    def ci(self, step: StepRun) -> Gate | None:
        unit = Unit(self.tx, WORKER, self.rules, lambda: 0.5)
        return gate_of(unit, self.fresh(step), GateName.CI)

    def ci_state(self, step: StepRun) -> str | None:
        gate = self.ci(step)
        return None if gate is None else gate.state

    # words

    def ci_word(self, sha: str | None, outcome: Outcome = PASS, name: str = "build", **changes: Any) -> CiWord:
        fields: dict[str, Any] = {
            "sha": sha,
            "branch": None,
            "scope": "status",
            "name": name,
            "context": f"status:{name}",
            "outcome": outcome,
            "at": self.now,
            "url": f"https://ci/{name}",
        }
        return CiWord(**(fields | changes))

    def pull_word(self, protocol: Protocol, state: str = "open", **changes: Any) -> PullWord:
        fields: dict[str, Any] = {
            "number": 5,
            "state": PullState(state),
            "branch": protocol.branch,
            "base": protocol.base_branch,
            "sha": protocol.head_sha,
            "at": self.now,
            "url": "https://github.com/octo/demo/pull/5",
        }
        return PullWord(**(fields | changes))

    def branch_word(self, protocol: Protocol, after: str | None) -> BranchWord:
        return BranchWord(branch=protocol.branch, before=protocol.pushed_sha, after=after)

    # deliveries and polls

    def deliver(
        self,
        word: Word,
        *,
        seen: Sequence[Word] = (),
        hook_id: int | None = None,
        provider: Provider | None = None,
        **said: Any,
    ) -> Delivery:
        """Store a delivery that says this, and apply it."""
        self.number += 1
        stored, _ = self.run(receive_delivery, self.a_delivery(provider or self.home.ci_provider, hook_id))
        (job,) = self.rung
        claim = self.run_as(WORKER, claim_job, job.id, job.dispatch, "w1")
        assert claim is not None
        told: dict[str, Any] = {"repository": REPO} | said
        self.end(claim, DeliveryDone(said=Said(word=word, **told), seen=tuple(seen)))
        return deliveries.expect(self.tx, stored.id)

    def settle(self, protocol_id: int, *seen: Word, seconds: float = SETTLE_S, **report: Any) -> Job:
        """Let the window pass; the sync that waits for it looks, and sees this."""
        self.wait(seconds)
        job = self.only_job(protocol_id, JobKind.SYNC)
        assert job.id in {due.id for due in self.due()}
        self.end(self.claim(protocol_id, JobKind.SYNC), SyncDone(seen=seen, **report))
        return self.job(job.id)

    def sync(self, protocol_id: int, *seen: Word, **report: Any) -> None:
        """Somebody asks to look now, and this is seen."""
        self.run(sync_protocol, protocol_id)
        self.end(self.claim(protocol_id, JobKind.SYNC), SyncDone(seen=seen, **report))

    def publish(self, protocol_id: int, **report: Any) -> None:
        """The publish job that waits is done."""
        claim = self.claim(protocol_id, JobKind.OPEN_PR)
        sha = self.protocol(protocol_id).head_sha or ""
        told: dict[str, Any] = {"sha": sha, "pushed": True, "note": "pushed"} | report
        self.end(claim, PublishDone(**told))

    def a_delivery(self, provider: Provider | None, hook_id: int | None) -> Delivery:
        return Delivery(
            id=0,
            provider=provider or Provider.GITHUB,
            hook_id=hook_id,
            delivery_key=f"key {self.number}",
            event="status",
            headers={},
            body=b"{}",
            body_sha256=f"body {self.number}",
            project_id=None,
            protocol_id=None,
            step_id=None,
            status=DeliveryStatus.RECEIVED,
            reason=None,
            effect=None,
            received_at=0,
            applied_at=None,
        )
