"""`segue planner`, `executor`, `monitor` and `collector`: one service each, in the foreground."""

import socket
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.support.options import DEFAULT_BROKER, Broker, settings
from shared.service_runtime import ExitStatus, InputError, run

if TYPE_CHECKING:
    from services.executor.config import Watch

LogLevel = Annotated[str, typer.Option("--log-level", envvar="SEGUE_LOG_LEVEL", help="debug, info, warning or error.")]
DataDir = Annotated[
    Path | None, typer.Option(envvar="SEGUE_DATA_DIR", help="Where the service keeps its data.", show_default=False)
]
Device = Annotated[
    str | None,
    typer.Option(envvar="SEGUE_DEVICE", help="Name of this device; its host name if not given.", show_default=False),
]
Emulated = Annotated[
    bool,
    typer.Option("--emulated", envvar="SEGUE_EMULATED", help="Pretend what `devices/NAME/emulation` says."),
]
Threads = Annotated[int, typer.Option(min=1, envvar="SEGUE_THREADS", help="Threads that compute a segment.")]
ConnectTimeout = Annotated[
    float,
    typer.Option(
        "--connect-timeout-s",
        min=0.0,
        envvar="SEGUE_CONNECT_TIMEOUT_S",
        help="How long the broker may take to appear at the start; 0 waits for ever.",
    ),
]


def planner(
    data_dir: DataDir = None,
    name: Annotated[str, typer.Option(envvar="SEGUE_NAME", help="Name of the service.")] = "planner",
    time_budget_s: Annotated[
        float, typer.Option(min=0.01, envvar="SEGUE_TIME_BUDGET_S", help="How long a strategy may search.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(envvar="SEGUE_SEED", help="Of all randomness in strategies.")] = 0,
    connect_timeout_s: ConnectTimeout = 30.0,
    broker: Broker = DEFAULT_BROKER,
    log_level: LogLevel = "info",
) -> None:
    """Decide where segments run, and decide anew whenever something changes. One per fleet.

    It keeps streams, policies and the library of models in its data folder.
    """

    async def service() -> None:
        from services.planner.config import PlannerConfig
        from services.planner.service import serve

        config = PlannerConfig(
            broker=settings(broker),
            data_dir=_data_dir(data_dir, "planner"),
            name=name,
            time_budget_s=time_budget_s,
            seed=seed,
            connect_timeout_s=connect_timeout_s or None,
        )
        await serve(config)

    _run(service, log_level)


def executor(
    device: Device = None,
    data_dir: DataDir = None,
    threads: Threads = 1,
    provider: Annotated[
        str, typer.Option(envvar="SEGUE_PROVIDER", help="ONNX Runtime's execution provider.")
    ] = "CPUExecutionProvider",
    memory_mib: Annotated[
        float | None, typer.Option(min=1.0, envvar="SEGUE_MEMORY_MIB", help="What segments may take together.")
    ] = None,
    watch: Annotated[
        list[str] | None,
        typer.Option(metavar="STREAM=DIR", help="Images that appear in DIR become requests; repeat it."),
    ] = None,
    power_idle_w: Annotated[float, typer.Option(min=0.0, envvar="SEGUE_POWER_IDLE_W", help="Watts when idle.")] = 0.0,
    power_active_w: Annotated[
        float, typer.Option(min=0.0, envvar="SEGUE_POWER_ACTIVE_W", help="Watts when computing.")
    ] = 0.0,
    power_tx_w: Annotated[
        float, typer.Option(min=0.0, envvar="SEGUE_POWER_TX_W", help="Watts on top when sending.")
    ] = 0.0,
    power_rx_w: Annotated[
        float, typer.Option(min=0.0, envvar="SEGUE_POWER_RX_W", help="Watts on top when receiving.")
    ] = 0.0,
    shadow_share: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            envvar="SEGUE_SHADOW_SHARE",
            help="Share of the feature maps sent in a lossy encoding whose effect on the answer is checked here.",
        ),
    ] = 0.0,
    emulated: Emulated = False,
    connect_timeout_s: ConnectTimeout = 30.0,
    broker: Broker = DEFAULT_BROKER,
    log_level: LogLevel = "info",
) -> None:
    """Run segments on this device, and take the requests that arise here. One per device, beside its monitor.

    It fetches models over the bus, measures them once, and keeps what it accepted until it has an outcome.
    """

    async def service() -> None:
        from services.executor.config import ExecutorConfig, Power, Watch, default_data_dir
        from services.executor.segments.engine import EngineSettings
        from services.executor.service import serve

        watches = tuple(Watch.parse(each) for each in watch or ())
        _check_watches(watches)
        _check_provider(provider)
        config = ExecutorConfig(
            device=_device(device),
            broker=settings(broker),
            data_dir=data_dir or default_data_dir(),
            engine=EngineSettings(provider=provider, threads=threads),
            emulated=emulated,
            memory_limit_bytes=None if memory_mib is None else int(memory_mib * 2**20),
            power=Power(power_idle_w, power_active_w, power_tx_w, power_rx_w),
            watches=watches,
            shadow_share=shadow_share,
            connect_timeout_s=connect_timeout_s or None,
        )
        await serve(config)

    _run(service, log_level)


def monitor(
    device: Device = None,
    threads: Threads = 1,
    heartbeat_s: Annotated[
        float, typer.Option(min=0.5, envvar="SEGUE_HEARTBEAT_S", help="Longest silence, in seconds.")
    ] = 5.0,
    emulated: Emulated = False,
    connect_timeout_s: ConnectTimeout = 30.0,
    broker: Broker = DEFAULT_BROKER,
    log_level: LogLevel = "info",
) -> None:
    """Watch this device and its links, and say when something changes. One per device, beside its executor."""

    async def service() -> None:
        from services.monitor.config import MonitorConfig
        from services.monitor.service import serve

        config = MonitorConfig(
            device=_device(device),
            broker=settings(broker),
            emulated=emulated,
            threads=threads,
            heartbeat_s=heartbeat_s,
            connect_timeout_s=connect_timeout_s or None,
        )
        await serve(config)

    _run(service, log_level)


def collector(
    data_dir: DataDir = None,
    name: Annotated[str, typer.Option(envvar="SEGUE_NAME", help="Name of the service.")] = "collector",
    metrics_host: Annotated[
        str, typer.Option(envvar="SEGUE_METRICS_HOST", help="Address of the Prometheus endpoint.")
    ] = "127.0.0.1",
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, envvar="SEGUE_METRICS_PORT", help="Its port, 0 for any; no endpoint if not given."
        ),
    ] = None,
    watch_requests: Annotated[
        bool,
        typer.Option(
            "--watch-requests",
            envvar="SEGUE_WATCH_REQUESTS",
            help="Listen to the requests too, to know those without an outcome; their bytes then travel here as well.",
        ),
    ] = False,
    connect_timeout_s: ConnectTimeout = 30.0,
    broker: Broker = DEFAULT_BROKER,
    log_level: LogLevel = "info",
) -> None:
    """Store outcomes, traces, reroutes and events, and confirm outcomes to their sources. One per fleet, or more."""

    async def service() -> None:
        from services.collector.config import CollectorConfig
        from services.collector.service import serve

        config = CollectorConfig(
            broker=settings(broker),
            data_dir=_data_dir(data_dir, "collector"),
            name=name,
            metrics_host=metrics_host,
            metrics_port=metrics_port,
            watch_requests=watch_requests,
            connect_timeout_s=connect_timeout_s or None,
        )
        await serve(config)

    _run(service, log_level)


def _check_watches(watches: Iterable["Watch"]) -> None:
    for watch in watches:
        if not watch.directory.is_dir():
            raise InputError(f"--watch {watch.stream}={watch.directory}: there is no such folder")


def _check_provider(provider: str) -> None:
    """Refuse a provider that ONNX Runtime does not have here, before anybody counts on the device.

    Raises:
        InputError: with those that it has.
    """
    from services.executor.errors import CannotPrepare
    from services.executor.segments.engine import EngineSettings, load_session
    from shared.messages.control import RejectionCause

    try:
        load_session(b"", EngineSettings(provider=provider))
    except CannotPrepare as error:  # the provider is looked at first, and no model is what the others object to
        if error.cause is not RejectionCause.MODEL_INVALID:
            raise InputError(f"--provider: {error}") from error


def _run(service: Callable[[], Awaitable[None]], log_level: str) -> None:
    if log_level.lower() not in ("debug", "info", "warning", "error"):
        raise InputError(f"log level {log_level!r}: use debug, info, warning or error")
    status = run(service, log_level=log_level)
    if status is not ExitStatus.DONE:
        raise typer.Exit(status)


def _device(name: str | None) -> str:
    return name or socket.gethostname().split(".")[0]


def _data_dir(given: Path | None, service: str) -> Path:
    return given or Path.home() / ".local" / "share" / "segue" / service
