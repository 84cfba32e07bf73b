"""What an idle monitor costs: resident memory and processor time of real monitor processes that probe each other.

    python benchmarks/monitor_footprint.py [--seconds 30] [--devices 3]

Prints JSON: per monitor the resident memory, beside that of a bare interpreter and of one that only holds the bus
client, and the processor's share in percent of one core.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence

import psutil

from broker.embedded import EmbeddedBroker
from shared.bus import topics
from shared.bus.connection import Connection
from shared.messages.devices import Presence, State

_MONITOR = (
    "import asyncio, sys; from services.monitor.config import MonitorConfig; "
    "from services.monitor.service import serve; from shared.bus.settings import BusSettings; "
    "asyncio.run(serve(MonitorConfig(sys.argv[1], BusSettings.from_address(sys.argv[2]))))"
)
_BARE = "import sys; sys.stdin.read()"
_BUS = "import sys; import asyncio, shared.bus.connection, shared.messages.devices; sys.stdin.read()"
_HEAVY = ("numpy", "onnx", "onnxruntime", "scipy", "PIL")
_WARM_UP_S = 5.0
_MIB = 1024 * 1024


async def _start(program: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *arguments, stdin=asyncio.subprocess.PIPE
    )


async def _stop(processes: Sequence[asyncio.subprocess.Process]) -> None:
    for process in processes:
        if process.returncode is None:
            process.terminate()
    await asyncio.gather(*(process.wait() for process in processes))


async def _resident_mib(program: str) -> float:
    """Return what a program holds that has imported what it needs and waits."""
    process = await _start(program)
    try:
        await asyncio.sleep(2.0)
        return _unique_mib(process.pid)[0]
    finally:
        await _stop([process])


def _unique_mib(pid: int) -> tuple[float, float]:
    """Return resident memory, and the part of it that no other process shares."""
    memory = psutil.Process(pid).memory_full_info()
    return memory.rss / _MIB, getattr(memory, "uss", memory.rss) / _MIB


async def measure(devices: int, duration_s: float) -> dict[str, object]:
    """Run monitors of devices that are online and idle, and measure them."""
    async with EmbeddedBroker() as broker, Connection.open(broker.settings) as connection:
        names = [f"device{number}" for number in range(devices)]
        for name in names:
            presence = Presence(device=name, state=State.ONLINE, boot_id="benchmark")
            await connection.publish(topics.presence(name), presence.encode(), retain=True)
        processes = [await _start(_MONITOR, name, broker.settings.address) for name in names]
        try:
            await asyncio.sleep(_WARM_UP_S)
            watched = [psutil.Process(process.pid) for process in processes]
            before = [sum(each.cpu_times()[:2]) for each in watched]
            began_s = time.perf_counter()
            await asyncio.sleep(duration_s)
            elapsed_s = time.perf_counter() - began_s
            shares = [
                100 * (sum(each.cpu_times()[:2]) - earlier) / elapsed_s
                for each, earlier in zip(watched, before, strict=True)
            ]
            memory = [_unique_mib(each.pid) for each in watched]
            loaded = sorted({name for each in watched for name in _HEAVY if _has_loaded(each, name)})
        finally:
            await _stop(processes)
    return {
        "devices": devices,
        "seconds": round(elapsed_s, 1),
        "monitor_resident_mib": round(statistics.median(resident for resident, _ in memory), 1),
        "monitor_unique_mib": round(statistics.median(unique for _, unique in memory), 1),
        "interpreter_resident_mib": round(await _resident_mib(_BARE), 1),
        "bus_client_resident_mib": round(await _resident_mib(_BUS), 1),
        "cpu_percent_of_one_core": round(statistics.median(shares), 2),
        "heavy_libraries_mapped": loaded,
    }


def _has_loaded(process: psutil.Process, library: str) -> bool:
    return any(f"/{library}/" in region.path for region in process.memory_maps())


def main() -> None:
    """Read the arguments and print the measurement."""
    parser = argparse.ArgumentParser(description="Measure what an idle monitor costs.")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to measure (default: %(default)s)")
    parser.add_argument("--devices", type=int, default=3, help="monitors that probe each other (default: %(default)s)")
    options = parser.parse_args()
    print(json.dumps(asyncio.run(measure(options.devices, options.seconds)), indent=2))


if __name__ == "__main__":
    main()
