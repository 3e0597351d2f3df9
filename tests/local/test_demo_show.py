"""What the person sees of the demo: on a terminal, in a file, and in a log."""

import io
import json
from typing import Any

import msgspec
import pytest
from rich.console import Console, RenderableType
from rich.spinner import Spinner

from services.local.demo.check import Check, Findings, PushedCommit, SuiteRun
from services.local.demo.news import News
from services.local.demo.picture import live_picture, report
from services.local.demo.scene import AgentLine, Scene, agent_lines
from shared.schemas.answers import ProtocolAnswer, StepAnswer
from shared.schemas.statuses import AttemptState, Phase, StepStatus
from tests.local.told import THREAD, filled, scene_of


def drawn(picture: RenderableType, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(picture)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def said(*events: dict[str, Any]) -> tuple[AgentLine, ...]:
    return agent_lines("".join(json.dumps(event) + "\n" for event in events))


def item(event: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"item.{event}", "item": {"id": "item_1", **fields}}


def command(event: str, code: int | None = None) -> dict[str, Any]:
    return item(event, type="command_execution", command="/bin/bash -lc 'make test'", exit_code=code)


def test_a_command_is_shown_as_a_person_would_type_it_first_running_then_with_its_end() -> None:
    assert said(command("started")) == (AgentLine("runs", "make test"),)
    assert said(command("started"), command("completed", 2)) == (AgentLine("runs", "make test", 2),)


def test_messages_thoughts_patches_and_answers_are_one_line_each() -> None:
    lines = said(
        item("completed", type="reasoning", text="**Looking** at\nit"),
        item("completed", type="agent_message", text="I look.\nThen I act."),
        item("completed", type="file_change", changes=[{"path": "/a/b.py", "kind": "add"}]),
        item("completed", type="agent_message", text='{"summary": "Done.", "verdict": "pass"}'),
        {"type": "turn.failed", "error": {"message": "no\nmore"}},
    )
    assert [(line.kind, line.text) for line in lines] == [
        ("thinks", "Looking: at it"),
        ("says", "I look. Then I act."),
        ("edits", "b.py"),
        ("answers", "Done."),
        ("fails", "no more"),
    ]


def test_a_log_that_is_cut_or_odd_is_shown_as_far_as_it_can_be_read() -> None:
    message = json.dumps(item("completed", type="agent_message", text="here"))
    assert agent_lines(f'not json\n[]\n{message}\n{{"type":"item.comp') == (AgentLine("says", "here"),)


def found(*, holds: bool) -> Findings:
    before = SuiteRun("c" * 40, passed=False, count=2, outcome="2 tests: FAILED (failures=1)", output="")
    return Findings(
        commits=(PushedCommit("a" * 40, "fix: lose no cent", {"Deksdenflow-Run": "1", "Codex-Thread": THREAD}, 1),),
        diff_stat=" README.md | 12 +++++++++++-\n 1 file changed, 11 insertions(+), 1 deletion(-)\n",
        before=before,
        after=msgspec.structs.replace(before, passed=True, outcome="2 tests: OK"),
        checks=(Check("all is well", holds=holds, seen="it is" if holds else "it is not"),),
    )


def test_the_picture_shows_what_the_agent_does_below_its_step() -> None:
    scene = scene_of()
    first, second = scene.steps
    running = msgspec.structs.replace(second, status=StepStatus.RUNNING, phase=Phase.EXECUTING, step_name="Say it")
    scene.steps = (first, running)
    scene.attempts[2] = msgspec.structs.replace(scene.attempts[2], state=AttemptState.RUNNING)
    scene.lines[2] = tuple(AgentLine("runs", f"command {number}", 0) for number in range(5))
    text = drawn(live_picture(scene, Spinner("dots")))
    assert "02  Say it" in text
    assert "executing" in text
    assert "│ $ command 4" in text
    assert "command 1" not in text, "only the last lines are shown"


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_the_picture_fits_into_any_width(width: int) -> None:
    scene = scene_of()
    scene.lines[2] = (AgentLine("says", "many words " * 30),)
    for picture in (live_picture(scene, Spinner("dots")), report(scene, found(holds=True), with_timeline=True)):
        assert max(len(line) for line in drawn(picture, width).splitlines()) <= width


def test_eighty_columns_show_a_commit_its_verdict_and_the_name_of_the_demo_whole() -> None:
    scene = scene_of()
    scene.about = "the main job, with Codex 0.163.0 and a scripted model"
    scene.steps = tuple(
        msgspec.structs.replace(step, step_name="Describe splitting and tips", reason="all good")
        for step in scene.steps
    )
    text = drawn(report(scene, found(holds=True), with_timeline=True), 80)
    assert scene.about in text
    assert "01  Describe splitting and tips aaaaaaaa  judged: pass " in text


def test_markup_in_what_others_say_is_shown_and_not_obeyed() -> None:
    scene = scene_of()
    scene.steps = (msgspec.structs.replace(scene.steps[0], step_name="[red]alarm[/] :boom:", status=StepStatus.FAILED),)
    assert "[red]alarm[/] :boom:" in drawn(live_picture(scene, Spinner("dots")))


def test_a_scene_in_which_nothing_has_begun_can_be_drawn() -> None:
    scene = Scene()
    scene.now_doing = "Looking for Codex"
    assert "Looking for Codex" in drawn(live_picture(scene, Spinner("dots")))


def test_every_state_of_a_step_has_its_words() -> None:
    scene = Scene()
    scene.protocol = filled(ProtocolAnswer, status="running")
    for status in StepStatus:
        for phase in (None, *Phase):
            scene.steps = (filled(StepAnswer, step_name="A step", status=status.value, phase=phase),)
            assert "A step" in drawn(live_picture(scene, Spinner("dots")))


def test_the_report_names_what_does_not_hold() -> None:
    text = drawn(report(scene_of(), found(holds=False), with_timeline=False))
    assert "✘  all is well" in text
    assert "1 of 1 checks failed" in text
    assert "all of it holds" not in text


def test_the_report_shows_commits_with_trailers_changes_and_tests() -> None:
    text = drawn(report(scene_of(), found(holds=True), with_timeline=True))
    for part in ("fix: lose no cent", "Deksdenflow-Run: 1", f"Codex-Thread: {THREAD}", "11 insertions(+)"):
        assert part in text
    assert "2 tests: FAILED (failures=1)  →  2 tests: OK" in text
    assert "step_enqueued → step_started → step_completed" in text


def test_news_are_told_once_and_an_agents_deeds_before_the_event_that_ends_them() -> None:
    scene = scene_of()
    ends = next(event for event in scene.events if event.event_type == "step_completed")
    scene.events = (msgspec.structs.replace(ends, attempt_id=1),)
    scene.done.append(("Project", "cloned"))
    scene.lines[1] = (AgentLine("runs", "make test", 1),)
    news, lines = News(), list[str]()
    news.tell(scene, lines.append)
    news.tell(scene, lines.append)
    assert [line.split()[0] for line in lines] == ["Project:", "$", "0.00"]
    assert lines[1].endswith("make test  → exit code 1")


def test_a_command_that_still_runs_is_told_when_it_is_over() -> None:
    scene = scene_of()
    scene.events = ()
    scene.attempts[2] = msgspec.structs.replace(scene.attempts[2], state=AttemptState.RUNNING)
    scene.lines[2] = (AgentLine("says", "I test."), AgentLine("runs", "make test"))
    news, lines = News(), list[str]()
    news.tell(scene, lines.append)
    scene.lines[2] = (AgentLine("says", "I test."), AgentLine("runs", "make test", 0))
    news.tell(scene, lines.append)
    assert [line.strip() for line in lines] == ["› I test.", "$ make test"]
