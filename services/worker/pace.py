"""How long the worker waits for what; its tests pass shorter ones, in the same proportions."""

import msgspec


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """All in seconds. What must hold: `beat_s` < `fence_s` < `silent_s`."""

    beat_s: float = 10.0
    # Who cannot show life for so long stops by itself, before somebody else may take the job.
    fence_s: float = 40.0
    # A lease whose heartbeat stands still for so long, on the observer's clock, is over; six beats fit in.
    silent_s: float = 60.0
    # Between two tries to write to a database that is busy.
    again_s: float = 1.0
    pump_s: float = 1.0
    look_s: float = 5.0
    # A rung job that nobody claimed for so long is rung again: same dispatch, so that a second bell is harmless.
    unanswered_s: float = 5.0
    # How long a job that was asked to stop may take for it, until it is cut off: an agent is ended gently first.
    patience_s: float = 30.0
    # How long a dispatch stays marked as taken after the worker that took it died. The mark is renewed by nobody:
    # should it run out during the work, the dispatch is taken again and the claim says no.
    mark_s: float = 10.0
    # How old the last look at a forge may grow for what waits for it: deliveries can be lost.
    sync_s: float = 300.0


PACE = Pace()
