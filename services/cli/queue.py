"""Commands of all work together: the line, the jobs and the deliveries."""

from typing import Annotated

from cyclopts import App, Parameter
from rich.console import RenderableType
from rich.text import Text

from services.cli.desk import Desk, open_desk, read_reference
from services.cli.ending import CommandError, Exit
from services.cli.options import ALL_WORK, Called, Count, Everywhere, ProjectName
from services.cli.text import ago, facts, lasted, span, status, table
from shared.schemas.answers import JobAnswer, LineAnswer
from shared.schemas.hook_answers import DeliveryAnswer, DeliveryDetailAnswer
from shared.schemas.requests import StopLine
from shared.schemas.statuses import DeliveryStatus, JobState


def register(app: App) -> None:
    """Put the commands into the program."""
    for command in (stop_the_line, start_the_line, jobs, deliveries):
        app.command(command, group=ALL_WORK)


async def stop_the_line(
    *,
    interrupt: Annotated[
        bool, Parameter(negative="", show_default=False, help="Park the agents that run; else they may finish.")
    ] = False,
    options: Everywhere = None,
    caller: Called,
) -> None:
    """Start no job of any project until `start-the-line`."""
    async with open_desk(caller, options) as desk:
        _tell(desk, await desk.rest.post("/line/actions/stop", LineAnswer, StopLine(interrupt=interrupt)))


async def start_the_line(*, options: Everywhere = None, caller: Called) -> None:
    """Let jobs start again, also those that wait for a quota."""
    async with open_desk(caller, options) as desk:
        _tell(desk, await desk.rest.post("/line/actions/resume", LineAnswer))


def _tell(desk: Desk, answer: LineAnswer) -> None:
    counts = f"  {answer.jobs_running} jobs run, {answer.jobs_queued} wait"
    desk.show(answer, Text.assemble("The line is ", status(answer.status), (counts, "dim")))


async def jobs(
    job: Annotated[str | None, Parameter(help="One job: j5.")] = None,
    /,
    *,
    of_status: Annotated[JobState | None, Parameter(name="--status", help="Only those with this status.")] = None,
    project: ProjectName = None,
    limit: Count = 20,
    options: Everywhere = None,
    caller: Called,
) -> None:
    """List the jobs, newest first, or show one."""
    async with open_desk(caller, options) as desk:
        if job is not None:
            one = await desk.rest.get(f"/queues/jobs/{read_reference(job, 'job').number}", JobAnswer)
            desk.show(one, _job(one))
            return
        project_id = None if project is None else (await desk.project(project)).id
        query = {"status": of_status, "project_id": project_id}
        found = await desk.rest.some("/queues/jobs", JobAnswer, query, limit=limit)
        rows = [
            (f"j{each.id}", each.kind, _state(each), _number(each.protocol_id), str(each.attempt), ago(each.created_at))
            for each in found
        ]
        columns = ("job", "type", "status", "run", "tries", "made")
        desk.show(found, table(*columns, rows=rows, none="No such job."))


def _job(job: JobAnswer) -> RenderableType:
    waits = job.state is JobState.QUEUED and job.run_at > job.created_at
    return facts(
        (
            ("job", f"j{job.id}  {job.kind}"),
            ("status", _state(job)),
            ("why", job.error),
            ("run", _number(job.protocol_id)),
            ("tries", f"{job.attempt} of {job.max_attempts}"),
            ("asked by", job.actor),
            ("made", ago(job.created_at)),
            ("not before", ago(job.run_at) if waits else None),
            ("took", span(lasted(job.started_at, job.finished_at)) if job.started_at else None),
            ("possible", ", ".join(job.allowed_actions)),
        )
    )


def _state(job: JobAnswer) -> RenderableType:
    return status(job.state, f"asked to {job.stop}" if job.stop else None, job.category)


async def deliveries(
    delivery: Annotated[int | None, Parameter(help="One delivery, by its number.")] = None,
    /,
    *,
    of_status: Annotated[DeliveryStatus | None, Parameter(name="--status", help="Only those with this status.")] = None,
    replay: Annotated[bool, Parameter(negative="", show_default=False, help="Apply the one delivery again.")] = False,
    project: ProjectName = None,
    limit: Count = 20,
    options: Everywhere = None,
    caller: Called,
) -> None:
    """List the inbound webhooks, newest first, or show or replay one."""
    async with open_desk(caller, options) as desk:
        if delivery is not None:
            await _delivery(desk, delivery, replay=replay)
            return
        if replay:
            raise CommandError(Exit.USAGE, "--replay needs the number of a delivery")
        project_id = None if project is None else (await desk.project(project)).id
        query = {"status": of_status, "project_id": project_id}
        found = await desk.rest.some("/deliveries", DeliveryAnswer, query, limit=limit)
        rows = [
            (
                str(each.id),
                f"{each.provider} {each.event}",
                status(each.status, each.reason or each.effect),
                _number(each.protocol_id),
                ago(each.received_at),
            )
            for each in found
        ]
        desk.show(found, table("#", "what", "status", "run", "came", rows=rows, none="No delivery has come."))


async def _delivery(desk: Desk, number: int, *, replay: bool) -> None:
    if replay:
        again = await desk.rest.post(f"/deliveries/{number}/actions/replay", DeliveryAnswer)
        desk.show(again, _facts(again))
        return
    one = await desk.rest.get(f"/deliveries/{number}", DeliveryDetailAnswer)
    desk.show(one, _facts(one))


def _facts(one: DeliveryAnswer) -> RenderableType:
    return facts(
        (
            ("delivery", f"{one.id}  {one.provider} {one.event}"),
            ("status", status(one.status, one.reason)),
            ("effect", one.effect),
            ("its sender's name", one.delivery_key),
            ("run", _number(one.protocol_id)),
            ("came", ago(one.received_at)),
            ("possible", ", ".join(one.allowed_actions)),
        )
    )


def _number(number: int | None) -> str:
    return "" if number is None else str(number)
