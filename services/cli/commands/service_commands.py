"""`segue planner`, `segue executor`, `segue monitor` and `segue collector`: one service each, in the foreground."""

import socket
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.support.options import DEFAULT_BROKER, Broker, broker_settings
from shared.exit_status import ExitStatus, InputError
from shared.service_runtime import run_service
from shared.transport_mode import TransportMode
from shared.user_folders import user_data_folder

if TYPE_CHECKING:
    from services.executor.config import Watch

LogLevel = Annotated[str, typer.Option("--log-level", envvar="SEGUE_LOG_LEVEL", help="debug, info, warning or error.")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="SEGUE_DATA_DIR", help="Folder for the service's data.", show_default=False),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        envvar="SEGUE_DEVICE",
        help="Name of this device; its host name if not given.",
        show_default=False,
    ),
]
ServiceName = Annotated[str, typer.Option("--name", envvar="SEGUE_NAME", help="Name of the service.")]
Emulated = Annotated[
    bool,
    typer.Option(
        "--emulated", envvar="SEGUE_EMULATED", help="Emulate the speed and links in `devices/NAME/emulation`."
    ),
]
Threads = Annotated[int, typer.Option("--threads", min=1, envvar="SEGUE_THREADS", help="Threads per segment.")]
ConnectTimeout = Annotated[
    float,
    typer.Option(
        "--connect-timeout-s",
        min=0.0,
        envvar="SEGUE_CONNECT_TIMEOUT_S",
        help="Longest wait for the broker at the start, in seconds; 0 waits without limit.",
    ),
]
TimeBudget = Annotated[
    float,
    typer.Option(
        "--time-budget-s", min=0.01, envvar="SEGUE_TIME_BUDGET_S", help="Approximate time that a strategy may search."
    ),
]
Seed = Annotated[int, typer.Option("--seed", envvar="SEGUE_SEED", help="Seed of all randomness in strategies.")]
Provider = Annotated[
    str, typer.Option("--provider", envvar="SEGUE_PROVIDER", help="ONNX Runtime's execution provider.")
]
Memory = Annotated[
    float | None,
    typer.Option(
        "--memory-mib",
        min=1.0,
        envvar="SEGUE_MEMORY_MIB",
        help="Largest memory of all segments together. Not given, or more: what the control group or the machine has.",
        show_default=False,
    ),
]
CacheLimit = Annotated[
    float | None,
    typer.Option(
        "--cache-mib",
        min=1.0,
        envvar="SEGUE_CACHE_MIB",
        help="Largest space of the cached model files. Not given: most of the disk.",
        show_default=False,
    ),
]
Watches = Annotated[
    list[str] | None,
    typer.Option("--watch", metavar="STREAM=DIR", help="Images that appear in DIR become requests; repeat it."),
]
PlannerKeys = Annotated[
    list[str] | None,
    typer.Option(
        "--planner-key",
        metavar="KEY",
        envvar="SEGUE_PLANNER_KEY",
        help="Follow only a planner with this key, which its log and `segue doctor` show; repeat it for more planners. "
        "Without it the device follows the first key that it sees.",
    ),
]
PowerIdle = Annotated[
    float, typer.Option("--power-idle-w", min=0.0, envvar="SEGUE_POWER_IDLE_W", help="Watts when idle.")
]
PowerActive = Annotated[
    float, typer.Option("--power-active-w", min=0.0, envvar="SEGUE_POWER_ACTIVE_W", help="Watts when computing.")
]
PowerSending = Annotated[
    float, typer.Option("--power-tx-w", min=0.0, envvar="SEGUE_POWER_TX_W", help="Additional watts when sending.")
]
PowerReceiving = Annotated[
    float, typer.Option("--power-rx-w", min=0.0, envvar="SEGUE_POWER_RX_W", help="Additional watts when receiving.")
]
ShadowShare = Annotated[
    float,
    typer.Option(
        "--shadow-share",
        min=0.0,
        max=1.0,
        envvar="SEGUE_SHADOW_SHARE",
        help="Share of the feature maps sent in a lossy encoding whose effect on the answer is checked here.",
    ),
]
Transport = Annotated[
    TransportMode,
    typer.Option(
        "--transport",
        envvar="SEGUE_TRANSPORT",
        help="Way of feature maps: through the broker, from device to device, or direct where both devices can.",
    ),
]
DirectHost = Annotated[
    str | None,
    typer.Option(
        "--direct-host",
        envvar="SEGUE_DIRECT_HOST",
        help="Numeric address for direct connections; the one from which the broker is reached if not given.",
        show_default=False,
    ),
]
DirectPort = Annotated[
    int,
    typer.Option(
        "--direct-port", min=0, max=65535, envvar="SEGUE_DIRECT_PORT", help="Its TCP port; 0 takes any free one."
    ),
]
DirectFolder = Annotated[
    Path | None,
    typer.Option(
        "--direct-folder",
        envvar="SEGUE_DIRECT_FOLDER",
        help="Folder of Unix sockets that the executors of one machine share, containers included.",
        show_default=False,
    ),
]
Heartbeat = Annotated[
    float,
    typer.Option(
        "--heartbeat-s", min=0.5, envvar="SEGUE_HEARTBEAT_S", help="Longest time between messages, in seconds."
    ),
]
Metered = Annotated[
    bool,
    typer.Option(
        "--metered",
        envvar="SEGUE_METERED",
        help="Traffic of this device costs money: its links are not probed, only transfers measure them.",
    ),
]
AssumedMbps = Annotated[
    float | None,
    typer.Option(
        "--assumed-mbps",
        min=0.001,
        max=100_000.0,
        envvar="SEGUE_ASSUMED_MBPS",
        help="With --metered: bandwidth of this device's links, in Mbps, until transfers have measured them.",
    ),
]
MetricsHost = Annotated[
    str, typer.Option("--metrics-host", envvar="SEGUE_METRICS_HOST", help="Address of the Prometheus endpoint.")
]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        "--metrics-port",
        min=0,
        max=65535,
        envvar="SEGUE_METRICS_PORT",
        help="Its port, 0 for any; no endpoint if not given.",
    ),
]
WatchRequests = Annotated[
    bool,
    typer.Option(
        "--watch-requests",
        envvar="SEGUE_WATCH_REQUESTS",
        help="Receive the requests too, to report those without an outcome. Their bytes then travel here as well.",
    ),
]


def planner_command(
    data_dir: DataDir = None,
    name: ServiceName = "planner",
    time_budget_s: TimeBudget = 0.5,
    seed: Seed = 0,
    connect_timeout_s: ConnectTimeout = 30.0,
    broker: Broker = DEFAULT_BROKER,
    log_level: LogLevel = "info",
) -> None:
    """Decide where segments run, and again whenever the fleet changes. One per fleet.

    It stores streams, policies and the library of models in its data folder.
    """

    async def service() -> None:
        from services.planner.config import PlannerConfig
        from services.planner.service import serve

        await serve(
            PlannerConfig(
                broker=broker_settings(broker),
                data_dir=data_dir or user_data_folder() / "planner",
                name=name,
                time_budget_s=time_budget_s,
                seed=seed,
                connect_timeout_s=connect_timeout_s or None,
            )
        )

    _run(service, log_level)


def executor_command(
    device: Device = None,
    data_dir: DataDir = None,
    threads: Threads = 1,
    provider: Provider = "CPUExecutionProvider",
    memory_mib: Memory = None,
    cache_mib: CacheLimit = None,
    watch: Watches = None,
    power_idle_w: PowerIdle = 0.0,
    power_active_w: PowerActive = 0.0,
    power_tx_w: PowerSending = 0.0,
    power_rx_w: PowerReceiving = 0.0,
    shadow_share: ShadowShare = 0.0,
    emulated: Emulated = False,
    transport: Transport = TransportMode.MQTT,
    direct_host: DirectHost = None,
    direct_port: DirectPort = 0,
    direct_folder: DirectFolder = None,
    planner_key: PlannerKeys = None,
    connect_timeout_s: ConnectTimeout = 30.0,
    broker: Broker = DEFAULT_BROKER,
    log_level: LogLevel = "info",
) -> None:
    """Run segments on this device, and accept the requests that arise here. One per device, beside its monitor.

    It fetches models over the bus and measures each once. It stores an accepted request until its outcome is there.
    """

    async def service() -> None:
        from services.executor.config import ExecutorConfig, Power, Watch
        from services.executor.segments.engine import EngineSettings
        from services.executor.service import serve

        watches = tuple(map(Watch.parse, watch or ()))
        planner_keys = _planner_keys(planner_key or ())
        _check_watches(watches)
        _check_provider(provider)
        await serve(
            ExecutorConfig(
                device=_device(device),
                broker=broker_settings(broker),
                data_dir=data_dir or user_data_folder(),
                engine=EngineSettings(provider=provider, threads=threads),
                emulated=emulated,
                memory_limit_bytes=None if memory_mib is None else int(memory_mib * 2**20),
                cache_limit_bytes=None if cache_mib is None else int(cache_mib * 2**20),
                power=Power(power_idle_w, power_active_w, power_tx_w, power_rx_w),
                watches=watches,
                shadow_share=shadow_share,
                transport=transport,
                direct_host=direct_host,
                direct_port=direct_port,
                direct_folder=direct_folder,
                planner_keys=planner_keys,
                connect_timeout_s=connect_timeout_s or None,
            )
        )

    _run(service, log_level)


def monitor_command(
    device: Device = None,
    data_dir: DataDir = None,
    threads: Threads = 1,
    heartbeat_s: Heartbeat = 5.0,
    metered: Metered = False,
    assumed_mbps: AssumedMbps = None,
    emulated: Emulated = False,
    connect_timeout_s: ConnectTimeout = 30.0,
    broker: Broker = DEFAULT_BROKER,
    log_level: LogLevel = "info",
) -> None:
    """Watch this device and its links, and publish changes. One per device, beside its executor."""

    async def service() -> None:
        from services.executor.trust_files import state_folder
        from services.monitor.config import MonitorConfig
        from services.monitor.probe_settings import ProbeSettings
        from services.monitor.service import serve
        from shared.client_secret import with_client_secret

        name = _device(device)
        folder = state_folder(data_dir or user_data_folder(), name)
        await serve(
            MonitorConfig(
                device=name,
                broker=with_client_secret(broker_settings(broker), folder),
                emulated=emulated,
                threads=threads,
                heartbeat_s=heartbeat_s,
                probing=ProbeSettings(is_metered=metered, assumed_mbps=assumed_mbps),
                connect_timeout_s=connect_timeout_s or None,
            )
        )

    _run(service, log_level)


def collector_command(
    data_dir: DataDir = None,
    name: ServiceName = "collector",
    metrics_host: MetricsHost = "127.0.0.1",
    metrics_port: MetricsPort = None,
    watch_requests: WatchRequests = False,
    connect_timeout_s: ConnectTimeout = 30.0,
    broker: Broker = DEFAULT_BROKER,
    log_level: LogLevel = "info",
) -> None:
    """Store outcomes, traces, reroutes and events, and confirm outcomes to their sources. One per fleet, or more."""

    async def service() -> None:
        from services.collector.config import CollectorConfig
        from services.collector.service import serve

        await serve(
            CollectorConfig(
                broker=broker_settings(broker),
                data_dir=data_dir or user_data_folder() / "collector",
                name=name,
                metrics_host=metrics_host,
                metrics_port=metrics_port,
                watch_requests=watch_requests,
                connect_timeout_s=connect_timeout_s or None,
            )
        )

    _run(service, log_level)


def _planner_keys(texts: Iterable[str]) -> tuple[str, ...]:
    from shared.signatures import parse_keys

    try:
        return parse_keys(texts)
    except ValueError as error:
        raise InputError(f"--planner-key: {error}") from None


def _check_watches(watches: Iterable["Watch"]) -> None:
    for watch in watches:
        if not watch.directory.is_dir():
            raise InputError(f"--watch {watch.stream}={watch.directory}: there is no such folder")


def _check_provider(provider: str) -> None:
    """Check that ONNX Runtime has a provider here, before the device joins the fleet.

    Raises:
        InputError: it does not; the text has the providers that there are.
    """
    from services.executor.errors import CannotPrepare
    from services.executor.segments.engine import EngineSettings, load_session
    from shared.messages.control import RejectionCause

    try:
        load_session(b"", EngineSettings(provider=provider))
    except CannotPrepare as error:
        # The runtime checks the provider before the model. A good provider fails later, on the empty model.
        if error.cause is not RejectionCause.MODEL_INVALID:
            raise InputError(f"--provider: {error}") from error


def _run(service: Callable[[], Awaitable[None]], log_level: str) -> None:
    # `service` builds its configuration inside `run`, which reports wrong input as one line.
    if log_level.lower() not in ("debug", "info", "warning", "error"):
        raise InputError(f"log level {log_level!r}: use debug, info, warning or error")
    status = run_service(service, log_level=log_level)
    if status is not ExitStatus.DONE:
        raise typer.Exit(status)


def _device(name: str | None) -> str:
    # Without the domain, which may change with the network.
    return name or socket.gethostname().split(".")[0]
