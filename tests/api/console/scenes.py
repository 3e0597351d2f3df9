"""Scenes for the pages of protocols, steps and attempts: a run in the middle of its work, harmless or hostile."""

import json
from pathlib import Path
from typing import Any

from services.api.attempt_files import Part
from shared.schemas.reports import Claim, ExecutionDone, PlanDone, PlannedStep, QaDone, Usage
from shared.schemas.statuses import JobKind, StepType
from shared.workflow import plan_files
from shared.workflow.jobs import note_attempt, note_commit
from tests.api.house import ADMIN, WORKER, House

TASK = "Add a **dark theme** to the shop.\n\nIt follows the system, and can be chosen."
PLAN = """# Dark theme

We keep every colour in one place first, then add a second palette.

1. Collect the colours as variables
2. Add the dark palette
3. Let people choose, and remember it

| part | risk |
|---|---|
| palette | low |
| switch | `localStorage` may be off |
"""
# A line of a patch that stays, and is empty, is one space.
DIFF = """diff --git a/src/theme.py b/src/theme.py
index 1111111..2222222 100644
--- a/src/theme.py
+++ b/src/theme.py
@@ -1,6 +1,9 @@ import os
 import os
~
-LIGHT = {"text": "#111"}
+LIGHT = {"text": "#111", "page": "#fff"}
+DARK = {"text": "#eee", "page": "#111"}  # the system's choice, until somebody says otherwise
~
~
-def palette() -> dict[str, str]:
-    return LIGHT
+def palette(dark: bool) -> dict[str, str]:
+    \"\"\"The colours of a page.\"\"\"
+    return DARK if dark else LIGHT
diff --git a/tests/test_theme.py b/tests/test_theme.py
new file mode 100644
index 0000000..3333333
--- /dev/null
+++ b/tests/test_theme.py
@@ -0,0 +1,5 @@
+from theme import palette
+
+
+def test_dark() -> None:
+    assert palette(dark=True)["page"] == "#111"
""".replace("~", " ")
FINDING = {"severity": "major", "file": "src/theme.py", "message": "The contrast of links on the dark page is 2.9."}
TITLES = ("Collect the colours", "Add the dark palette", "Let people choose")


def event(kind: str, **item: Any) -> str:
    """A line of Codex's event file: an item that is over."""
    return json.dumps({"type": "item.completed", "item": {"id": "item_1", "type": kind, **item}})


def command(text: str, output: str, code: int = 0) -> str:
    return event("command_execution", command=text, aggregated_output=output, exit_code=code, status="completed")


def message(text: str) -> str:
    return event("agent_message", text=text)


WORK = (
    json.dumps({"type": "thread.started", "thread_id": "0190c0de-7e57-7000-8000-00000000beef"}),
    event("reasoning", text="**Looking at the colours**\n\nThey are in one file."),
    command("grep -rn '#111' src", 'src/theme.py:3:LIGHT = {"text": "#111"}\n'),
    message("I collect the colours in `src/theme.py` and add a **dark** palette beside the light one."),
    event("file_change", changes=[{"path": "src/theme.py", "kind": "update"}, {"path": "tests/t.py", "kind": "add"}]),
    command("python -m pytest -q", "\x1b[32m12 passed\x1b[0m in 0.41s\n"),
    command("ruff check", "src/theme.py:4:80: E501 Line too long\n", 1),
)


def files(house: House, name: str, **parts: str) -> str:
    """The folder of an attempt with these files."""
    folder: Path = house.settings.workspaces_dir / "attempts" / name
    folder.mkdir(parents=True)
    for part, text in parts.items():
        (folder / Part[part].value).write_text(text)
    return str(folder)


async def planned(house: House, project_id: int, *titles: str, plan_md: str = PLAN, **fields: Any) -> int:
    """A protocol run with a plan of these steps, each with some words about it."""
    run = await house.protocol(project_id, **({"description": TASK} | fields))
    await house.client.post(f"/protocols/{run}/actions/start", headers=ADMIN)
    claim = await house.claim(JobKind.PLAN)
    assert claim.protocol is not None
    steps = tuple(
        PlannedStep(
            title=title, type=StepType.WORK, instructions=f"Do **{title}**.\n\n- small\n- tested", depends_on=()
        )
        for title in titles or TITLES
    )
    lines = [
        plan_files.Line(number, step.title, step.type, step.instructions, step.depends_on)
        for number, step in enumerate(steps, 1)
    ]
    plan = plan_files.compose(
        claim.protocol,
        revision=1,
        summary="Three small steps: collect, add, choose.",
        plan_md=plan_md,
        context_md="# Context",
        lines=lines,
        now=0,
    )
    await house.end(claim, PlanDone(plan=plan, steps=steps, start_sha="0" * 40, head_sha="1" * 40, pushed=False))
    return run


async def begin(house: House, run: int, directory: str) -> Claim:
    """The next step, with an agent at work on it."""
    await house.client.post(f"/protocols/{run}/actions/run_next_step", headers=ADMIN)
    claim = await house.claim(JobKind.EXECUTE)
    await house.flow.run(WORKER, note_attempt, claim.job.id, claim.job.token, Usage(thread_id="t1"), directory)
    return claim


async def finish(house: House, claim: Claim, sha: str, summary: str = "The colours are in one place.") -> int:
    """The step after its execution."""
    report = ExecutionDone(summary=summary, changed=True, head_sha=sha, pushed=False, files=2, additions=9, deletions=3)
    await house.flow.run(WORKER, note_commit, claim.job.id, claim.job.token, sha, report)
    await house.end(claim, report)
    assert claim.job.step_id is not None
    return claim.job.step_id


async def judged(house: House, step: int, sha: str, verdict: str, **more: Any) -> None:
    """The step after QA."""
    await house.client.post(f"/steps/{step}/actions/run_qa", headers=ADMIN)
    claim = await house.claim(JobKind.QA)
    report = QaDone(sha=sha, verdict=verdict, summary="I ran the tests and looked at every page.", **more)  # pyright: ignore[reportArgumentType]
    await house.end(claim, report)


async def busy(house: House, project_id: int) -> tuple[int, Claim]:
    """A run whose first step is done and whose second has an agent at work."""
    run = await planned(house, project_id)
    folder = files(
        house, "one", EVENTS="\n".join(WORK) + "\n", PROMPT="# Do it\n\nIn small steps.", DIFF=DIFF, BRANCH=DIFF
    )
    step = await finish(house, await begin(house, run, folder), "a" * 40)
    await judged(house, step, "a" * 40, "pass")
    return run, await begin(house, run, files(house, "two", EVENTS="\n".join(WORK) + "\n", STDERR="a warning\n"))


async def refused(house: House, project_id: int) -> tuple[int, int]:
    """A run whose first step QA refused; the step."""
    run = await planned(house, project_id)
    folder = files(house, "refused", EVENTS="\n".join(WORK) + "\n", DIFF=DIFF, BRANCH=DIFF)
    step = await finish(house, await begin(house, run, folder), "c" * 40)
    await judged(house, step, "c" * 40, "fail", findings=(FINDING,), next_actions=("Raise the contrast",))
    return run, step
