"""Commands that show what an agent did: its transcript, and the diff that came of it."""

import contextlib
import sys
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from cyclopts import App, Parameter
from rich.console import Group as Together
from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from services.cli.desk import Desk, open_desk, read_reference
from services.cli.ending import CommandError, Exit
from services.cli.follow import Follower, following
from services.cli.options import RUN, Called, Everywhere, Target
from services.cli.picture import Scene, said
from services.cli.text import block, line, patch, status
from shared.errors import UNREADABLE
from shared.schemas.answers import AttemptAnswer
from shared.schemas.statuses import AttemptState
from shared.schemas.transcript import Item, read_item

OUTPUT_LINES = 40


def register(app: App) -> None:
    """Put the commands into the program."""
    for command in (logs, diff):
        app.command(command, group=RUN)


class Change(msgspec.Struct, frozen=True):
    """What a step has changed, or all of a run together; that has no `step_run_id`."""

    protocol_run_id: int
    step_run_id: int | None
    head_sha: str | None
    diff: str


class Told(msgspec.Struct, frozen=True):
    """An item with the attempt that it belongs to."""

    attempt_id: int
    item: Item


async def logs(
    target: Annotated[
        str | None,
        Parameter(help="An attempt (a7), a step (3.2) or a run (3). Default: the newest open run here."),
    ] = None,
    /,
    *,
    follow: Annotated[
        bool,
        Parameter(
            name=["--follow", "-f"], negative="", show_default=False, help="Go on with what comes, until it is over."
        ),
    ] = False,
    part: Annotated[
        Literal["prompt", "stderr", "diff", "events"] | None,
        Parameter(help="A file of the newest attempt as it is, not the transcript."),
    ] = None,
    options: Everywhere = None,
    caller: Called,
) -> None:
    """Show what the agent did: messages, commands with their output, patches and tokens.

    With --json each item is one line.
    """
    async with open_desk(caller, options) as desk:
        protocol_id, chosen = await _attempts(desk, target)
        if part is not None:
            await _raw(desk, chosen, part)
            return
        teller = _Teller(desk)
        for attempt in chosen if not follow else chosen[:-1]:
            await teller.whole(attempt)
        if follow:
            await _follow(desk, protocol_id, chosen, teller, only=target is not None and target.startswith("a"))
        elif not chosen:
            desk.note("no agent has worked on it yet")


async def _attempts(desk: Desk, target: str | None) -> tuple[int, list[AttemptAnswer]]:
    """The run, and those of its attempts that are meant, oldest first."""
    reference = None if target is None else read_reference(target, "attempt", "step", "protocol")
    if reference is not None and reference.kind == "attempt":
        attempt = await desk.rest.get(f"/attempts/{reference.number}", AttemptAnswer)
        return attempt.protocol_id, [attempt]
    if reference is not None and reference.kind == "step":
        protocol, step = await desk.step(reference)
        return protocol.id, await desk.rest.some(f"/steps/{step.id}/attempts", AttemptAnswer)
    protocol = await desk.protocol(target)
    return protocol.id, await desk.attempts(protocol.id)


async def _raw(desk: Desk, chosen: Sequence[AttemptAnswer], part: str) -> None:
    if not chosen:
        raise CommandError(Exit.USAGE, "no agent has worked on it yet")
    text = await desk.rest.text(f"/attempts/{chosen[-1].id}/log", {"part": part})
    desk.show({"attempt_id": chosen[-1].id, "part": part, "text": text}, patch(text) if part == "diff" else block(text))


async def _follow(
    desk: Desk, protocol_id: int, chosen: Sequence[AttemptAnswer], teller: "_Teller", *, only: bool
) -> None:
    """Follow the newest attempt and, but for `only`, those that come after it until the run is over."""
    wanted = {each.id for each in chosen[-1:]} if only else None
    first = chosen[-1].id if chosen else 0
    async with following(desk, protocol_id, agent=False) as follower:
        if chosen:
            await _hear(follower, chosen[-1], teller)
        while wanted is None and not follower.scene.protocol.status.terminal:
            following_one = _next(follower.scene, first)
            if following_one is not None:
                first = following_one.id
                await _hear(follower, following_one, teller)
                continue
            seen = first

            async def over(scene: Scene, seen: int = seen) -> bool:
                return scene.protocol.status.terminal or _next(scene, seen) is not None

            await follower.until(over)


async def _hear(follower: Follower, attempt: AttemptAnswer, teller: "_Teller") -> None:
    teller.begin(attempt)
    await follower.listen_to(attempt, teller.item)


def _next(scene: Scene, after: int) -> AttemptAnswer | None:
    return next((each for each in scene.attempts if each.id > after), None)


class _Teller:
    """Tells items, once each; a command when it is over."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def begin(self, attempt: AttemptAnswer) -> None:
        """Say whose work follows."""
        if not self._desk.json:
            what = f"a{attempt.id}  {attempt.kind}  {line(attempt.model)}  "
            self._desk.say(Text.assemble((what, "bold"), status(attempt.state, attempt.category)))

    async def whole(self, attempt: AttemptAnswer) -> None:
        """Everything that one attempt did so far."""
        self.begin(attempt)
        try:
            raw = await self._desk.rest.text(f"/attempts/{attempt.id}/log")
        except CommandError as error:
            if error.code is not Exit.REFUSED or attempt.state is AttemptState.SUCCEEDED:
                raise
            raw = ""  # it failed before Codex said anything
        for number, each in enumerate(raw.encode().split(b"\n"), 1):
            if item := read_item(each, number):
                self.item(attempt, item)
        if attempt.error and not self._desk.json:
            self._desk.say(Text(f"✘ {line(attempt.error)}", style="red"), whole=True)

    def item(self, attempt: AttemptAnswer, item: Item) -> None:
        """One item."""
        if self._desk.json:
            sys.stdout.write(f"{msgspec.json.encode(Told(attempt.id, item)).decode()}\n")
            sys.stdout.flush()
        elif not item.live:
            self._desk.say(_shown(item), whole=True)


def _shown(item: Item) -> RenderableType:
    match item.kind:
        case "thread":
            return Text(f"thread {line(item.text)}", style="dim")
        case "tokens":
            used = item.tokens
            total = f"{used.input_tokens:,} in, {used.output_tokens:,} out" if used else ""
            return Text(f"tokens: {total}", style="dim")
        case "message" | "reasoning" | "error" | "warning":
            head, *rest = block(_pretty(item.text.strip())).split("\n")
            first = said(Item(place=0, kind=item.kind))
            first.no_wrap, first.overflow = None, None
            return first.append("\n".join([head, *(f"  {each}" for each in rest)]))
        case "command":
            lines = block(item.output.rstrip("\n")).split("\n") if item.output.strip() else []
            cut = lines[-OUTPUT_LINES:]
            left = [f"… {len(lines) - len(cut)} lines left out; --part events has all"] if len(cut) < len(lines) else []
            output = Text("\n".join([*left, *cut]), style="dim")
            return Together(said(item), Padding(output, (0, 0, 0, 2))) if lines else said(item)
        case _:
            return said(item)


def _pretty(text: str) -> str:
    """An answer in JSON with its lines."""
    if not text.startswith("{"):
        return text
    with contextlib.suppress(*UNREADABLE):
        return msgspec.json.format(text, indent=2)
    return text


async def diff(target: Target = None, /, *, options: Everywhere = None, caller: Called) -> None:
    """Show what a run has changed on its branch, or one step of it, in colour; through a pager on a terminal."""
    async with open_desk(caller, options) as desk:
        reference = None if target is None else read_reference(target, "protocol", "step")
        if reference is not None and reference.kind == "step":
            protocol, step = await desk.step(reference)
            text = await desk.rest.text(f"/steps/{step.id}/diff")
            head, found = f"{step.step_index}  {step.step_name}", Change(protocol.id, step.id, step.head_sha, text)
        else:
            protocol = await desk.protocol(target)
            text = await desk.rest.text(f"/protocols/{protocol.id}/diff")
            head = f"{protocol.protocol_name}  {protocol.base_branch}...{protocol.branch}"
            found = Change(protocol.id, None, protocol.head_sha, text)
        if desk.json:
            desk.show(found)
        else:
            desk.page(Together(Text(f"# {line(head)}", style="bold"), patch(found.diff)))
