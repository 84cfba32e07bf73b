"""Decision whether a service is ready to work, from the state of its connections to the broker."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final, Protocol

# A broker that restarts is back sooner, and a probe must not take services away meanwhile.
OFFLINE_LIMIT_S: Final = 5.0
# A broker that owes an answer for so long has stopped, though its connection is open.
SILENCE_LIMIT_S: Final = 10.0


class WatchedConnection(Protocol):
    """What is asked of a connection, such as `shared.bus.connection.Connection`."""

    @property
    def offline_s(self) -> float:
        """Time without a connection, in seconds; 0 while there is one."""

    @property
    def silent_s(self) -> float:
        """Time for which the broker has owed an answer, in seconds."""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The answer of one service.

    Attributes:
        role: monitor, executor, planner, collector or broker.
        name: of the service or its device.
        is_ready: whether it works.
        reason: why it does not, or a remark; may be empty.
        is_alive: whether its process answers.
    """

    role: str
    name: str
    is_ready: bool
    reason: str = ""
    is_alive: bool = True

    def to_fields(self) -> dict[str, str | bool]:
        """Return the fields as plain values."""
        return asdict(self)


class ServiceHealth:
    """What a service states about itself. It makes no decision on its own: `report` derives everything."""

    def __init__(self, role: str, name: str) -> None:
        """Begin as a service that is starting.

        Args:
            role: of the service.
            name: of the service or its device.
        """
        self.role = role
        self.name = name
        self._connections: Mapping[str, WatchedConnection] | None = None

    def serving(self, connections: Mapping[str, WatchedConnection]) -> None:
        """State that the start is over.

        Args:
            connections: those without which the service cannot work, by what they carry.
        """
        self._connections = dict(connections)

    def report(self) -> HealthReport:
        """Return whether the service is ready now."""
        reason = _fault(self._connections)
        return HealthReport(self.role, self.name, not reason, reason)


def _fault(connections: Mapping[str, WatchedConnection] | None) -> str:
    """Return what keeps a service from its work; empty if nothing does."""
    if connections is None:
        return "it is starting: it waits for the broker, or prepares its data"
    for subject, connection in connections.items():
        if connection.offline_s > OFFLINE_LIMIT_S:
            return f"no connection to the broker for {connection.offline_s:.0f} s ({subject})"
        if connection.silent_s > SILENCE_LIMIT_S:
            return f"the broker has not answered for {connection.silent_s:.0f} s ({subject})"
    return ""
