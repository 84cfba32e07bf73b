"""Configuration of an executor."""

import platform
from dataclasses import dataclass, field
from pathlib import Path

from services.executor.device_resources import DeviceResources
from services.executor.lane_sender import LANE_BYTES
from services.executor.segments.engine import RUNTIME_VERSION, EngineSettings, providers
from services.executor.segments.measuring_turn import usual_lock_path
from services.executor.source.source_events import SourceLimits
from shared.bus import topics
from shared.bus.settings import BusSettings
from shared.direct.direct_settings import DirectSettings, is_address
from shared.exit_status import InputError
from shared.messages.devices import LANE, Capabilities
from shared.model.onnx_file.runtime import newest_opset, operator_domains
from shared.transport_mode import Carrier, TransportMode
from shared.user_folders import state_folder, user_data_folder


@dataclass(frozen=True, slots=True)
class Watch:
    """A watched directory: its images and tensors become requests of a stream."""

    stream: str
    directory: Path

    @classmethod
    def parse(cls, text: str) -> "Watch":
        """Parse `STREAM=DIRECTORY`.

        Raises:
            InputError: the text has another form.
        """
        stream, separator, directory = text.partition("=")
        if not separator or not topics.is_name(stream) or not directory:
            raise InputError(f"a watched directory has the form STREAM=DIRECTORY, not {text!r}")
        return cls(stream, Path(directory))


@dataclass(frozen=True, slots=True)
class Power:
    """Power of the device in watts; zero for an unknown figure."""

    idle_w: float = 0.0
    active_w: float = 0.0
    tx_w: float = 0.0
    rx_w: float = 0.0


@dataclass(frozen=True, slots=True)
class ExecutorConfig:
    """An executor's configuration.

    Attributes:
        device: name of the device, unique in the fleet.
        broker: address of the broker.
        data_dir: contains models, profiles and the journal; executors of one machine may share it.
        engine: execution provider and threads.
        emulated: whether the device obeys its `Emulation`.
        memory_limit_bytes: bound on the memory of segments; None for what the machine or the control group has.
        cache_limit_bytes: bound on the space of cached model files; None for most of the disk.
        power: power figures for energy plans.
        watches: watched directories.
        limits: bounds of this device's streams.
        max_tasks: largest number of feature maps on the device; at this number the broker delivers no more.
        max_task_bytes: largest total size of their tensors.
        lock_path: lock file for measuring, shared by the executors of the machine.
        shadow_share: share of the lossily encoded feature maps whose effect on the answer is checked, from 0 to 1.
        transport: transports that the device offers and uses for feature maps, where a policy does not state them.
        direct_host: numeric address for direct connections; None for the one from which the broker is reached.
        direct_port: TCP port for direct connections; 0 for any.
        direct_folder: folder of the Unix sockets that executors of this machine share; None for the user's.
        lane_bytes: largest feature map that is sent on the lane for small ones; 0 to send all of them in frames.
        connect_timeout_s: bound on the first connection; None to keep trying.
        planner_keys: keys of the planners that the device follows; empty for the first that it sees.
    """

    device: str
    broker: BusSettings
    data_dir: Path = field(default_factory=user_data_folder)
    engine: EngineSettings = field(default_factory=EngineSettings)
    emulated: bool = False
    memory_limit_bytes: int | None = None
    cache_limit_bytes: int | None = None
    power: Power = Power()
    watches: tuple[Watch, ...] = ()
    limits: SourceLimits = field(default_factory=SourceLimits)
    max_tasks: int = 64
    max_task_bytes: int = 512 * 1024 * 1024
    lock_path: Path = field(default_factory=usual_lock_path)
    shadow_share: float = 0.0
    transport: TransportMode = TransportMode.MQTT
    direct_host: str | None = None
    direct_port: int = 0
    direct_folder: Path | None = None
    lane_bytes: int = LANE_BYTES
    connect_timeout_s: float | None = 10.0
    planner_keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not topics.is_name(self.device):
            raise InputError(f"{self.device!r} is no device name: 1 to 64 letters, digits, '_', '.', '-'")
        if not 0 <= self.shadow_share <= 1:
            raise InputError("shadow_share must be from 0 to 1")
        if self.engine.threads < 1 or self.max_tasks < 1:
            raise InputError("threads and max_tasks must be at least 1")
        if not 0 <= self.lane_bytes <= LANE_BYTES:
            raise InputError(f"the lane carries feature maps of 0 to {LANE_BYTES // 1024} KiB")
        if self.direct_host is not None and not is_address(self.direct_host):
            raise InputError(f"{self.direct_host!r} is no numeric address for direct connections")
        if not 0 <= self.direct_port <= 65535:
            raise InputError(f"port {self.direct_port} is not within 0..65535")

    @property
    def models_dir(self) -> Path:
        """Directory of the model files."""
        return self.data_dir / "models"

    @property
    def profiles_dir(self) -> Path:
        """Directory of the measured profiles."""
        return self.data_dir / "profiles"

    @property
    def journal_path(self) -> Path:
        """Path of this device's journal."""
        return state_folder(self.data_dir, self.device) / "journal.sqlite"

    @property
    def direct_settings(self) -> DirectSettings:
        """Where direct connections are accepted."""
        return DirectSettings(self.broker, self.direct_host, self.direct_port, self.direct_folder)

    @property
    def transports(self) -> tuple[str, ...]:
        """The transports that the device publishes in its presence, the preferred one first, and the lane on them."""
        carriers = [carrier.value for carrier in (Carrier.DIRECT, Carrier.MQTT) if self.transport.allows(carrier)]
        return (*carriers, LANE)

    def capabilities(self, resources: DeviceResources) -> Capabilities:
        """Return the capabilities that the device publishes in its presence. Asks the engine, which takes a moment."""
        return Capabilities(
            cores=resources.cores,
            cpu_limit=resources.cpu_limit,
            memory_bytes=resources.segment_memory_bytes,
            architecture=platform.machine(),
            provider=self.engine.provider,
            threads=self.engine.threads,
            emulated=self.emulated,
            power_idle_w=self.power.idle_w,
            power_active_w=self.power.active_w,
            power_tx_w=self.power.tx_w,
            power_rx_w=self.power.rx_w,
            runtime=f"onnxruntime {RUNTIME_VERSION}",
            opset=newest_opset(),
            providers=providers(),
            domains=operator_domains(),
            tiles=True,
        )
