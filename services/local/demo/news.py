"""The demo as plain lines: each preparation, event and deed of the agent, once, in the order in which it happened."""

from collections import Counter
from collections.abc import Callable

from services.local.demo.picture import agent_line, chronicle
from services.local.demo.scene import Scene
from shared.schemas.statuses import AttemptState


class News:
    """Remembers what was told."""

    def __init__(self) -> None:
        self._preparations = 0
        self._events = 0
        self._lines: Counter[int] = Counter()

    def tell(self, scene: Scene, say: Callable[[str], None]) -> None:
        """Say what is new; an agent's deeds come before the event that ends its attempt."""
        for name, outcome in scene.done[self._preparations :]:
            say(f"{name}: {outcome}")
        self._preparations = len(scene.done)
        for event in scene.events[self._events :]:
            over = scene.attempts.get(event.attempt_id or 0)
            if over is not None and over.state is not AttemptState.RUNNING and not event.event_type.endswith("started"):
                self._tell_lines(scene, over.id, say)
            say(chronicle(scene, event))
        self._events = len(scene.events)
        if scene.live is not None:
            self._tell_lines(scene, scene.live.id, say)

    def _tell_lines(self, scene: Scene, attempt_id: int, say: Callable[[str], None]) -> None:
        """A command is told when it is over."""
        over = [line for line in scene.lines.get(attempt_id, ()) if line.kind != "runs" or line.outcome is not None]
        for line in over[self._lines[attempt_id] :]:
            say(agent_line(line))
        self._lines[attempt_id] = len(over)
