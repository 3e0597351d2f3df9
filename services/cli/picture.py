"""The picture of a run: its plan, its steps, what the agent does, and how far it is."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from rich.console import Group, RenderableType
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from services.cli.text import commit, lasted, line, span, status, tokens
from shared.schemas.answers import AttemptAnswer, EventAnswer, ProtocolAnswer, StepAnswer
from shared.schemas.statuses import AttemptState, Phase, ProtocolStatus, StepStatus
from shared.schemas.transcript import Item, spoken

_MARKS = {"completed": ("✔", "green"), "failed": ("✘", "red"), "cancelled": ("–", "dim"), "needs_qa": ("•", "yellow")}
_LIVE = frozenset({Phase.QUEUED, Phase.EXECUTING, Phase.BACKOFF, Phase.PARKED, Phase.QA_QUEUED, Phase.QA_RUNNING})
_SAID = {
    "message": ("›", ""),
    "reasoning": ("…", "italic dim"),
    "command": ("$", "cyan"),
    "patch": ("±", "green"),
    "search": ("?", "cyan"),
    "tool": ("→", "cyan"),
    "warning": ("!", "yellow"),
    "error": ("✘", "red"),
}
_LINE_CHARS = 200
_BAR = 20
# One for all frames, so that it turns.
_SPINNER = Spinner("dots", style="cyan")


class Scene(msgspec.Struct):
    """A run as it was last read, with the last thing that each agent did."""

    protocol: ProtocolAnswer
    steps: Sequence[StepAnswer] = ()
    attempts: Sequence[AttemptAnswer] = ()
    said: dict[int, Item] = {}

    @property
    def live(self) -> AttemptAnswer | None:
        """The attempt that is under way."""
        return next((each for each in reversed(self.attempts) if each.state is AttemptState.RUNNING), None)


def tree(scene: Scene, *, lost: bool = False) -> RenderableType:
    """The whole run; `lost` while nothing is heard of it."""
    root = Tree(_headline(scene), guide_style="dim")
    for label, attempts, live in _branches(scene):
        branch = root.add(_row(label, attempts, live=live))
        for attempt in attempts[-1:]:
            if attempt.state is AttemptState.RUNNING and (item := scene.said.get(attempt.id)):
                branch.add(said(item))
            elif attempt.state is AttemptState.FAILED and attempt.error and not live:
                branch.add(Text(line(attempt.error)[:_LINE_CHARS], style="red", overflow="ellipsis", no_wrap=True))
    parts: list[RenderableType] = [root, _progress(scene)]
    if lost:
        parts.append(Text("The connection was lost; trying again…", style="yellow"))
    return Group(*parts)


def _headline(scene: Scene) -> Text:
    run = scene.protocol
    parts = [
        span(lasted(run.created_at, run.finished_at)),
        tokens(run.usage),
        run.pr_url or f"branch {run.branch}",
    ]
    shown = Text.assemble((f"{run.id}  {run.protocol_name}  ", "bold"), status(run.status, run.phase, run.reason))
    return shown.append(f"   {' · '.join(line(part) for part in parts if part)}", style="dim")


def _branches(scene: Scene) -> Iterator[tuple[Text, Sequence[AttemptAnswer], bool]]:
    run = scene.protocol
    planning = run.status is ProtocolStatus.PLANNING
    if run.plan_revision or planning or run.status is ProtocolStatus.BLOCKED:
        word = "planning" if planning else "completed" if run.plan_revision else "failed"
        yield _label(word, "plan", _steps(len(scene.steps)) if scene.steps else ""), _of(scene, None), planning
    for step in scene.steps:
        notes = [step.phase, step.reason, commit(step.head_sha)]
        about = " · ".join(line(note) for note in notes if note)
        yield (
            _label(step.status, f"{step.step_index}  {line(step.step_name)}", about),
            _of(scene, step.id),
            step.phase in _LIVE and run.status is not ProtocolStatus.PAUSED,
        )


def _label(word: str, name: str, about: str) -> Text:
    mark, style = _MARKS.get(word, ("·", "dim"))
    shown = Text.assemble((f"{mark} ", style), (name, "dim" if word == StepStatus.PENDING and not about else ""))
    return shown.append(f"  {about}", style="dim") if about else shown


def _row(label: Text, attempts: Sequence[AttemptAnswer], *, live: bool) -> RenderableType:
    seconds = sum(lasted(each.started_at, each.finished_at) for each in attempts)
    cost = " · ".join(filter(None, [span(seconds) if attempts else "", tokens(*(each.usage for each in attempts))]))
    model = next((each.model for each in reversed(attempts) if each.model), "")
    about = Text(f"  {' · '.join(filter(None, [cost, line(model)]))}" if cost else "", style="dim")
    row = Table.grid()
    if live:
        row.add_row(_SPINNER, label[1:], about)
    else:
        row.add_row(label, about)
    return row


def _of(scene: Scene, step_id: int | None) -> list[AttemptAnswer]:
    return [each for each in scene.attempts if each.step_id == step_id]


def _steps(number: int) -> str:
    return "1 step" if number == 1 else f"{number} steps"


def _progress(scene: Scene) -> RenderableType:
    completed = sum(each.status is StepStatus.COMPLETED for each in scene.steps)
    if not scene.steps:
        return Text()
    done = _BAR * completed // len(scene.steps)
    return Text.assemble(
        ("━" * done, "green"), ("·" * (_BAR - done), "dim"), (f" {completed} of {_steps(len(scene.steps))}", "dim")
    )


def said(item: Item) -> Text:
    """What an agent did, in one line."""
    mark, style = _SAID.get(item.kind, ("·", "dim"))
    text = spoken(item)
    outcome = f"  → exit code {item.exit_code}" if item.exit_code else ""
    return Text(f"{mark} {line(text)[:_LINE_CHARS]}{outcome}", style=style, no_wrap=True, overflow="ellipsis")


def told(event: EventAnswer, steps: Mapping[int, StepAnswer]) -> Text:
    """One event as a line."""
    step = steps.get(event.step_id or 0)
    about = f"step {step.step_index} {line(step.step_name)}" if step else ""
    moved = f"{event.from_status} → {event.to_status}" if event.to_status else ""
    message = event.metadata.get("message")
    parts = (about, moved, line(event.reason), line(str(message))[:_LINE_CHARS] if message else "")
    shown = Text(f"{event.created_at.astimezone():%H:%M:%S}  ", style="dim")
    shown.append(f"{event.event_type:<22}")
    return shown.append("  ".join(part for part in parts if part))
