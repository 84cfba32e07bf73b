"""Options of the commands that run one service each."""

from pathlib import Path
from typing import Annotated

import typer

from shared.transport_mode import TransportMode

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
        help="Name of this device; that of its account, or its host name, if not given.",
        show_default=False,
    ),
]
ServiceName = Annotated[
    str | None,
    typer.Option(
        "--name",
        envvar="SEGUE_NAME",
        help="Name of the service; that of its account, or its kind, if not given.",
        show_default=False,
    ),
]
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
LaneLimit = Annotated[
    int,
    typer.Option(
        "--lane-kib",
        min=0,
        max=128,
        envvar="SEGUE_LANE_KIB",
        help="Largest feature map that is sent without a receipt on the lane for small ones; 0 for none.",
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
