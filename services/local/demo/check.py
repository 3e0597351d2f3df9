"""Checks what the demo claims, with git and the sample's own tests: nothing is believed because the API said so."""

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from services.local.demo.scene import Scene
from services.local.samples.sample import SamplePaths
from services.worker.codex.leftovers import RUN_VARIABLE, scope_of
from shared.schemas.answers import EventAnswer, StepAnswer
from shared.schemas.statuses import AttemptState, EventType, JobKind, ProtocolStatus, StepStatus

_TESTS_TIMEOUT_S = 300
_GIT_TIMEOUT_S = 60
_MIN_CODE_STEPS = 2
_OWN_FILES = ":(exclude).protocols"


class Check(msgspec.Struct, frozen=True):
    """One claim, whether it holds, and what was seen."""

    claim: str
    holds: bool
    seen: str


class SuiteRun(msgspec.Struct, frozen=True):
    """The sample's own tests in a fresh clone: how many there were, and how that ended."""

    commit: str
    passed: bool
    count: int
    outcome: str
    output: str


class PushedCommit(msgspec.Struct, frozen=True):
    """A commit as it lies on the origin; `code_files` counts what it changed outside of the protocol's own folder."""

    sha: str
    subject: str
    trailers: dict[str, str]
    code_files: int


class Findings(msgspec.Struct, frozen=True):
    """Everything that was found out at the end."""

    commits: tuple[PushedCommit, ...]
    diff_stat: str
    before: SuiteRun
    after: SuiteRun
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """The claims that do not hold."""
        return tuple(check for check in self.checks if not check.holds)


def find_out(scene: Scene, sample: SamplePaths, before: SuiteRun, workspaces: Path) -> Findings:
    """Look at everything; takes a second, and runs git and the sample's tests as processes."""
    base_sha = before.commit
    branch = scene.protocol.branch if scene.protocol else ""
    commits = pushed_commits(sample.origin, base_sha, branch)
    after = run_tests(sample, branch)
    checks = (
        _completed(scene),
        _one_commit_per_step(scene, commits),
        _trailers(scene, commits),
        _code_changed(commits),
        _same_head(scene, sample, branch),
        Check("the base branch is untouched", head_of(sample.origin, sample.base_branch) == base_sha, base_sha[:10]),
        Check("the sample's tests failed before", not before.passed and before.count > 0, before.outcome),
        Check("they pass in a fresh clone of the branch", after.passed and after.count >= before.count, after.outcome),
        _events_chain(scene),
        _story_is_whole(scene),
        _tokens(scene),
        _no_process_left(workspaces),
    )
    stat = git(sample.origin, "diff", "--stat=100", base_sha, branch, "--", _OWN_FILES) if commits else ""
    return Findings(commits=commits, diff_stat=stat, before=before, after=after, checks=checks)


def head_of(origin: Path, branch: str) -> str:
    """Where a branch of the origin is; empty when there is no such branch."""
    return git(origin, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}").strip()


def pushed_commits(origin: Path, base_sha: str, branch: str) -> tuple[PushedCommit, ...]:
    """The commits that the branch has on top of the base, oldest first."""
    if not branch or not head_of(origin, branch):
        return ()
    listed = git(
        origin, "log", "--reverse", "--format=%H%x1f%s%x1f%(trailers:only,unfold)%x1e", f"{base_sha}..{branch}"
    )
    return tuple(_commit(origin, entry.strip()) for entry in listed.split("\x1e") if entry.strip())


def _commit(origin: Path, entry: str) -> PushedCommit:
    sha, subject, trailers = entry.split("\x1f")
    pairs = (line.partition(": ") for line in trailers.splitlines() if line.strip())
    changed = git(origin, "diff-tree", "--no-commit-id", "--name-only", "-r", sha, "--", ".", _OWN_FILES)
    return PushedCommit(sha, subject, {key: value for key, _, value in pairs}, len(changed.splitlines()))


def run_tests(sample: SamplePaths, branch: str) -> SuiteRun:
    """Clone the branch from the origin into a folder of its own and run the sample's tests there."""
    with tempfile.TemporaryDirectory(prefix="deksdenflow-demo-") as folder:
        clone = Path(folder, "clone")
        try:
            git(Path(folder), "clone", "--quiet", "--branch", branch, "--", str(sample.origin), str(clone))
            commit = git(clone, "rev-parse", "HEAD").strip()
            run = _run(sample.test_command, clone, _TESTS_TIMEOUT_S)
        except (OSError, subprocess.SubprocessError) as error:
            return SuiteRun("", passed=False, count=0, outcome=f"could not be run: {error}", output="")
    output = run.stdout + run.stderr
    count = re.search(r"^Ran (\d+) tests?", output, re.MULTILINE)
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "no output")
    number = int(count[1]) if count else 0
    return SuiteRun(commit, run.returncode == 0, number, f"{number} tests: {last.strip()}", output)


def git(folder: Path, *arguments: str) -> str:
    """What git says, without the person's own settings; CalledProcessError when it fails."""
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C.UTF-8"}
    run = _run(("git", *arguments), folder, _GIT_TIMEOUT_S, alone)
    run.check_returncode()
    return run.stdout


def _run(
    command: Sequence[str], folder: Path, timeout_s: float, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "DEKSDENFLOW_"))}
    return subprocess.run(
        command,
        cwd=folder,
        env=kept | dict(more or {}),
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        stdin=subprocess.DEVNULL,
    )


def _completed(scene: Scene) -> Check:
    protocol = scene.protocol
    done = [step for step in scene.steps if step.status is StepStatus.COMPLETED]
    holds = protocol is not None and protocol.status is ProtocolStatus.COMPLETED and len(done) == len(scene.steps) > 0
    seen = "not opened" if protocol is None else f"{protocol.status}, {len(done)} of {len(scene.steps)} steps completed"
    return Check("the protocol run and every step are completed", holds, seen)


def _one_commit_per_step(scene: Scene, commits: Sequence[PushedCommit]) -> Check:
    on_origin = [commit.sha for commit in commits]
    heads = [step.head_sha or "" for step in scene.steps]
    missing = [sha for sha in heads if sha not in on_origin]
    order = [sha for sha in on_origin if sha in heads]
    holds = bool(heads) and not missing and order == heads
    return Check("each step's commit is on the origin, in order", holds, ", ".join(sha[:10] for sha in heads))


def _trailers(scene: Scene, commits: Sequence[PushedCommit]) -> Check:
    by_sha = {commit.sha: commit.trailers for commit in commits}
    wrong = [step.step_index for step in scene.steps if by_sha.get(step.head_sha or "") != _expected(scene, step)]
    seen = f"wrong in step {wrong[0]}" if wrong else "run, step, attempt and Codex thread"
    return Check("their trailers name what the API names", bool(scene.steps) and not wrong, seen)


def _expected(scene: Scene, step: StepAnswer) -> dict[str, str]:
    made = (
        attempt
        for attempt in reversed(scene.attempts_of(step.id))
        if attempt.kind is JobKind.EXECUTE and attempt.state is AttemptState.SUCCEEDED
    )
    attempt = next(made, None)
    return {
        "Deksdenflow-Run": str(step.protocol_id),
        "Deksdenflow-Step": str(step.id),
        "Deksdenflow-Attempt": str(attempt.id if attempt else ""),
        "Codex-Thread": (attempt.thread_id if attempt else None) or "",
    }


def _code_changed(commits: Sequence[PushedCommit]) -> Check:
    changing = [commit for commit in commits if commit.code_files]
    return Check(
        "two steps or more changed the code", len(changing) >= _MIN_CODE_STEPS, f"{len(changing)} commits change files"
    )


def _same_head(scene: Scene, sample: SamplePaths, branch: str) -> Check:
    head = head_of(sample.origin, branch) if branch else ""
    said = scene.protocol.head_sha if scene.protocol else None
    return Check("the origin's branch is where the API says", bool(head) and head == said, head[:10] or "no branch")


def _events_chain(scene: Scene) -> Check:
    """Each change of a status begins where the one before ended, and the last one ends at the present status."""
    now = {("protocol", scene.protocol.id): str(scene.protocol.status)} if scene.protocol else {}
    now |= {("step", step.id): str(step.status) for step in scene.steps}
    last = dict.fromkeys(now, "pending")
    changes = 0
    for event in scene.events:
        if event.from_status is None or event.to_status is None:
            continue
        key = (event.entity, (event.step_id if event.entity == "step" else event.protocol_id) or 0)
        if last.get(key) != event.from_status:
            return _chain(holds=False, seen=f"event {event.id} ({event.event_type}) comes from {event.from_status}")
        last[key] = event.to_status
        changes += 1
    return _chain(holds=last == now and changes > 0, seen=f"{changes} changes of status in {len(scene.events)} events")


def _chain(*, holds: bool, seen: str) -> Check:
    return Check("every change of a status has its event", holds, seen)


_OF_THE_PROTOCOL = (
    EventType.PROTOCOL_OPENED,
    EventType.PLANNING_ENQUEUED,
    EventType.PLANNING_STARTED,
    EventType.PLANNED,
    EventType.PROTOCOL_STARTED,
    EventType.PROTOCOL_COMPLETED,
)
_OF_A_STEP = (
    EventType.STEP_ENQUEUED,
    EventType.STEP_STARTED,
    EventType.STEP_COMPLETED,
    EventType.QA_ENQUEUED,
    EventType.QA_STARTED,
    EventType.QA_PASSED,
    EventType.STEP_DONE,
)


def _story_is_whole(scene: Scene) -> Check:
    def lacks(expected: Sequence[EventType], concerns: Callable[[EventAnswer], bool]) -> list[EventType]:
        there = {event.event_type for event in scene.events if concerns(event)}
        return [each for each in expected if each not in there]

    missing = lacks(_OF_THE_PROTOCOL, lambda _: True)
    for step in scene.steps:
        missing += lacks(_OF_A_STEP, lambda event, step_id=step.id: event.step_id == step_id)
    seen = f"there is no {missing[0]}" if missing else "planned, executed, judged, completed"
    return Check("the timeline tells the whole story", not missing, seen)


def _tokens(scene: Scene) -> Check:
    said = scene.protocol.usage.input_tokens + scene.protocol.usage.output_tokens if scene.protocol else 0
    return Check("the tokens of all attempts add up", scene.tokens == said > 0, f"{said:,} tokens")


def _no_process_left(workspaces: Path) -> Check:
    left = agent_processes(workspaces)
    seen = f"process {left[0]} still runs" if left else "none carries a run's mark"
    return Check("no agent process is left", not left, seen)


def agent_processes(workspaces: Path) -> list[int]:
    """The processes that carry the mark of a run of these workspaces in their environment."""
    mark = f"{RUN_VARIABLE}={scope_of(workspaces)}:".encode()
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environ = (entry / "environ").read_bytes()
        except OSError:
            continue
        if any(each.startswith(mark) for each in environ.split(b"\0")):
            found.append(int(entry.name))
    return sorted(found)
