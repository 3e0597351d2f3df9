"""Any order and any duplication of the deliveries of one commit ends the same, whatever strangers say in between."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.forges import read_delivery
from shared.schemas.forge import CiWord, Said
from shared.schemas.records import StepRun
from shared.schemas.reports import SyncDone
from shared.schemas.statuses import JobKind, Outcome, Provider
from shared.workflow.steps import approve_step
from tests.fakes.deliveries import (
    NOON_MS,
    Repo,
    Sent,
    github_pull_request,
    github_status,
    github_workflow_run,
    gitlab_pipeline,
)
from tests.shared.workflow.forge_ground import REPO, SETTLE_S, ForgeGround

STRANGE = "e" * 40
SCOPES = ["status", "workflow_run", "check_suite", "check_run"]
POLICIES: list[dict[str, Any]] = [
    {},
    {"ci_completes_step": True},
    {"auto_fix": 1},
    {"auto_qa_on_ci": True},
    {"judged_by": "qa_and_approval"},
]
REQUIRED: list[dict[str, Any]] = [
    {"required_contexts": ["a"]},
    {"required_contexts": ["a", "b"], "ci_completes_step": True},
    {"required_contexts": ["a", "never"]},
]

words = st.builds(
    lambda name, scope, outcome, run, attempt, at: {
        "name": name,
        "scope": scope,
        "context": f"{scope}:{name}",
        "outcome": outcome,
        "run_id": run,
        "run_attempt": attempt,
        "at": at,
    },
    st.sampled_from("abc"),
    st.sampled_from(SCOPES),
    st.sampled_from(Outcome),
    st.integers(1, 2),
    st.integers(1, 2),
    st.integers(0, 1),
)
strangers = st.lists(st.sampled_from(["commit", "fork", "repository", "twin"]), max_size=3)


class Case:
    """One step of a ground of its own; what is delivered to it comes within the window."""

    def __init__(self, policy: dict[str, Any], *, completed: bool, **project: Any) -> None:
        self.ground = ForgeGround(**project)
        self.step: StepRun = self.ground.executed_here(2, **policy)
        if completed:
            self.ground.run(approve_step, self.step.id, reason="I looked" if policy.get("required_contexts") else None)

    def hear(self, said: Sequence[Any]) -> None:
        for one in said:
            if isinstance(one, str):
                self.stranger(one)
            else:
                self.ground.deliver(CiWord(sha=self.step.head_sha or "", branch=None, **one))

    def stranger(self, kind: str) -> None:
        red = self.ground.ci_word(self.step.head_sha, Outcome.FAIL, branch=self.ground.of(self.step).branch)
        match kind:
            case "commit":
                self.ground.deliver(replace(red, sha=STRANGE))
            case "fork":
                self.ground.deliver(red, from_fork=True)
            case "repository":
                self.ground.deliver(red, repository=replace(REPO, id="8"))
            case _:
                pull = self.ground.pull_word(self.ground.of(self.step), "merged")
                self.ground.deliver(pull, repository=replace(REPO, id="8", full_name="octo/twin"))

    def settled(self) -> None:
        """Every sync that time makes due is done, until time changes nothing any more."""
        run = self.step.protocol_id
        for _ in range(5):
            self.ground.wait(SETTLE_S)
            for job in self.ground.due():
                if job.kind is JobKind.SYNC:
                    self.ground.end(self.ground.claim(run, JobKind.SYNC), SyncDone())
        assert self.ground.open_jobs(run, JobKind.SYNC) == []

    def gate(self) -> Any:
        gate = self.ground.ci(self.step)
        return None if gate is None else (gate.state, gate.summary, gate.url, gate.evidence)

    def stand(self) -> Any:
        step, run = self.ground.fresh(self.step), self.ground.of(self.step)
        jobs = sorted(job.kind for job in self.ground.open_jobs(run.id))
        return (step.status, step.reason, step.phase, step.repairs, run.status, run.reason, jobs)


def ends(policy: dict[str, Any], said: Sequence[Any], *, completed: bool) -> Case:
    case = Case(policy, completed=completed)
    case.hear(said)
    case.settled()
    return case


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    said=st.lists(words, min_size=1, max_size=5),
    foreign=strangers,
    policy=st.sampled_from([*POLICIES, *REQUIRED]),
    completed=st.booleans(),
    data=st.data(),
)
def test_any_order_and_any_duplication_ends_the_same(
    said: list[Any], foreign: list[str], policy: dict[str, Any], completed: bool, data: st.DataObject
):
    again = data.draw(st.lists(st.sampled_from(said), max_size=3))
    other = data.draw(st.permutations([*said, *again, *foreign]))
    one, two = ends(policy, said, completed=completed), ends(policy, other, completed=completed)
    assert one.gate() == two.gate()
    if "required_contexts" not in policy:
        assert one.stand() == two.stand()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(said=st.lists(words, min_size=1, max_size=4), policy=st.sampled_from([*POLICIES, *REQUIRED]))
def test_red_blocks_in_the_end_and_nothing_else_does(said: list[Any], policy: dict[str, Any]):
    for completed in (False, True):
        case = ends(policy, said, completed=completed)
        run, step = case.ground.of(case.step), case.ground.fresh(case.step)
        red = case.ground.ci_state(case.step) == "failed"
        stopped = run.status == "blocked" or step.reason == "repair"
        overridden = completed and step.reason == "overridden"
        assert stopped == (red and not overridden)


REPO_BYTES = {"github": Repo(7, "octo/demo"), "gitlab": Repo(7, "octo/demo", "gitlab.com")}


def heard(ground: ForgeGround, sent: Sent) -> None:
    """The bytes as they come over the wire, read and applied."""
    headers = sent.headers("secret")
    said: Said = read_delivery(Provider(sent.provider), sent.event, headers, sent.body)
    ground.deliver(said.word, repository=said.repository, from_fork=said.from_fork, protocol_id=said.protocol_id)


@pytest.mark.parametrize("order", [1, -1])
def test_the_bytes_of_github_mean_the_same_in_both_orders(order: int):
    ground, repo = ForgeGround(), REPO_BYTES["github"]
    step = ground.executed_here(ci_completes_step=True)
    sha, branch = step.head_sha or "", ground.of(step).branch
    fork = Repo(99, "stranger/demo")
    sent = [
        github_workflow_run(repo, branch=branch, sha=sha, outcome="failure", run_id=1),
        github_workflow_run(
            repo, branch=branch, sha=sha, outcome="in_progress", run_id=1, attempt=2, at=NOON_MS + 1000
        ),
        github_workflow_run(repo, branch=branch, sha=sha, outcome="success", run_id=1, attempt=2, at=NOON_MS + 9000),
        github_workflow_run(repo, branch=branch, sha=sha, outcome="failure", run_id=2, head_repo=fork),
        github_workflow_run(Repo(8, "octo/other"), branch=branch, sha=sha, outcome="failure"),
        github_status(repo, sha=sha),
        github_status(repo, sha=STRANGE, outcome="failure"),
        github_pull_request(repo, number=9, branch=branch, sha=sha, head_repo=fork, action="closed", merged=True),
    ]
    for one in [*sent[::order], sent[0]]:
        heard(ground, one)
    ground.settle(step.protocol_id)
    assert (ground.ci_state(step), ground.of(step).status) == ("passed", "completed")


@pytest.mark.parametrize("order", [1, -1])
def test_the_bytes_of_gitlab_mean_the_same_in_both_orders(order: int):
    ground, repo = ForgeGround(provider=Provider.GITLAB), REPO_BYTES["gitlab"]
    step = ground.executed_here()
    sha, branch = step.head_sha or "", ground.of(step).branch
    sent = [
        gitlab_pipeline(repo, branch=branch, sha=sha, status="running", pipeline_id=1),
        gitlab_pipeline(repo, branch=branch, sha=sha, status="success", pipeline_id=1, at=NOON_MS + 5000),
        gitlab_pipeline(repo, branch=branch, sha=sha, status="failed", pipeline_id=2, at=NOON_MS + 9000),
        gitlab_pipeline(Repo(8, "octo/other", "gitlab.com"), branch=branch, sha=sha, status="success", pipeline_id=3),
        gitlab_pipeline(repo, branch=branch, sha=STRANGE, status="success", pipeline_id=4),
    ]
    for one in [*sent[::order], sent[1]]:
        heard(ground, one)
    ground.settle(step.protocol_id)
    assert (ground.ci_state(step), ground.fresh(step).reason) == ("failed", "ci_failed")
