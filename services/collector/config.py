"""Configuration of a collector, one frozen value."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from services.collector.outcome_store import StoreLimits
from shared.bus import topics
from shared.bus.settings import BusSettings
from shared.exit_status import InputError

DATABASE: Final = "collector.sqlite"


@dataclass(frozen=True, slots=True)
class CollectorConfig:
    """A collector's configuration.

    Attributes:
        broker: address and credentials of the broker.
        data_dir: folder of the database.
        name: of the service; collectors with different names each store everything.
        limits: bounds of the database.
        metrics_host: address of the Prometheus endpoint.
        metrics_port: its TCP port; 0 for any free one, none for no endpoint.
        watch_requests: whether to subscribe to the requests too, which reveals those without an outcome. The payload
            of every request then travels to the collector as well.
        batch_messages: largest number of messages in one transaction.
        batch_s: longest time that the first message of a batch waits for others.
        connect_timeout_s: limit of the first connection attempt; none for no limit.
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
            raise InputError("a batch has at least one message and waits for one second at most")

    @property
    def database(self) -> Path:
        """The database that `services.collector.query` reads."""
        return self.data_dir / DATABASE
