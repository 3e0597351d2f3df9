"""What a person may do with a job in each of its states (pure)."""

from shared.schemas.statuses import JobState, StopRequest


def allowed_actions(state: JobState, stop: StopRequest | None = None) -> tuple[str, ...]:
    """The actions of the public API that this state, and a stop that is under way, do not rule out."""
    match state:
        case JobState.QUEUED | JobState.RUNNING:
            return () if stop is StopRequest.CANCEL else ("cancel",)
        case JobState.FAILED | JobState.CANCELLED:
            return ("retry",)
        case JobState.SUCCEEDED:
            return ()
