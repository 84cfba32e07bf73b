"""The collector's Prometheus metrics and their HTTP endpoint."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server

from services.collector.inbound import Record, RequestSeen, RerouteSeen
from services.collector.outcome_store import WriteResult
from shared.exit_status import InputError
from shared.messages.devices import Links, Presence, State, Telemetry
from shared.messages.requests import Outcome

_BUCKETS_S: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0)
# Every label value is a time series of its own in Prometheus.
_MAX_LABELS: Final = 256
_OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class MetricsEndpoint:
    """Address at which the metrics are served."""

    host: str
    port: int


class Metrics:
    """The metrics of one collector, in a registry of their own.

    Names of streams and devices come from outside. After 256 distinct names, further ones share the label `other`.
    Only the event loop's thread changes the metrics; the endpoint's thread reads them.
    """

    def __init__(self) -> None:
        """Make the metrics, all at zero."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._seen = self._counter("segue_requests_seen", "Requests published, if they are watched.", "stream")
        self._results = self._counter("segue_results", "Requests that ended with a result.", "stream")
        self._errors = self._counter("segue_errors", "Requests that ended with an error.", "stream", "cause")
        self._duplicates = self._counter("segue_duplicates", "Outcomes of requests that were computed again.", "stream")
        self._redelivered = self._counter("segue_redelivered", "Outcomes received again unchanged.", "stream")
        self._late = self._counter(
            "segue_late_outcomes", "Errors after a result, and results after an error.", "stream"
        )
        self._latency = self._histogram("segue_request_latency_seconds", "From acceptance to the result.")
        self._route_latency = self._histogram("segue_route_latency_seconds", "From dispatch to the result.")
        self._reroutes = self._counter("segue_reroutes", "Changes of routes.", "stream", "cause")
        self._online = self._gauge("segue_device_online", "1 if the executor of the device is online.", "device")
        self._load = self._gauge("segue_device_load_factor", "Computing time over that of the idle device.", "device")
        self._cpu = self._gauge("segue_device_cpu_percent", "Utilisation of all cores together.", "device")
        self._memory = self._gauge("segue_device_memory_used_bytes", "Memory in use.", "device")
        self._bandwidth = self._gauge(
            "segue_link_bandwidth_mbps", "Estimated bandwidth.", "device", "target", "transport"
        )
        self._link_latency = self._gauge(
            "segue_link_latency_ms", "Estimated latency, one way.", "device", "target", "transport"
        )
        self._bad = self._counter(
            "segue_bad_messages",
            "Messages dropped because they do not decode or do not fit into the database.",
            "topic",
        )
        self._connected = self._gauge(
            "segue_collector_connected", "1 if the connection to the broker is established.", "connection"
        )
        self._waiting = self._gauge("segue_collector_waiting_messages", "Messages that wait to be stored.")
        self._known: set[str] = set()
        self._targets: dict[str, set[tuple[str, str]]] = {}

    def stored(self, record: Record, result: WriteResult) -> None:
        """Count a record that the store has handled."""
        match record:
            case Outcome():
                self._count_outcome(record, result)
            case RerouteSeen(_, reroute):
                self._reroutes.labels(self._label(reroute.stream), reroute.cause.value).inc()
            case RequestSeen(stream, _):
                self._seen.labels(self._label(stream)).inc()
            case Presence():
                self._device_changed(record)
            case Telemetry():
                device = self._label(record.device)
                self._load.labels(device).set(record.load_factor)
                self._cpu.labels(device).set(record.cpu_percent)
                self._memory.labels(device).set(record.memory_used_bytes)
            case Links():
                self._links_changed(record)
            case _:
                pass

    def bad_message(self, topic_kind: str) -> None:
        """Count a message that was dropped."""
        self._bad.labels(topic_kind).inc()

    def connection(self, name: str, connected: bool) -> None:
        """Set whether a connection of the collector is established."""
        self._connected.labels(name).set(connected)

    def waiting(self, count: int) -> None:
        """Set the number of messages that wait to be stored."""
        self._waiting.set(count)

    @contextmanager
    def serve(self, host: str, port: int) -> Iterator[MetricsEndpoint]:
        """Serve the metrics from a thread while the context lasts.

        Args:
            host: address to listen on.
            port: TCP port; 0 for any free one.

        Raises:
            InputError: the port is taken, or the address does not belong to this machine.
        """
        try:
            server, thread = start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            raise InputError(f"metrics cannot be served at {host}:{port}: {error.strerror or error}") from error
        try:
            yield MetricsEndpoint(host, server.server_port)
        finally:
            server.shutdown()
            server.server_close()
            thread.join(5.0)

    def _count_outcome(self, outcome: Outcome, result: WriteResult) -> None:
        stream = self._label(outcome.stream)
        match result:
            case WriteResult.RESULT:
                self._results.labels(stream).inc()
                for histogram, begin_s in (
                    (self._latency, outcome.accepted_at_s),
                    (self._route_latency, outcome.dispatched_at_s),
                ):
                    if begin_s > 0:
                        histogram.labels(stream).observe(max(0.0, outcome.completed_at_s - begin_s))
            case WriteResult.ERROR:
                self._errors.labels(stream, outcome.cause.value if outcome.cause else "unknown").inc()
            case WriteResult.DUPLICATE:
                self._duplicates.labels(stream).inc()
            case WriteResult.REDELIVERED:
                self._redelivered.labels(stream).inc()
            case WriteResult.LATE_ERROR | WriteResult.LATE_RESULT:
                self._late.labels(stream).inc()
            case _:
                pass

    def _device_changed(self, presence: Presence) -> None:
        device = self._label(presence.device)
        self._online.labels(device).set(presence.state is State.ONLINE)
        if presence.state is State.OFFLINE:
            # A gauge shows a present value; a device that is gone has none.
            for gauge in (self._load, self._cpu, self._memory):
                with suppress(KeyError):
                    gauge.remove(device)
            self._links_changed(Links(device=presence.device, sent_at_s=0.0))

    def _links_changed(self, links: Links) -> None:
        device = self._label(links.device)
        present = {(self._label(link.target), link.transport.value) for link in links.links}
        # A link that is missing in the new message is down, and has no present value.
        for gone in self._targets.get(device, set()) - present:
            self._bandwidth.remove(device, *gone)
            self._link_latency.remove(device, *gone)
        self._targets[device] = present
        for link in links.links:
            labels = (device, self._label(link.target), link.transport.value)
            self._bandwidth.labels(*labels).set(link.bandwidth_mbps)
            self._link_latency.labels(*labels).set(link.latency_ms)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, ("stream",), buckets=_BUCKETS_S, registry=self.registry)

    def _label(self, name: str) -> str:
        if name not in self._known and len(self._known) >= _MAX_LABELS:
            return _OTHER
        self._known.add(name)
        return name
