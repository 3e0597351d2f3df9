"""What the person sees: the live picture of a run, and the report of its end, as rich renderables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from services.local.demo.check import Check, Findings, PushedCommit
from services.local.demo.scene import AgentLine, Scene, seconds_of
from shared.schemas.answers import AttemptAnswer, EventAnswer, StepAnswer
from shared.schemas.statuses import EventType, JobKind, Phase, ProtocolStatus, StepStatus

Mark = Literal["done", "live", "waiting", "failed", "idle"]

_GLYPHS = {"done": ("✔", "green"), "waiting": ("•", "yellow"), "failed": ("✘", "red"), "idle": ("·", "dim")}
_SAID = {
    "says": ("›", ""),
    "thinks": ("…", "italic dim"),
    "runs": ("$", "cyan"),
    "edits": ("±", "green"),
    "answers": ("=", ""),
}
_AGENT_LINES = 3
_SHORT = 8
_STATE_WIDTH = 22  # at least: room for "3b3ac0e9  judged: pass"


class Row(msgspec.Struct, frozen=True):
    """One line of the picture, with what the agent does below it while it is live."""

    mark: Mark
    name: str
    state: str = ""
    seconds: float | None = None
    tokens: int = 0
    lines: tuple[AgentLine, ...] = ()


def live_picture(scene: Scene, spinner: Spinner) -> RenderableType:
    """The run as it stands, for drawing again and again."""
    return Group(_headline(scene), Text(), _rows_table(tuple(rows(scene)), spinner))


def rows(scene: Scene) -> Iterator[Row]:
    """The story so far: the stage, the plan, and each step."""
    for done in scene.done:
        yield Row("done", done[0], done[1])
    if scene.protocol is None:
        if scene.now_doing:
            yield Row("live", scene.now_doing)
        return
    yield _plan_row(scene)
    for step in scene.steps:
        yield _step_row(scene, step)


def _plan_row(scene: Scene) -> Row:
    attempts = scene.attempts_of(None)
    status = scene.protocol.status if scene.protocol else ProtocolStatus.PENDING
    seconds, tokens = seconds_of(attempts, JobKind.PLAN), _tokens(attempts)
    if scene.steps:
        return Row("done", "Plan", f"{len(scene.steps)} steps", seconds, tokens)
    if status is ProtocolStatus.BLOCKED:
        return Row("failed", "Plan", "planning failed", seconds, tokens, _last_lines(scene, attempts))
    return Row("live", "Plan", "planning", seconds, tokens, _last_lines(scene, attempts))


def _step_row(scene: Scene, step: StepAnswer) -> Row:
    attempts = scene.attempts_of(step.id)
    seconds = seconds_of(attempts, JobKind.EXECUTE) + seconds_of(attempts, JobKind.QA)
    mark, state = _state_of(step)
    lines = _last_lines(scene, attempts) if mark in {"live", "failed"} else ()
    name = f"{step.step_index:02d}  {step.step_name}"
    return Row(mark, name, state, seconds if attempts else None, _tokens(attempts), lines)


def _state_of(step: StepAnswer) -> tuple[Mark, str]:
    match step.status, step.phase:
        case StepStatus.COMPLETED, _:
            return "done", f"{(step.head_sha or '')[:_SHORT]}  judged: {'pass' if step.reason else 'done'}"
        case ((StepStatus.FAILED | StepStatus.CANCELLED), _):
            return "failed", f"{step.status}: {step.reason}"
        case _, Phase.QUEUED:
            return "live", "queued"
        case _, Phase.EXECUTING:
            return "live", "executing"
        case _, Phase.BACKOFF:
            return "live", "waits to try again"
        case _, Phase.QA_QUEUED | Phase.QA_RUNNING:
            return "live", "being judged"
        case StepStatus.NEEDS_QA, Phase.INCONCLUSIVE:
            return "failed", "no verdict"
        case StepStatus.NEEDS_QA, _:
            return "waiting", "executed, waits to be judged"
        case _:
            return "idle", ""


def _last_lines(scene: Scene, attempts: Sequence[AttemptAnswer]) -> tuple[AgentLine, ...]:
    return scene.lines.get(attempts[-1].id, ())[-_AGENT_LINES:] if attempts else ()


def _tokens(attempts: Sequence[AttemptAnswer]) -> int:
    return sum(each.usage.input_tokens + each.usage.output_tokens for each in attempts)


def _headline(scene: Scene) -> RenderableType:
    line = Table.grid(expand=True)
    line.add_column(ratio=1, no_wrap=True)
    line.add_column(justify="right", no_wrap=True)
    line.add_row(
        Text.assemble(("DeksdenFlow  ", "bold"), (scene.about, "dim"), overflow="ellipsis"),
        Text(f"{scene.elapsed_s:.1f} s", style="dim"),
    )
    return line


def _rows_table(story: Sequence[Row], spinner: Spinner | None) -> RenderableType:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(width=2)
    table.add_column(ratio=3, no_wrap=True, overflow="ellipsis")
    table.add_column(ratio=2, width=_STATE_WIDTH, no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", width=7, no_wrap=True)
    table.add_column(justify="right", width=14, no_wrap=True)
    parts: list[RenderableType] = []
    for row in story:
        table.add_row(*_cells(row, spinner))
        if row.lines:
            parts += [table, Padding(_agent(row.lines), (0, 0, 0, 3))]
            table = _like(table)
    return Group(*parts, table)


def _like(table: Table) -> Table:
    again = Table.grid(padding=(0, 1), expand=True)
    for column in table.columns:
        again.add_column(
            width=column.width, ratio=column.ratio, justify=column.justify, no_wrap=True, overflow="ellipsis"
        )
    return again


def _cells(row: Row, spinner: Spinner | None) -> tuple[RenderableType, ...]:
    glyph: RenderableType = spinner if row.mark == "live" and spinner else Text(*_GLYPHS.get(row.mark, ("•", "cyan")))
    style = {"live": "bold", "idle": "dim", "failed": "red"}.get(row.mark, "")
    return (
        glyph,
        Text(row.name, style=style),
        Text(row.state, style="red" if row.mark == "failed" else "dim"),
        Text("" if row.seconds is None else f"{row.seconds:.1f} s", style="dim"),
        Text(f"{row.tokens:,} tokens" if row.tokens else "", style="dim"),
    )


def _agent(lines: Sequence[AgentLine]) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, width=3)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for line in lines:
        glyph, style = _SAID.get(line.kind, ("✘", "red"))
        table.add_row(Text(f"│ {glyph}", style="dim"), Text(_with_outcome(line), style=style))
    return table


def agent_line(line: AgentLine) -> str:
    """One thing that the agent did, as a plain line."""
    return f"{'':8}{_SAID.get(line.kind, ('✘', ''))[0]} {_with_outcome(line)}"


def _with_outcome(line: AgentLine) -> str:
    return f"{line.text}  → exit code {line.outcome}" if line.outcome else line.text


def report(scene: Scene, findings: Findings, *, with_timeline: bool) -> RenderableType:
    """The end: what lies on the origin, what the tests say, what happened when, and whether every claim holds."""
    branch = scene.protocol.branch if scene.protocol else ""
    parts: list[RenderableType] = [
        _headline(scene),
        Text(),
        _rows_table(tuple(rows(scene)), None),
        *_section(f"Commits on origin/{branch}", _commits(findings.commits)),
        *_section("What they change", _stat(findings.diff_stat)),
    ]
    if with_timeline:
        parts += _section("Timeline", _timeline(scene))
    parts += _section("Checked", _checks(findings.checks))
    return Group(*parts, Text(), _summary(scene, findings))


def _section(title: str, body: RenderableType) -> tuple[RenderableType, ...]:
    return Text(), Rule(Text(title, style="bold"), align="left", style="dim"), body


def _commits(commits: Sequence[PushedCommit]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="yellow", no_wrap=True)
    table.add_column(overflow="fold")
    for commit in commits:
        table.add_row(commit.sha[:_SHORT], Text(commit.subject))
        table.add_row("", Text(_trailers(commit.trailers), style="dim"))
    return table


def _trailers(trailers: Mapping[str, str]) -> str:
    """Ours on one line, the others below, each whole."""
    ours = [f"{key}: {value}" for key, value in trailers.items() if key.startswith("Deksdenflow-")]
    others = [f"{key}: {value}" for key, value in trailers.items() if not key.startswith("Deksdenflow-")]
    return "\n".join(("  ".join(ours), *others))


def _stat(stat: str) -> RenderableType:
    text = Text(no_wrap=True)
    for line in stat.splitlines():
        name, bar, rest = line.partition("|")
        text.append(name + bar)
        for char in rest:
            text.append(char, style={"+": "green", "-": "red"}.get(char, "") if bar else "")
        text.append("\n")
    text.rstrip()
    return text


def _timeline(scene: Scene) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, events in _chapters(scene):
        began = scene.events[0].created_at
        first, last = ((event.created_at - began).total_seconds() for event in (events[0], events[-1]))
        table.add_row(name, f"{first:.1f}–{last:.1f} s", Text(" → ".join(event.event_type for event in events)))
    return table


def _chapters(scene: Scene) -> Iterator[tuple[str, list[EventAnswer]]]:
    """The events of the run by what they are about, in the order in which each first came up."""
    names = {step.id: f"{step.step_index:02d}" for step in scene.steps}
    chapters: dict[str, list[EventAnswer]] = {}
    for event in scene.events:
        chapters.setdefault("run" if event.step_id is None else names.get(event.step_id, "?"), []).append(event)
    yield from chapters.items()


def _checks(checks: Sequence[Check]) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=2)
    table.add_column(no_wrap=True)
    table.add_column(style="dim", overflow="fold")
    for check in checks:
        glyph, style = _GLYPHS["done" if check.holds else "failed"]
        table.add_row(Text(glyph, style=style), Text(check.claim, style="" if check.holds else "red"), Text(check.seen))
    return table


def _summary(scene: Scene, findings: Findings) -> RenderableType:
    good = not findings.failed
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="dim", no_wrap=True)
    lines.add_column(overflow="fold")
    stat = findings.diff_stat.strip().splitlines()
    lines.add_row("commits", f"{len(findings.commits)} on the origin: the plan, and one for each step")
    lines.add_row("diff", stat[-1].strip() if stat else "none")
    lines.add_row(
        "tests", Text.assemble((f"{findings.before.outcome}  ", "red"), "→  ", (findings.after.outcome, "green"))
    )
    lines.add_row("tokens", f"{scene.tokens:,} in {len(scene.attempts)} runs of Codex{_cached(scene)}")
    lines.add_row("time", f"{scene.elapsed_s:.1f} s")
    title = "all of it holds" if good else f"{len(findings.failed)} of {len(findings.checks)} checks failed"
    style = "green" if good else "red"
    return Panel(
        lines, title=Text(title, style=f"bold {style}"), title_align="left", border_style=style, padding=(0, 1)
    )


def _cached(scene: Scene) -> str:
    usage = scene.protocol.usage if scene.protocol else None
    return f", {usage.cached_input_tokens:,} of them cached" if usage and usage.cached_input_tokens else ""


def chronicle(scene: Scene, event: EventAnswer) -> str:
    """One event as a plain line, with its time since the run was opened."""
    seconds = (event.created_at - scene.events[0].created_at).total_seconds()
    about = next((f"step {step.step_index:02d}" for step in scene.steps if step.id == event.step_id), "")
    moved = f"{event.from_status} → {event.to_status}" if event.to_status else ""
    parts = (about, moved, _details(event))
    return f"{seconds:6.2f}  {event.event_type:<18}  {'  '.join(part for part in parts if part)}".rstrip()


def _details(event: EventAnswer) -> str:
    given = event.metadata
    match event.event_type:
        case EventType.PLANNED:
            return f"{given.get('steps')} steps"
        case EventType.GATE_UPDATED:
            return f"{given.get('gate')}: {given.get('state')}"
        case EventType.STEP_COMPLETED:
            return str(given.get("head_sha") or given.get("sha") or "")[:_SHORT]
        case _:
            return str(given.get("message") or "")
