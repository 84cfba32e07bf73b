"""Configuration of the planner service."""

from dataclasses import dataclass, field
from pathlib import Path

from shared.bus import topics
from shared.bus.settings import BusSettings
from shared.exit_status import InputError


@dataclass(frozen=True, slots=True)
class PlannerConfig:
    """A planner's configuration.

    Attributes:
        broker: address of the broker, and how to connect.
        data_dir: folder of the database and of the library of models; no other planner may use it.
        name: of the service, and of the library from which models are pulled.
        signing_key: private key with which it signs, in hexadecimal; None for the one in `data_dir`.
        time_budget_s: approximate bound on the search of a strategy.
        seed: of all randomness in strategies.
        connect_timeout_s: bound on the first connection; None to keep trying.
    """

    broker: BusSettings
    data_dir: Path
    name: str = "planner"
    signing_key: str | None = field(default=None, repr=False)
    time_budget_s: float = 0.5
    seed: int = 0
    connect_timeout_s: float | None = 10.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: a value is not valid.
        """
        if not topics.is_name(self.name):
            raise InputError(f"{self.name!r} is no service name: 1 to 64 letters, digits, '_', '.', '-'")
        if not self.time_budget_s > 0:
            raise InputError("time_budget_s must be positive")

    @property
    def library_dir(self) -> Path:
        """Folder of the model files."""
        return self.data_dir / "library"
