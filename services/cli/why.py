"""Commands that say why something does not move, and what waits for a person."""

from typing import Annotated
from urllib.parse import quote

from cyclopts import App, Parameter
from rich.console import Group as Together
from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from services.cli.desk import open_desk, read_reference
from services.cli.options import WHY, Called, Everywhere, ProjectName, Target
from services.cli.text import ago, facts, line, status
from shared.schemas.steering import AttentionAnswer, EvidenceAnswer, ExplanationAnswer, Resolve, ResolvedAnswer


def register(app: App) -> None:
    """Put the commands into the program."""
    for command in (explain, attention, resolve):
        app.command(command, group=WHY)


async def explain(target: Target = None, /, *, options: Everywhere = None, caller: Called) -> None:
    """Say why a run or a step moves or does not, whom it waits for, and what happens if nobody acts."""
    async with open_desk(caller, options) as desk:
        reference = None if target is None else read_reference(target, "protocol", "step")
        if reference is not None and reference.kind == "step":
            protocol, step = await desk.step(reference)
            path, name = f"/steps/{step.id}", f"{protocol.id}.{step.step_index}  {line(step.step_name)}"
        else:
            protocol = await desk.protocol(target)
            path, name = f"/protocols/{protocol.id}", f"{protocol.id}  {protocol.protocol_name}"
        answer = await desk.rest.get(f"{path}/explain", ExplanationAnswer)
        headline = Text.assemble((f"{name}  ", "bold"), status(answer.status, answer.phase, answer.reason))
        desk.show(answer, headline, Text(line(answer.because)), _why(answer))


def _why(answer: ExplanationAnswer) -> RenderableType:
    return facts(
        (
            ("moves", "yes" if answer.moving else "no"),
            ("waits for", answer.waiting_for),
            ("since", ago(answer.since)),
            ("until", ago(answer.until)),
            ("if nobody acts", answer.if_nobody_acts),
            ("possible", ", ".join(answer.actions)),
            *(("see", _seen(each)) for each in answer.evidence),
        )
    )


def _seen(evidence: EvidenceAnswer) -> str:
    return f"{evidence.text}  {evidence.url or ''}".strip()


async def attention(*, project: ProjectName = None, options: Everywhere = None, caller: Called) -> None:
    """List what waits for a person, the most urgent first, with the answers that each thing takes."""
    async with open_desk(caller, options) as desk:
        project_id = None if project is None else (await desk.project(project)).id
        found = await desk.rest.some("/attention", AttentionAnswer, {"project_id": project_id})
        desk.show(found, *(_item(each) for each in found) if found else [Text("Nothing waits for you.", style="green")])


def _item(item: AttentionAnswer) -> RenderableType:
    headline = Text.assemble((f"{line(item.title)}  ", "bold"), (f"{item.kind} · {ago(item.since)}", "dim"))
    about = " / ".join(filter(None, [item.project_name, item.protocol_name]))
    ways = [
        (way.label, f"deksdenflow resolve {item.id} {way.action}{''.join(f' --{need} …' for need in way.needs)}")
        for way in item.answers
    ]
    seen = [("see", _seen(each)) for each in item.evidence]
    body = facts([("where", about), ("because", item.because), *seen, *ways])
    return Together(headline, Padding(body, (0, 0, 1, 2)))


async def resolve(
    item: Annotated[str, Parameter(help="What waits, by the name that `attention` shows.")],
    action: Annotated[str, Parameter(help="One of the answers that it takes.")],
    /,
    *,
    feedback: Annotated[
        str | None, Parameter(name=["--feedback", "-m"], help="What is to be done differently.")
    ] = None,
    reason: Annotated[str | None, Parameter(name=["--reason", "-r"], help="Why, for the record.")] = None,
    sha: Annotated[str | None, Parameter(help="The commit that you looked at.")] = None,
    model: Annotated[str | None, Parameter(help="For a retry: another model than before.")] = None,
    fresh: Annotated[
        bool, Parameter(negative="", show_default=False, help="For a retry: start a new conversation.")
    ] = False,
    options: Everywhere = None,
    caller: Called,
) -> None:
    """Give one of its answers to a thing that waits."""
    wanted = Resolve(action=action, feedback=feedback, reason=reason, sha=sha, model=model, fresh=fresh)
    async with open_desk(caller, options) as desk:
        answer = await desk.rest.post(f"/attention/{quote(item, safe='')}/actions/resolve", ResolvedAnswer, wanted)
        word = "settled" if answer.settled else "done, and it still waits"
        desk.show(answer, Text(f"{line(item)}: {action}: {word}"))
