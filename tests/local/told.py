"""A sample that was repaired by two steps, and the scene of it as the API would have told it."""

from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec

from services.local.demo.check import Findings, find_out, run_tests
from services.local.demo.scene import Scene
from services.local.samples.sample import SamplePaths, make_sample
from shared.schemas.answers import AttemptAnswer, EventAnswer, ProtocolAnswer, StepAnswer
from tests.e2e.repositories import git

OPENED = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
THREAD = "01a202d1-e232-7da0-a02a-b4a1e690703d"
STORY = (
    ("protocol_opened", None, None, None),
    ("planning_enqueued", None, "pending", "planning"),
    ("planning_started", None, None, None),
    ("planned", None, "planning", "planned"),
    ("protocol_started", None, "planned", "running"),
    ("step_enqueued", 1, None, None),
    ("step_started", 1, "pending", "running"),
    ("step_completed", 1, "running", "needs_qa"),
    ("qa_enqueued", 1, None, None),
    ("qa_started", 1, None, None),
    ("qa_passed", 1, None, None),
    ("step_done", 1, "needs_qa", "completed"),
    ("protocol_completed", None, "running", "completed"),
)


def filled(kind: type[Any], **known: Any) -> Any:
    """An answer of the API whose other fields are empty; names are those of the wire."""
    plain: dict[str, Any] = {"depends_on": [], "allowed_actions": [], "policy": {}, "usage": {}, "metadata": {}}
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if field.encode_name in known or field.name in known:
            values[field.encode_name] = known.get(field.encode_name, known.get(field.name))
        elif field.name in plain:
            values[field.encode_name] = plain[field.name]
        elif field.required:
            values[field.encode_name] = _empty(field.type)
    return msgspec.convert(values, kind, strict=False)


def _empty(kind: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind)).value
    for value in (None, "x", 0, OPENED, []):
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError:
            continue
        return value
    raise AssertionError(kind)


def scene_of(first: str = "a" * 40, second: str = "b" * 40) -> Scene:
    """A run of two steps that is completed; their commits are given."""
    scene = Scene()
    usage = {"input_tokens": 90, "output_tokens": 10}
    both = {"input_tokens": 180, "output_tokens": 20}
    known = {"id": 1, "status": "completed", "branch": "0001-x", "head_sha": second, "usage": both}
    scene.protocol = filled(ProtocolAnswer, **known)
    scene.steps = tuple(
        filled(StepAnswer, id=number, protocol_run_id=1, step_index=number, status="completed", head_sha=sha)
        for number, sha in ((1, first), (2, second))
    )
    scene.attempts = {
        number: filled(
            AttemptAnswer,
            id=number,
            step_run_id=number,
            job_type="execute_step_job",
            state="succeeded",
            thread_id=THREAD,
            usage=usage,
        )
        for number in (1, 2)
    }
    lines = [*STORY[:-1], *((each[0], 2, each[2], each[3]) for each in STORY if each[1]), STORY[-1]]
    scene.events = tuple(
        filled(
            EventAnswer,
            id=number,
            event_type=event_type,
            entity="protocol" if step is None else "step",
            protocol_run_id=1,
            step_run_id=step,
            from_status=before,
            to_status=after,
            created_at=OPENED + timedelta(seconds=number),
        )
        for number, (event_type, step, before, after) in enumerate(lines, start=1)
    )
    return scene


class Told:
    """A sample that was repaired by two steps, as the scene of it tells."""

    def __init__(self, folder: Path) -> None:
        self.sample: SamplePaths = make_sample(folder / "sample")
        self.workspaces = folder / "workspaces"
        self.before = run_tests(self.sample, "main")
        clone = self.sample.repository
        git(clone, "checkout", "-q", "-b", "0001-x")
        split = clone / "tabsplit" / "split.py"
        split.write_text(
            split.read_text().replace(
                "share = round(cents / people)\n    return [share] * people",
                "share, odd = divmod(cents, people)\n    return [share + 1] * odd + [share] * (people - odd)",
            )
        )
        self.commit("fix: lose no cent", "tabsplit", step=1, attempt=1)
        (clone / "NOTES").write_text("more\n")
        self.commit("docs: say it", "NOTES", step=2, attempt=2)
        self.heads = git(self.sample.origin, "log", "--reverse", "--format=%H", "main..0001-x").split()

    def commit(self, subject: str, path: str, *, step: int, attempt: int) -> None:
        trailers = (
            f"Deksdenflow-Run: 1\nDeksdenflow-Step: {step}\nDeksdenflow-Attempt: {attempt}\nCodex-Thread: {THREAD}"
        )
        git(self.sample.repository, "add", path)
        git(self.sample.repository, "commit", "-q", "-m", f"{subject}\n\n{trailers}")
        git(self.sample.repository, "push", "-q", "origin", "0001-x")

    def scene(self) -> Scene:
        return scene_of(*self.heads)

    def findings(self, scene: Scene | None = None) -> Findings:
        return find_out(scene or self.scene(), self.sample, self.before, self.workspaces)
