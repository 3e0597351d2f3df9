"""The place for what Prometheus reads: one registry per app, and the counters of HTTP requests."""

from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from shared.errors import Unauthenticated
from shared.secret import Secret
from shared.security import same

_MEDIA_TYPE = CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8")  # Litestar names the charset
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def new_registry() -> CollectorRegistry:
    """A registry with what every process can say about itself."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class HttpMeter:
    """Counts requests by route template, never by raw path, which anybody can make endlessly many of."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter("requests_total", "HTTP requests.", ["method", "path", "status"], registry=registry)
        self._seconds = Histogram(
            "requests_duration_seconds", "Duration of HTTP requests.", ["path"], buckets=_BUCKETS, registry=registry
        )
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def note(self, method: str, template: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        key = (method if method in _METHODS else "other", template, status)
        pair = self._known.get(key)
        if pair is None:
            pair = (self._requests.labels(key[0], template, status), self._seconds.labels(template))
            self._known[key] = pair
        pair[0].inc()
        pair[1].observe(seconds)


def metrics_route(registry: CollectorRegistry, api_token: Secret | None) -> HTTPRouteHandler:
    """`GET /metrics`, which needs the API token when one is set."""

    @get("/metrics", opt={"open": True}, media_type="text/plain", sync_to_thread=False, tags=["service"])
    def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        """What Prometheus reads."""
        if api_token is not None:
            given = request.headers.get("authorization", "")
            if not same(given, f"Bearer {api_token.reveal()}"):
                raise Unauthenticated("The metrics need the API token as a bearer.")
        return Response(content=generate_latest(registry), media_type=_MEDIA_TYPE)

    return metrics
