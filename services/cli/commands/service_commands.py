"""`segue planner`, `segue executor`, `segue monitor` and `segue collector`: one service each, in the foreground."""

import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

import typer

from services.cli.support.broker_access import broker_access
from services.cli.support.options import Broker, Insecure
from services.cli.support.service_options import (
    AssumedMbps,
    CacheLimit,
    ConnectTimeout,
    DataDir,
    Device,
    DirectFolder,
    DirectHost,
    DirectPort,
    Emulated,
    Heartbeat,
    LaneLimit,
    LogLevel,
    Memory,
    Metered,
    MetricsHost,
    MetricsPort,
    PlannerKeys,
    PowerActive,
    PowerIdle,
    PowerReceiving,
    PowerSending,
    Provider,
    Seed,
    ServiceName,
    ShadowShare,
    Threads,
    TimeBudget,
    Transport,
    Watches,
    WatchRequests,
)
from shared.bus.roles import Role
from shared.exit_status import ExitStatus, InputError
from shared.health.health_endpoint import answer_health
from shared.health.service_health import ServiceHealth
from shared.service_runtime import run_service
from shared.transport_mode import TransportMode
from shared.user_folders import state_folder, user_data_folder

if TYPE_CHECKING:
    from services.executor.config import Watch

_Config = TypeVar("_Config")


def planner_command(
    data_dir: DataDir = None,
    name: ServiceName = None,
    time_budget_s: TimeBudget = 0.5,
    seed: Seed = 0,
    connect_timeout_s: ConnectTimeout = 30.0,
    broker: Broker = None,
    insecure: Insecure = False,
    log_level: LogLevel = "info",
) -> None:
    """Decide where segments run, and again whenever the fleet changes. One per fleet.

    It stores streams, policies and the library of models in its data folder.
    """

    async def service() -> None:
        from services.planner.config import PlannerConfig
        from services.planner.service import serve

        access = broker_access(broker, insecure, (Role.PLANNER,))
        await _answering(
            "planner",
            access.name(name, "planner"),
            serve,
            PlannerConfig(
                broker=access.settings,
                data_dir=data_dir or user_data_folder() / "planner",
                name=access.name(name, "planner"),
                signing_key=None if access.account is None else access.account.signing_key or None,
                time_budget_s=time_budget_s,
                seed=seed,
                connect_timeout_s=connect_timeout_s or None,
            ),
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
    lane_kib: LaneLimit = 128,
    direct_host: DirectHost = None,
    direct_port: DirectPort = 0,
    direct_folder: DirectFolder = None,
    planner_key: PlannerKeys = None,
    connect_timeout_s: ConnectTimeout = 30.0,
    broker: Broker = None,
    insecure: Insecure = False,
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
        access = broker_access(broker, insecure, (Role.DEVICE,))
        known_keys = () if access.account is None else access.account.planner_keys
        planner_keys = _planner_keys(planner_key or known_keys)
        _check_watches(watches)
        _check_provider(provider)
        name = access.name(device, _host_name())
        await _answering(
            "executor",
            name,
            serve,
            ExecutorConfig(
                device=name,
                broker=access.settings,
                data_dir=data_dir or user_data_folder(),
                engine=EngineSettings(provider=provider, threads=threads),
                emulated=emulated,
                memory_limit_bytes=None if memory_mib is None else int(memory_mib * 2**20),
                cache_limit_bytes=None if cache_mib is None else int(cache_mib * 2**20),
                power=Power(power_idle_w, power_active_w, power_tx_w, power_rx_w),
                watches=watches,
                shadow_share=shadow_share,
                lane_bytes=lane_kib * 1024,
                transport=transport,
                direct_host=direct_host,
                direct_port=direct_port,
                direct_folder=direct_folder,
                planner_keys=planner_keys,
                connect_timeout_s=connect_timeout_s or None,
            ),
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
    broker: Broker = None,
    insecure: Insecure = False,
    log_level: LogLevel = "info",
) -> None:
    """Watch this device and its links, and publish changes. One per device, beside its executor."""

    async def service() -> None:
        from services.monitor.config import MonitorConfig
        from services.monitor.probe_settings import ProbeSettings
        from services.monitor.service import serve
        from shared.client_secret import with_client_secret

        access = broker_access(broker, insecure, (Role.DEVICE,))
        name = access.name(device, _host_name())
        folder = state_folder(data_dir or user_data_folder(), name)
        await _answering(
            "monitor",
            name,
            serve,
            MonitorConfig(
                device=name,
                broker=with_client_secret(access.settings, folder),
                emulated=emulated,
                threads=threads,
                heartbeat_s=heartbeat_s,
                probing=ProbeSettings(is_metered=metered, assumed_mbps=assumed_mbps),
                connect_timeout_s=connect_timeout_s or None,
            ),
        )

    _run(service, log_level)


def collector_command(
    data_dir: DataDir = None,
    name: ServiceName = None,
    metrics_host: MetricsHost = "127.0.0.1",
    metrics_port: MetricsPort = None,
    watch_requests: WatchRequests = False,
    connect_timeout_s: ConnectTimeout = 30.0,
    broker: Broker = None,
    insecure: Insecure = False,
    log_level: LogLevel = "info",
) -> None:
    """Store outcomes, traces, reroutes and events, and confirm outcomes to their sources. One per fleet, or more."""

    async def service() -> None:
        from services.collector.config import CollectorConfig
        from services.collector.service import serve

        access = broker_access(broker, insecure, (Role.COLLECTOR,))
        await _answering(
            "collector",
            access.name(name, "collector"),
            serve,
            CollectorConfig(
                broker=access.settings,
                data_dir=data_dir or user_data_folder() / "collector",
                name=access.name(name, "collector"),
                metrics_host=metrics_host,
                metrics_port=metrics_port,
                watch_requests=watch_requests,
                connect_timeout_s=connect_timeout_s or None,
            ),
        )

    _run(service, log_level)


async def _answering(
    role: str, name: str, serve: Callable[[_Config, ServiceHealth], Awaitable[None]], config: _Config
) -> None:
    """Run a service that answers `segue health`, and a supervisor, from its start on."""
    health = ServiceHealth(role, name)
    async with answer_health(health):
        await serve(config, health)


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


def _host_name() -> str:
    # Without the domain, which may change with the network.
    return socket.gethostname().split(".")[0]
