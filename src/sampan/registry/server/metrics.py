"""What the registry counts, in Prometheus' text form at /metrics."""

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60, 300)


class Metrics:
    """The counters of one registry."""

    def __init__(self) -> None:
        self._all = CollectorRegistry()
        self.requests = Counter(
            "sampan_registry_requests", "Requests answered.", ("operation", "method", "status"), registry=self._all
        )
        self.seconds = Histogram(
            "sampan_registry_request_seconds",
            "Time to answer, body included.",
            ("operation",),
            buckets=_SECONDS,
            registry=self._all,
        )
        self.in_flight = Gauge("sampan_registry_requests_in_flight", "Requests being answered.", registry=self._all)
        self.sent = Counter("sampan_registry_sent_bytes", "Bytes of bodies sent.", registry=self._all)
        self.collected = Counter(
            "sampan_registry_collected", "Things garbage collection removed.", ("kind",), registry=self._all
        )
        self.reclaimed = Counter(
            "sampan_registry_reclaimed_bytes", "Bytes garbage collection gave back.", registry=self._all
        )

    def answered(self, operation: str, request: web.BaseRequest, response: web.StreamResponse, took: float) -> None:
        """Count one answer; ``took`` is in seconds."""
        self.requests.labels(operation, request.method, response.status).inc()
        self.seconds.labels(operation).observe(took)
        self.sent.inc(response.content_length or 0)

    def page(self) -> web.Response:
        """All of it, for a scraper."""
        return web.Response(body=generate_latest(self._all), headers={"Content-Type": CONTENT_TYPE_LATEST})
