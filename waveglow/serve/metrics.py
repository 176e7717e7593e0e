"""What a server counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """One registry a server, so that two in a process don't share numbers."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter(
            "waveglow_requests", "Requests by call and status", ["call", "status"], registry=registry
        )
        self.first_byte = Histogram(
            "waveglow_first_byte_seconds", "From a request's head to its answer's first byte of body", ["call"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.queue = Gauge("waveglow_queue_length", "Requests worked on or waiting", registry=registry)
        self.ready = Gauge("waveglow_ready", "1 where requests are taken", registry=registry)
        self.waited = Histogram(
            "waveglow_wait_seconds", "From a request's acceptance to its first turn", buckets=SECONDS, registry=registry
        )
        self.jobs = Counter("waveglow_jobs", "Work by call and how it ended", ["call", "outcome"], registry=registry)
        self.busy = Counter("waveglow_busy_seconds", "Seconds that the computing thread worked", registry=registry)
        self.audio = Counter("waveglow_audio_seconds", "Seconds of audio made", registry=registry)
        self.real_time_factor = Gauge(
            "waveglow_real_time_factor", "Seconds of work a second of audio, of the last request", registry=registry
        )
        self.reloads = Counter("waveglow_reloads", "Times that the model was loaded anew", registry=registry)
