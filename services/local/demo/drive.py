"""Drives the main job through the public REST API, as anybody could with curl, and keeps the scene up to date."""

import asyncio
import time
from collections.abc import Callable

from services.local.demo.rest import DemoFailed, Rest
from services.local.demo.scene import Scene, agent_lines
from services.local.samples.sample import SamplePaths
from shared.schemas.answers import AttemptAnswer, EventAnswer, ProjectAnswer, ProtocolAnswer, StepAnswer
from shared.schemas.requests import CreateProject, OpenProtocol, PolicyChanges, StartProtocol
from shared.schemas.statuses import AttemptState, EventType, Phase, ProtocolStatus, StepStatus

TASK = (
    "When a bill is split the shares do not add up: 40.00 among three friends gives 39.99. Find out why and repair it. "
    "Then add a tip as a percentage of the bill, with tests, and show both in the README."
)
PROTOCOL_NAME = "0001-lose-no-cent"

_TICK_S = 0.15
_UNDER_WAY = frozenset({Phase.QUEUED, Phase.EXECUTING, Phase.BACKOFF, Phase.PARKED, Phase.QA_QUEUED, Phase.QA_RUNNING})
_STUCK = frozenset({ProtocolStatus.BLOCKED, ProtocolStatus.FAILED, ProtocolStatus.CANCELLED, ProtocolStatus.PAUSED})


class Drive:
    """One protocol run from its registration to its end; `patience_s` bounds each wait for something to change."""

    def __init__(self, rest: Rest, scene: Scene, *, patience_s: float, repairs: int = 0) -> None:
        self._rest = rest
        self._scene = scene
        self._patience_s = patience_s
        self._repairs = repairs

    async def run(self, sample: SamplePaths) -> None:
        """Play it all; DemoFailed says where it ended if that is not `completed`."""
        await self._register(sample)
        await self._plan()
        for step in self._scene.steps:
            await self._carry_out(step.id)
        await self._until(lambda: self._protocol.status is ProtocolStatus.COMPLETED, "the protocol run to complete")

    async def _register(self, sample: SamplePaths) -> None:
        self._scene.now_doing = "registering the repository"
        wanted = CreateProject(
            name="tabsplit",
            git_url=str(sample.origin),
            base_branch=sample.base_branch,
            policy=PolicyChanges(auto_fix=self._repairs) if self._repairs else PolicyChanges(),
        )
        project = await self._rest.post("/projects", ProjectAnswer, wanted)
        self._scene.project = project
        await self._until_set_up(project)
        self._scene.done.append(("Project", f"{project.name}, cloned and checked"))

    async def _until_set_up(self, project: ProjectAnswer) -> None:
        give_up_at = time.monotonic() + self._patience_s
        while True:
            events = await self._rest.get("/events", list[EventAnswer], {"project_id": project.id, "limit": 50})
            types = {event.event_type for event in events}
            if EventType.SETUP_DONE in types:
                return
            if EventType.JOB_FAILED in types:
                raise DemoFailed(f"the project could not be set up: {_last_words(events)}")
            if time.monotonic() > give_up_at:
                raise DemoFailed("the project was not set up in time")
            await asyncio.sleep(_TICK_S)

    async def _plan(self) -> None:
        self._scene.now_doing = "planning"
        assert self._scene.project is not None  # noqa: S101  registered before
        opened = OpenProtocol(description=TASK, protocol_name=PROTOCOL_NAME)
        path = f"/projects/{self._scene.project.id}/protocols"
        self._scene.protocol = await self._rest.post(path, ProtocolAnswer, opened)
        path = f"/protocols/{self._protocol.id}/actions/start"
        self._scene.protocol = await self._rest.post(path, ProtocolAnswer, StartProtocol())
        await self._until(lambda: self._protocol.status is ProtocolStatus.PLANNED, "a plan")

    async def _carry_out(self, step_id: int) -> None:
        """Run the step, and have it judged; where repairs are allowed it may be executed and judged again."""
        self._scene.now_doing = f"step {self._step(step_id).step_index:02d}: executing"
        await self._rest.post(f"/steps/{step_id}/actions/run", StepAnswer)
        while True:
            await self._until(lambda: self._step(step_id).phase not in _UNDER_WAY, "an execution")
            step = self._step(step_id)
            if step.status is StepStatus.COMPLETED:
                return
            if step.status is not StepStatus.NEEDS_QA or step.phase is Phase.INCONCLUSIVE:
                raise DemoFailed(f"step {step.step_index} is {step.status} ({step.reason}): {self._last_words()}")
            self._scene.now_doing = f"step {step.step_index:02d}: judging"
            await self._rest.post(f"/steps/{step_id}/actions/run_qa", StepAnswer)

    async def _until(self, done: Callable[[], bool], what: str) -> None:
        give_up_at = time.monotonic() + self._patience_s
        while True:
            seen = len(self._scene.events)
            await self._refresh()
            if done():
                return
            if self._protocol.status in _STUCK:
                stuck = self._protocol
                raise DemoFailed(f"the protocol run is {stuck.status} ({stuck.reason}): {self._last_words()}")
            if len(self._scene.events) > seen or self._scene.live is not None:
                give_up_at = time.monotonic() + self._patience_s
            if time.monotonic() > give_up_at:
                raise DemoFailed(f"nothing happens any more while waiting for {what}")
            await asyncio.sleep(_TICK_S)

    async def _refresh(self) -> None:
        """Read the present state: the status before the events, so that who sees it finds all that led to it."""
        scene, rest, protocol_id = self._scene, self._rest, self._protocol.id
        protocol = await rest.get(f"/protocols/{protocol_id}", ProtocolAnswer)
        steps = await rest.get(f"/protocols/{protocol_id}/steps", list[StepAnswer], {"limit": 500})
        newest_first = await rest.get(f"/protocols/{protocol_id}/events", list[EventAnswer], {"limit": 500})
        scene.events = tuple(reversed(newest_first))
        for attempt in await rest.get(f"/protocols/{protocol_id}/attempts", list[AttemptAnswer], {"limit": 500}):
            known = scene.attempts.get(attempt.id)
            if known is None or known.state is AttemptState.RUNNING:
                scene.lines[attempt.id] = agent_lines(await self._log_of(attempt.id))
            scene.attempts[attempt.id] = attempt
        scene.steps = tuple(steps)
        scene.protocol = protocol

    async def _log_of(self, attempt_id: int) -> str:
        """The log so far; an attempt that has only just begun has none yet."""
        try:
            return await self._rest.text(f"/attempts/{attempt_id}/log")
        except DemoFailed:
            return ""

    @property
    def _protocol(self) -> ProtocolAnswer:
        assert self._scene.protocol is not None  # noqa: S101  opened before
        return self._scene.protocol

    def _step(self, step_id: int) -> StepAnswer:
        return next(step for step in self._scene.steps if step.id == step_id)

    def _last_words(self) -> str:
        return _last_words(tuple(reversed(self._scene.events)))


def _last_words(newest_first: tuple[EventAnswer, ...] | list[EventAnswer]) -> str:
    """What the newest event that explains itself says."""
    said = (str(event.metadata.get("message") or event.metadata.get("summary") or "") for event in newest_first)
    return next((text for text in said if text), "see the timeline above")
