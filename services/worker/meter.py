"""What the worker's own metrics count: jobs by how they ended, and the tokens that they used."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from services.worker.lease import Lease
from shared.errors import Category
from shared.schemas.reports import Ending, Failed, Lost, Stopped

_BUCKETS = (0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600)


class JobMeter:
    """One for a process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ended = Counter(
            "jobs_processed_total", "Jobs that ended, once for each time.", ["job_type", "status"], registry=registry
        )
        self._seconds = Histogram(
            "jobs_duration_seconds", "Time from claim to end.", ["job_type"], buckets=_BUCKETS, registry=registry
        )
        self._tokens = Counter(
            "codex_tokens_total", "Tokens that Codex reported.", ["job_type", "model", "kind"], registry=registry
        )

    def note(self, lease: Lease, ending: Ending, seconds: float) -> None:
        """Count one claimed job."""
        kind, model, used = lease.claim.job.kind, lease.claim.model, lease.usage
        self._ended.labels(kind, _status(ending)).inc()
        self._seconds.labels(kind).observe(seconds)
        if kind.runs_codex:
            self._tokens.labels(kind, model, "input").inc(used.input_tokens)
            self._tokens.labels(kind, model, "cached_input").inc(used.cached_input_tokens)
            self._tokens.labels(kind, model, "output").inc(used.output_tokens)


def _status(ending: Ending) -> str:
    match ending:
        case Failed(category=Category.CANCELLED):
            return "cancelled"
        case Failed() | Lost():
            return "failed"
        case Stopped():
            return "parked"
        case _:
            return "succeeded"
