"""What Prometheus may ask: requests by outcome, time by stage, the queue, the rounds, the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from .jobs import Answer, Job, Kind
from .observer import Round

if TYPE_CHECKING:
    from minireranker.cache import CacheStats
    from minireranker.cache.stats import TierStats

__all__ = ["Metrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TOKENS = tuple(2**power for power in range(6, 18))
_DOCUMENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024)
_STAGES = ("queue", "inputs", "prefix", "suffix", "total")


class Metrics:
    """The ``Observer`` that counts. Each has a registry of its own: two servers, two counts."""

    def __init__(self) -> None:
        """Nothing is counted yet."""
        self.registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests by outcome.", "kind", "code")
        self._documents = self._counter(
            "documents", "Documents answered, once for each query.", "kind", "outcome"
        )
        self._tokens = self._counter("tokens", "Tokens, computed or from the cache.", "source")
        self._grpc = self._counter("grpc_requests", "gRPC answers.", "method", "code")
        self._http = self._counter("http_requests", "HTTP answers.", "route", "status")
        self._stages = self._histogram(
            "request_seconds", "Of requests answered, by stage.", _SECONDS, "kind", "stage"
        )
        self._waits = self._histogram("wait_seconds", "Until a request is begun.", _SECONDS)
        self._round_seconds = self._histogram("round_seconds", "Of one round.", _SECONDS)
        self._round_tokens = self._histogram("round_tokens", "Computed in one round.", _TOKENS)
        self._round_documents = self._histogram("round_documents", "Of one round.", _DOCUMENTS)
        self._depth = Gauge(
            "minireranker_queue_documents", "Documents waiting.", registry=self.registry
        )
        self._running = Gauge(
            "minireranker_requests_running", "Admitted, not answered.", registry=self.registry
        )

    def watch_cache(self, stats: Callable[[], CacheStats]) -> None:
        """Show a cache too; it is asked at each scrape."""
        self.registry.register(_CacheCollector(stats))

    def grpc_answered(self, method: str, code: str) -> None:
        """Count an answer of gRPC, refusals included."""
        self._grpc.labels(method, code).inc()

    def http_answered(self, route: str, status: int) -> None:
        """Count an HTTP answer; ``route`` is one of the server's, not what a client wrote."""
        self._http.labels(route, str(status)).inc()

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All figures and their content type, in the format an ``Accept`` header asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def job_queued(self, job: Job) -> None:
        """See Observer."""
        self._running.inc()

    def job_refused(self, kind: Kind, code: str) -> None:
        """See Observer."""
        self._requests.labels(kind, code).inc()

    def job_started(self, job: Job, waited: float) -> None:
        """See Observer."""
        self._waits.observe(waited)

    def job_done(self, job: Job, code: str, answer: Answer | None) -> None:
        """See Observer."""
        self._running.dec()
        self._requests.labels(job.kind, code).inc()
        if answer is None:
            return
        failed = sum(job.rows if item.query is None else 1 for item in answer.failed)
        self._documents.labels(job.kind, "failed").inc(failed)
        self._documents.labels(job.kind, "ok").inc(job.cost - failed)
        for stage in _STAGES:
            nanoseconds = getattr(answer.timings, stage)
            self._stages.labels(job.kind, stage).observe(nanoseconds / 1e9)

    def round_done(self, done: Round) -> None:
        """See Observer."""
        self._tokens.labels("computed").inc(done.tokens_computed)
        self._tokens.labels("cache").inc(done.tokens_cached)
        self._round_seconds.observe(done.seconds)
        self._round_tokens.observe(done.tokens_computed)
        self._round_documents.observe(done.documents)

    def queue_depth(self, documents: int) -> None:
        """See Observer."""
        self._depth.set(documents)

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(f"minireranker_{name}", words, labels, registry=self.registry)

    def _histogram(
        self, name: str, words: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            f"minireranker_{name}", words, labels, registry=self.registry, buckets=buckets
        )


class _CacheCollector:
    """Figures that the cache counts itself."""

    def __init__(self, stats: Callable[[], CacheStats]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """One family a figure, one sample a tier."""
        found = self._stats()
        tiers = {"memory": found.memory, "disk": found.disk, "remote": found.remote}
        there = {name: tier for name, tier in tiers.items() if tier is not None}
        for figure in ("hits", "misses", "evictions", "errors"):
            yield _family(CounterMetricFamily, figure, there)
        for figure in ("entries", "bytes"):
            yield _family(GaugeMetricFamily, figure, there)


def _family(
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily],
    figure: str,
    tiers: dict[str, TierStats],
) -> Metric:
    family = kind(f"minireranker_cache_{figure}", f"{figure} by tier.", labels=["tier"])
    for name, tier in tiers.items():
        value = getattr(tier, figure)
        if value is not None:
            family.add_metric([name], value)
    return family
