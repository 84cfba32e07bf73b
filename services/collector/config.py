"""What a collector is told when it starts: one frozen value."""

from dataclasses import dataclass, field
from pathlib import Path

from services.collector.outcome_store import StoreLimits
from shared.bus import topics
from shared.bus.settings import BusSettings
from shared.service_runtime import InputError

DATABASE = "collector.sqlite"


@dataclass(frozen=True, slots=True)
class CollectorConfig:
    """A collector's configuration.

    Attributes:
        broker: where the broker is.
        data_dir: where the database is kept.
        name: of the service; collectors with different names each store everything.
        limits: how much is kept.
        metrics_host: address of the Prometheus endpoint.
        metrics_port: its TCP port; 0 for any free one, none for no endpoint.
        watch_requests: also listen to the requests themselves, so that those without an outcome are known. Each
            request's bytes then travel to the collector too.
        batch_messages: messages stored in one transaction at most.
        batch_s: how long the first of them waits for the others.
        connect_timeout_s: bound on the first connection; none to keep trying.
    """

    broker: BusSettings
    data_dir: Path
    name: str = "collector"
    limits: StoreLimits = field(default_factory=StoreLimits)
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    watch_requests: bool = False
    batch_messages: int = 200
    batch_s: float = 0.05
    connect_timeout_s: float | None = 10.0

    def __post_init__(self) -> None:
        if not topics.is_name(self.name):
            raise InputError(f"{self.name!r} is no service name: 1 to 64 letters, digits, '_', '.', '-'")
        if self.metrics_port is not None and not 0 <= self.metrics_port <= 65535:
            raise InputError(f"port {self.metrics_port} is not within 0..65535")
        if self.batch_messages < 1 or not 0 <= self.batch_s <= 1:
            raise InputError("a batch has at least one message and waits for at most a second")

    @property
    def database(self) -> Path:
        """The database that `services.collector.query` reads."""
        return self.data_dir / DATABASE
