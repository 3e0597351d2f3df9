"""Commands that act on a run, a step or a job; what is possible is the server's word (`allowed_actions`)."""

from typing import Annotated

from cyclopts import App, Parameter
from rich.text import Text

from services.cli.desk import Desk, open_desk, read_reference
from services.cli.ending import CommandError, Exit
from services.cli.options import ACT, Called, Everywhere, Options, ProtocolName, Target
from services.cli.text import line, status
from shared.errors import Conflict
from shared.schemas.answers import JobAnswer, ProtocolAnswer, StepAnswer
from shared.schemas.problems import URN, Problem
from shared.schemas.requests import ApproveStep, Because, Body, Feedback, PauseProtocol, RetryStep

Reason = Annotated[str | None, Parameter(name=["--reason", "-r"], help="Why, in a sentence, for the record.")]
Said = Annotated[str, Parameter(name=["--feedback", "-m"], help="What is to be done differently.")]
SaidOrNot = Annotated[str | None, Parameter(name=["--feedback", "-m"], help="What is to be done differently.")]
Needed = Annotated[str, Parameter(help="A protocol run (3, or its name), its step (3.2) or a job (j5).")]
WhichStep = Annotated[str, Parameter(help="A step (3.2), or a protocol run (3) for the step that can be skipped.")]


Move = tuple[str, Body | None]


def register(app: App) -> None:
    """Put the commands into the program."""
    for command in (approve, reject, retry, skip, next_step, qa, start, pause, resume, unblock, cancel):
        app.command(command, name="next" if command is next_step else None, group=ACT)


async def approve(
    target: Target = None,
    /,
    *,
    reason: Reason = None,
    sha: Annotated[
        str | None, Parameter(help="The commit that you looked at; refused when it is another by now.")
    ] = None,
    options: Everywhere = None,
    caller: Called,
) -> None:
    """Approve the plan that waits, or what a step has done; with a reason, even against open gates."""
    await _judge(caller, options, target, ("approve_plan", None), ("approve", ApproveStep(sha=sha, reason=reason)))


async def reject(target: Target = None, /, *, feedback: Said, options: Everywhere = None, caller: Called) -> None:
    """Send a plan or an executed step back with what you found."""
    body = Feedback(feedback=feedback)
    await _judge(caller, options, target, ("reject_plan", body), ("reject", body))


async def retry(
    target: Annotated[
        str | None,
        Parameter(help="A protocol run (3), its step (3.2) or a job (j5). Default: the newest open run here."),
    ] = None,
    /,
    *,
    model: Annotated[str | None, Parameter(help="Another model than before.")] = None,
    feedback: SaidOrNot = None,
    fresh: Annotated[
        bool, Parameter(negative="", show_default=False, help="Start a new conversation, not the old one again.")
    ] = False,
    options: Everywhere = None,
    caller: Called,
) -> None:
    """Do what failed once more: a step, the planning, or a job."""
    if target is not None and target.startswith("j"):
        await _on_job(caller, options, target, "retry")
        return
    wanted = RetryStep(model=model, feedback=feedback, fresh=fresh)
    plain = wanted == RetryStep()
    await _judge(caller, options, target, ("start", None) if plain else None, ("retry", wanted), step_first=True)


async def skip(
    target: WhichStep,
    /,
    *,
    reason: Annotated[str, Parameter(name=["--reason", "-r"], help="Why.")],
    options: Everywhere = None,
    caller: Called,
) -> None:
    """Go on without a step; it counts as settled."""
    await _judge(caller, options, target, None, ("skip", Because(reason=reason)))


async def next_step(protocol: ProtocolName = None, /, *, options: Everywhere = None, caller: Called) -> None:
    """Start the next step of a run that does not go on by itself."""
    await _on_protocol(caller, options, protocol, "run_next_step", kind=StepAnswer)


async def qa(target: Target = None, /, *, options: Everywhere = None, caller: Called) -> None:
    """Have QA judge the commit of an executed step."""
    await _judge(caller, options, target, None, ("run_qa", None))


async def start(protocol: ProtocolName = None, /, *, options: Everywhere = None, caller: Called) -> None:
    """Have a run planned, or planned again."""
    await _on_protocol(caller, options, protocol, "start")


async def pause(
    protocol: ProtocolName = None,
    /,
    *,
    interrupt: Annotated[
        bool, Parameter(negative="", show_default=False, help="Park the agent that runs; else it may finish.")
    ] = False,
    options: Everywhere = None,
    caller: Called,
) -> None:
    """Start nothing new of a run until `resume`."""
    await _on_protocol(caller, options, protocol, "pause", PauseProtocol(mode="interrupt" if interrupt else "drain"))


async def resume(protocol: ProtocolName = None, /, *, options: Everywhere = None, caller: Called) -> None:
    """Go on with a paused run from where it stands."""
    await _on_protocol(caller, options, protocol, "resume")


async def unblock(protocol: ProtocolName = None, /, *, options: Everywhere = None, caller: Called) -> None:
    """Go on with a blocked run, since its cause was removed."""
    await _on_protocol(caller, options, protocol, "unblock")


async def cancel(target: Needed, /, *, options: Everywhere = None, caller: Called) -> None:
    """End a run, a step or a job for good; what works on it is stopped."""
    if target.startswith("j"):
        await _on_job(caller, options, target, "cancel")
        return
    reference = read_reference(target, "protocol", "step", "job")
    if reference.kind == "protocol":
        await _on_protocol(caller, options, target, "cancel")
        return
    await _judge(caller, options, target, None, ("cancel", None))


async def _on_protocol(
    caller: Called,
    options: Options | None,
    name: str | None,
    action: str,
    body: Body | None = None,
    *,
    kind: type[ProtocolAnswer | StepAnswer] = ProtocolAnswer,
) -> None:
    async with open_desk(caller, options) as desk:
        if name is not None:
            read_reference(name, "protocol")
        protocol = await desk.protocol(name)
        answer = await desk.rest.post(f"/protocols/{protocol.id}/actions/{action}", kind, body)
        _tell(desk, protocol, answer)


async def _judge(
    caller: Called,
    options: Options | None,
    target: str | None,
    of_plan: Move | None,
    of_step: Move,
    *,
    step_first: bool = False,
) -> None:
    """Do it to the step that is named, else to the plan or the step that the run has it open for."""
    async with open_desk(caller, options) as desk:
        reference = None if target is None else read_reference(target, "protocol", "step")
        if reference is not None and reference.kind == "step":
            protocol, step = await desk.step(reference)
            await _on_step(desk, protocol, step, of_step)
            return
        protocol = await desk.protocol(target)
        open_steps = [each for each in await desk.steps(protocol.id) if of_step[0] in each.allowed_actions]
        plan_first = of_plan is not None and of_plan[0] in protocol.allowed_actions
        if of_plan is not None and plan_first and not (step_first and open_steps):
            answer = await desk.rest.post(f"/protocols/{protocol.id}/actions/{of_plan[0]}", ProtocolAnswer, of_plan[1])
            _tell(desk, protocol, answer)
        elif open_steps:
            await _on_step(desk, protocol, open_steps[0], of_step)
        else:
            raise _nothing_open(protocol, of_step[0])


def _nothing_open(protocol: ProtocolAnswer, action: str) -> CommandError:
    """The refusal that the server would give if it could be asked for a step that is not there."""
    text = f"protocol run {protocol.id} is {protocol.status}, and nothing of it is open for {action!r}"
    problem = Problem(
        type=f"{URN}{Conflict.type}",
        title=Conflict.title,
        status=Conflict.http_status,
        detail=f"{text}.",
        status_now=protocol.status,
        allowed_actions=protocol.allowed_actions,
    )
    possible = ", ".join(protocol.allowed_actions) or "nothing"
    return CommandError(Exit.REFUSED, f"{text}. Possible: {possible}.", problem)


async def _on_step(desk: Desk, protocol: ProtocolAnswer, step: StepAnswer, move: Move) -> None:
    action, body = move
    answer = await desk.rest.post(f"/steps/{step.id}/actions/{action}", StepAnswer, body)
    _tell(desk, protocol, answer)


async def _on_job(caller: Called, options: Options | None, target: str, action: str) -> None:
    async with open_desk(caller, options) as desk:
        number = read_reference(target, "job").number
        job = await desk.rest.post(f"/queues/jobs/{number}/actions/{action}", JobAnswer)
        desk.show(job, status(job.state, f"j{job.id}", job.kind, job.error))


def _tell(desk: Desk, protocol: ProtocolAnswer, answer: ProtocolAnswer | StepAnswer) -> None:
    is_step = isinstance(answer, StepAnswer)
    about = f"{protocol.id}.{answer.step_index} {line(answer.step_name)}" if is_step else protocol.protocol_name
    desk.show(answer, Text.assemble(f"{about}: ", status(answer.status, answer.phase, answer.reason)))
