"""A few honest series for Prometheus: what is held, who waits, how long vendors and the ledger take."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60)


@define(eq=False)
class Metrics:
    """The series of one broker."""

    registry: CollectorRegistry = field(factory=lambda: CollectorRegistry(auto_describe=True))
    _held: Gauge = field(init=False)
    _waiting: Gauge = field(init=False)
    _open: Gauge = field(init=False)
    _ended: Counter = field(init=False)
    _vendor: Histogram = field(init=False)
    _ledger: Histogram = field(init=False)
    _listed: Gauge = field(init=False)

    def __attrs_post_init__(self) -> None:
        at: dict[str, Any] = {"registry": self.registry}
        self._held = Gauge("qrmi_leases_held", "Leases that hold a lane.", ["resource"], **at)
        self._waiting = Gauge("qrmi_runs_waiting", "Runs that wait for a lane.", **at)
        self._open = Gauge("qrmi_tasks_open", "Tasks that have not ended.", **at)
        self._ended = Counter("qrmi_tasks_ended", "Tasks that have ended.", ["resource", "status"], **at)
        self._vendor = Histogram(
            "qrmi_vendor_call_seconds", "Answers of vendors.", ["resource", "verb"], buckets=_SECONDS, **at
        )
        self._ledger = Histogram("qrmi_ledger_commit_seconds", "Durable commits.", buckets=_SECONDS, **at)
        self._listed = Gauge("qrmi_scheduler_listed_timestamp_seconds", "When the scheduler last answered.", **at)

    def vendor_called(self, resource: str, verb: str, seconds: float) -> None:
        """A vendor answered."""
        self._vendor.labels(resource, verb).observe(seconds)

    def ledger_committed(self, seconds: float) -> None:
        """A commit is on disk."""
        self._ledger.observe(seconds)

    def task_ended(self, task: Any) -> None:
        """A task has ended."""
        self._ended.labels(task.resource, task.state.status.value).inc()

    def page(self, broker: Any) -> bytes:
        """The page that Prometheus reads."""
        for vendor in broker.vendors.values():
            self._held.labels(vendor.name).set(len(vendor.holders))
        self._waiting.set(len(broker.leases.lanes))
        self._open.set(len(broker.tasks.open_ids))
        self._listed.set(broker.reconciler.listed_at or 0)
        return generate_latest(self.registry)
