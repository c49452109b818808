"""What Prometheus may know: closed sets of labels, every series there from the start."""

from __future__ import annotations

import platform

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from archpress_server import __version__
from archpress_server.auth.errors import RATE_LIMITED, AuthReason
from archpress_server.call_reason import CallReason
from archpress_server.compress.types import Reason
from archpress_server.jobs.errors import FilesUnavailableError, StoreError
from archpress_server.jobs.model import (
    ARTIFACT_CORRUPT,
    INTERNAL,
    TIMED_OUT,
    WORKER_LOST,
    JobRecord,
    State,
)
from archpress_server.jobs.store import Counts

JOB_REASONS = (
    *(reason.value for reason in Reason),
    ARTIFACT_CORRUPT,
    WORKER_LOST,
    TIMED_OUT,
    INTERNAL,
)
REJECTIONS = (
    *(reason.value for reason in Reason),
    *(reason.value for reason in CallReason),
    ARTIFACT_CORRUPT,
    *(reason.value for reason in AuthReason),
    RATE_LIMITED,
    INTERNAL,
)
_AUTH_REASONS = frozenset(AuthReason)
_SECONDS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86_400)


class Metrics:
    """The jobs' metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        """Create every series."""
        self.registry = CollectorRegistry()
        self.jobs = Gauge("archpress_jobs", "Jobs by state.", ["state"], registry=self.registry)
        self.outcomes = Counter(
            "archpress_job_outcomes",
            "Jobs that became final.",
            ["outcome", "reason"],
            registry=self.registry,
        )
        self.queue_seconds = Histogram(
            "archpress_job_queue_seconds",
            "Wait before the first attempt.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.run_seconds = Histogram(
            "archpress_job_run_seconds",
            "Time in RUNNING.",
            ["outcome"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.attempts = Counter(
            "archpress_job_attempts", "Attempts started.", ["cause"], registry=self.registry
        )
        self.lease_expired = Counter(
            "archpress_job_lease_expired",
            "Leases whose worker fell silent.",
            registry=self.registry,
        )
        self.cancel_seconds = Histogram(
            "archpress_job_cancel_seconds",
            "From the request to the end.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.queue_age = Gauge(
            "archpress_queue_oldest_age_seconds",
            "Wait of the oldest queued job.",
            registry=self.registry,
        )
        self.slots = Gauge(
            "archpress_worker_slots",
            "Worker slots of this server.",
            ["state"],
            registry=self.registry,
        )
        self.artifact_bytes = Counter(
            "archpress_artifact_bytes",
            "Bytes of artifacts sent or received.",
            ["direction"],
            registry=self.registry,
        )
        self.watch_streams = Gauge(
            "archpress_watch_streams", "Open event streams.", registry=self.registry
        )
        self.watch_lag = Gauge(
            "archpress_watch_lag_events",
            "Events of the last batch that a watcher was behind.",
            registry=self.registry,
        )
        self.rejected = Counter(
            "archpress_rejected", "Calls refused.", ["reason"], registry=self.registry
        )
        self.result_cache = Counter(
            "archpress_result_cache",
            "New jobs that looked for the result of an equal one.",
            ["outcome"],
            registry=self.registry,
        )
        self.auth_failures = Counter(
            "archpress_auth_failures",
            "Callers turned away, unknown or not allowed.",
            ["reason"],
            registry=self.registry,
        )
        self.reload_failures = Counter(
            "archpress_reload_failures",
            "Changed files that were wrong, so that the old content stays in force.",
            ["what"],
            registry=self.registry,
        )
        self.reload_failed = Gauge(
            "archpress_reload_failed",
            "1 while changed files are wrong, so that the old content stays in force.",
            ["what"],
            registry=self.registry,
        )
        self.certificate_end = Gauge(
            "archpress_certificate_end_timestamp_seconds",
            "When the API's certificate expires; 0 without TLS.",
            registry=self.registry,
        )
        self.serving = Gauge(
            "archpress_serving",
            "1 if it serves, by the names of grpc.health.v1; process is the server itself.",
            ["service"],
            registry=self.registry,
        )
        self.store_failures = Counter(
            "archpress_store_failures",
            "Times that the server itself could not reach the database or the artifacts.",
            ["what"],
            registry=self.registry,
        )
        self.build = Gauge(
            "archpress_build_info",
            "1, with the versions in use.",
            ["version", "python", "grpc"],
            registry=self.registry,
        )
        self._create_series()

    def _create_series(self) -> None:
        for state in State:
            self.jobs.labels(state.value)
            if state.final:
                self.run_seconds.labels(state.value)
        for reason in JOB_REASONS:
            self.outcomes.labels(State.FAILED.value, reason)
        self.outcomes.labels(State.SUCCEEDED.value, "")
        self.outcomes.labels(State.CANCELLED.value, "")
        for cause in ("first", "again"):
            self.attempts.labels(cause)
        for slot in ("busy", "free"):
            self.slots.labels(slot)
        for outcome in ("hit", "miss"):
            self.result_cache.labels(outcome)
        for direction in ("sent", "received"):
            self.artifact_bytes.labels(direction)
        for reason in REJECTIONS:
            self.rejected.labels(reason)
        for reason in AuthReason:
            self.auth_failures.labels(reason.value)
        for what in ("certificates", "tokens"):
            self.reload_failures.labels(what)
            self.reload_failed.labels(what)
        for what in ("database", "files"):
            self.store_failures.labels(what)
        self.build.labels(__version__, platform.python_version(), grpc.__version__).set(1)

    def set_counts(self, counts: Counts) -> None:
        """Take over what the store counted."""
        for state, count in counts.states.items():
            self.jobs.labels(state.value).set(count)
        self.queue_age.set(counts.oldest_queued_seconds)

    def set_serving(self, name: str, *, serving: bool) -> None:
        """Tell whether something of the health service serves."""
        self.serving.labels(name or "process").set(serving)

    def observe_store_failure(self, error: StoreError) -> None:
        """Count that the database or the artifacts could not be reached."""
        is_files = isinstance(error, FilesUnavailableError)
        self.store_failures.labels("files" if is_files else "database").inc()

    def observe_reload(self, what: str, failed: bool) -> None:
        """Tell whether changed files are wrong, and count the change if they are."""
        self.reload_failed.labels(what).set(failed)
        if failed:
            self.reload_failures.labels(what).inc()

    def set_slots(self, busy: int, total: int) -> None:
        """Tell how many worker slots are taken."""
        self.slots.labels("busy").set(busy)
        self.slots.labels("free").set(max(0, total - busy))

    def observe_lease(self, job: JobRecord) -> None:
        """Count an attempt that starts."""
        if job.attempt == 1 and job.start_time is not None:
            self.queue_seconds.observe(max(0.0, job.start_time - job.create_time))
        self.attempts.labels("first" if job.attempt == 1 else "again").inc()

    def observe_end(self, job: JobRecord) -> None:
        """Count a job that became final; others are ignored."""
        if not job.state.final:
            return
        reason = job.error.reason if job.error else ""
        if reason not in JOB_REASONS:
            reason = INTERNAL if job.error else ""
        self.outcomes.labels(job.state.value, reason).inc()
        if job.start_time is not None:
            self.run_seconds.labels(job.state.value).observe(job.run_seconds)
        if job.state is State.CANCELLED and job.cancel_time and job.end_time:
            self.cancel_seconds.observe(max(0.0, job.end_time - job.cancel_time))

    def observe_cache(self, job: JobRecord) -> None:
        """Count a new job that looked for a result, and one that has it as final."""
        self.result_cache.labels("hit" if job.cached_result else "miss").inc()
        self.observe_end(job)

    def observe_rejection(self, reason: str) -> None:
        """Count a refused call under its reason."""
        self.rejected.labels(reason if reason in REJECTIONS else INTERNAL).inc()
        if reason in _AUTH_REASONS:
            self.auth_failures.labels(reason).inc()
