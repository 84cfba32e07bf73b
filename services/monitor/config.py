"""Configuration of a monitor, one frozen value."""

from dataclasses import dataclass, field

from services.monitor.probe_settings import ProbeSettings
from shared.bus import topics
from shared.bus.settings import BusSettings
from shared.exit_status import InputError


@dataclass(frozen=True, slots=True)
class MonitorConfig:
    """A monitor's configuration.

    Attributes:
        device: name of the device, the same as its executor's.
        broker: address and credentials of the broker.
        emulated: whether the monitor applies the `Emulation` of this device.
        threads: threads that segments use on this device.
        sample_interval_s: pause between samples of the device.
        observation_age_s: time without an observation of the executor after which the load factor is probed.
        change_threshold: relative change of an estimate that is published.
        heartbeat_s: longest time between two publications.
        probing: when links are probed, and with how many bytes.
        connect_timeout_s: limit of the first connection attempt; none for no limit.
    """

    device: str
    broker: BusSettings
    emulated: bool = False
    threads: int = 1
    sample_interval_s: float = 2.0
    observation_age_s: float = 5.0
    change_threshold: float = 0.1
    heartbeat_s: float = 5.0
    probing: ProbeSettings = field(default_factory=ProbeSettings)
    connect_timeout_s: float | None = 10.0

    def __post_init__(self) -> None:
        if not topics.is_name(self.device) or not topics.is_name(self.service_name):
            raise InputError(f"{self.device!r} is no device name: 1 to 56 letters, digits, '_', '.', '-'")
        intervals = (self.sample_interval_s, self.observation_age_s, self.heartbeat_s, self.change_threshold)
        if min(intervals) <= 0 or self.threads < 1:
            raise InputError("intervals, the threshold and the number of threads must be positive")
        if self.probing.assumed_mbps is not None and not self.probing.is_metered:
            raise InputError("--assumed-mbps needs --metered: the links of other devices are probed")

    @property
    def service_name(self) -> str:
        """The name under which the monitor's presence is published."""
        return topics.monitor_name(self.device)
