"""Commands of runs: open one, look at it, watch it."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from services.cli.desk import Desk, open_desk, read_reference
from services.cli.ending import CommandError, Exit, exit_of
from services.cli.follow import Follower, following, read_scene
from services.cli.options import RUN, Called, Everywhere, ProjectName, ProtocolName
from services.cli.picture import Scene, said, told, tree
from services.cli.text import ago, line, status, table, tokens
from shared.schemas.answers import AttemptAnswer, EventAnswer, LineAnswer, ProtocolAnswer
from shared.schemas.requests import OpenProtocol, PolicyChanges, StartProtocol
from shared.schemas.statuses import ProtocolStatus
from shared.schemas.steering import ExplanationAnswer
from shared.schemas.transcript import Item

FRAMES_PER_S = 8


def register(app: App) -> None:
    """Put the commands into the program."""
    for command in (run, show_status, watch):
        app.command(command, name="status" if command is show_status else None, group=RUN)


async def run(
    task: Annotated[str, Parameter(help="What is to be done, in any words; '-' reads it from the standard input.")],
    /,
    *,
    project: ProjectName = None,
    auto: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Go through all steps, and have QA judge each, without a word from you.",
        ),
    ] = False,
    wait: Annotated[
        bool, Parameter(negative="", show_default=False, help="Stay until it ends; the exit code tells how.")
    ] = False,
    model: Annotated[str | None, Parameter(help="The model for all of its work. Default: the project's.")] = None,
    name: Annotated[str | None, Parameter(help="Number and words, like 0007-dark-theme; also the branch.")] = None,
    base_branch: Annotated[
        str | None, Parameter(help="The branch that it starts from. Default: the project's.")
    ] = None,
    options: Everywhere = None,
    caller: Called,
) -> Exit:
    """Open a run for a task, and have it planned.

    With --wait the exit code is 0 when it completed, 1 when it failed, 5 when it is blocked, 6 when it was cancelled,
    and 7 when it goes on only if a person acts.
    """
    text = (await asyncio.to_thread(sys.stdin.read) if task == "-" else task).strip()
    if not text:
        raise CommandError(Exit.USAGE, "the task is empty; say what is to be done")
    policy = PolicyChanges(progression="auto", auto_qa_after_exec=True) if auto else PolicyChanges()
    wanted = OpenProtocol(description=text, protocol_name=name, base_branch=base_branch, model=model, policy=policy)
    async with open_desk(caller, options) as desk:
        place = await desk.project(project)
        opened = await desk.rest.post(f"/projects/{place.id}/protocols", ProtocolAnswer, wanted)
        started = await desk.rest.post(f"/protocols/{opened.id}/actions/start", ProtocolAnswer, StartProtocol())
        if not wait:
            desk.show(started, _line(started), Text(f"deksdenflow watch {started.id}", style="dim"))
            return Exit.OK
        desk.note(f"{started.id}  {started.protocol_name}: waiting for its end (Ctrl-C leaves it running)")
        async with following(desk, started.id, agent=False) as follower:
            ended = await _end(desk, follower)
        scene = await read_scene(desk, started.id)
        desk.show(scene.protocol, tree(scene))
        return ended


async def _end(desk: Desk, follower: Follower) -> Exit:
    """Wait until the run has ended, is stuck, or needs somebody; the reason of the last is told."""
    found: list[Exit] = []

    async def over(scene: Scene) -> bool:
        # Its own words alone, which may be newer than the scene.
        why = await desk.rest.get(f"/protocols/{scene.protocol.id}/explain", ExplanationAnswer)
        if (code := exit_of(ProtocolStatus(why.status))) is not None:
            found.append(code)
        elif why.waiting_for == "person":
            found.append(Exit.WAITS)
            desk.note(f"{line(why.because)} Possible: {', '.join(why.actions)}.")
        return bool(found)

    await follower.until(over)
    return found[0]


async def show_status(
    protocol: Annotated[
        str | None, Parameter(help="A protocol run: 3, or its name. Default: all that are open.")
    ] = None,
    /,
    *,
    project: ProjectName = None,
    all_runs: Annotated[
        bool, Parameter(name=["--all", "-a"], negative="", show_default=False, help="Also those that have ended.")
    ] = False,
    options: Everywhere = None,
    caller: Called,
) -> None:
    """Show the runs and how they stand, or one run with its steps."""
    async with open_desk(caller, options) as desk:
        if protocol is not None:
            read_reference(protocol, "protocol")
            scene = await read_scene(desk, (await desk.protocol(protocol, project)).id)
            answer = {"protocol": scene.protocol, "steps": scene.steps, "attempts": scene.attempts}
            desk.show(answer, tree(scene))
            return
        shown = await desk.protocols(project, over=all_runs)
        none = "No run yet: `deksdenflow run`." if all_runs else "No run is open; `--all` shows those that have ended."
        desk.show(shown, *await _held(desk), _runs(shown, none))


def _runs(protocols: list[ProtocolAnswer], none: str) -> RenderableType:
    rows = [
        (
            str(each.id),
            each.protocol_name,
            status(each.status, each.phase, each.reason),
            tokens(each.usage),
            ago(each.updated_at),
        )
        for each in protocols
    ]
    return table("#", "run", "status", "used", "changed", rows=rows, none=none)


async def _held(desk: Desk) -> list[Text]:
    """A word about the line when it stands; a project's token may not ask."""
    if desk.json:
        return []
    try:
        held = await desk.rest.get("/line", LineAnswer)
    except CommandError as error:
        if error.problem is None or error.problem.status != 403:  # noqa: PLR2004  forbidden
            raise
        return []
    if held.status != "stopped":
        return []
    words = f"The line is stopped, {ago(held.stopped_at)}: nothing starts until `start-the-line`."
    return [Text(words, style="yellow")]


def _line(protocol: ProtocolAnswer) -> Text:
    about = Text(f"{protocol.id}  {protocol.protocol_name}  ", style="bold")
    return about.append_text(status(protocol.status, protocol.phase, protocol.reason))


async def watch(protocol: ProtocolName = None, /, *, options: Everywhere = None, caller: Called) -> Exit:
    """Watch a run live: its steps, tokens and time, and what the agent does.

    It ends with the run, with the same exit codes as `run --wait`. Without a terminal the events come as lines, with
    --json as JSON, one a line.
    """
    async with open_desk(caller, options) as desk:
        if protocol is not None:
            read_reference(protocol, "protocol")
        found = await desk.protocol(protocol)
        live = desk.out.is_terminal and not desk.json
        teller = None if live else _Teller(desk)
        async with following(
            desk,
            found.id,
            on_event=teller.event if teller else None,
            on_item=teller.item if teller and not desk.json else None,
            drawn=live,
        ) as follower:
            if teller is not None:
                teller.begin(follower.scene)
            async with _drawn(desk, follower, live=live):
                await follower.until(_has_ended)
        if not desk.json:
            desk.say(tree(follower.scene))
        return exit_of(follower.scene.protocol.status) or Exit.OK


async def _has_ended(scene: Scene) -> bool:
    return scene.protocol.status.terminal


class _Teller:
    """Tells what happens in lines, where there is no terminal to draw on."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._scene: Scene | None = None

    def begin(self, scene: Scene) -> None:
        """Know the run's steps by name."""
        self._scene = scene

    def event(self, event: EventAnswer, data: bytes) -> None:
        """One event: as it came for a program, else as a line."""
        if self._desk.json:
            sys.stdout.write(f"{data.decode()}\n")
            sys.stdout.flush()
            return
        steps = {each.id: each for each in self._scene.steps} if self._scene else {}
        self._desk.say(told(event, steps), whole=True)

    def item(self, _: AttemptAnswer, item: Item) -> None:
        """One thing that the agent did."""
        if not item.live and item.kind not in {"thread", "tokens"}:
            self._desk.say(Text("          ").append_text(said(item)), whole=True)


@contextlib.asynccontextmanager
async def _drawn(desk: Desk, follower: Follower, *, live: bool) -> AsyncGenerator[None]:
    """Draw the run for as long as the body runs, if there is a terminal to draw on."""
    if not live:
        yield
        return

    async def draw(screen: Live) -> None:
        while True:
            screen.update(tree(follower.scene, lost=desk.rest.lost), refresh=True)
            await asyncio.sleep(1 / FRAMES_PER_S)

    with Live(console=desk.out, auto_refresh=False, transient=True) as screen:
        drawing = asyncio.create_task(draw(screen))
        try:
            yield
        finally:
            drawing.cancel()
            await asyncio.gather(drawing, return_exceptions=True)
