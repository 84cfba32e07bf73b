"""Resident memory (MiB) and processor time (percent of one core) of idle monitors that probe each other.

    python -m benchmarks.monitor_footprint [--quick] [--out FILE] [--seconds S] [--devices N]

Values are medians over the monitors. For comparison, the results have the memory of a bare interpreter, and of one that
has imported the bus client.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import psutil

from benchmarks.report import argument_parser, console, write
from broker.embedded import EmbeddedBroker
from shared.bus import topics
from shared.bus.connection import Connection
from shared.messages.devices import Presence, State

SECONDS, QUICK_SECONDS = 30.0, 10.0

_MONITOR = "from services.cli.main import main; main()"
_BARE = "import sys; sys.stdin.read()"
_BUS = "import sys; import asyncio, shared.bus.connection, shared.messages.devices; sys.stdin.read()"
# A monitor that maps one of these imports too much.
_HEAVY = ("numpy", "onnx", "onnxruntime", "scipy", "PIL")
# Until the links are measured: an idle monitor is one that knows them.
_WARM_UP_S = 20.0
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
    """Return the resident memory of a program after its imports."""
    process = await _start(program)
    try:
        await asyncio.sleep(2.0)
        return _memory_mib(process.pid)[0]
    finally:
        await _stop([process])


def _memory_mib(pid: int) -> tuple[float, float]:
    """Return resident memory, and the proportional share of it (PSS) where the system tells, in MiB."""
    memory = psutil.Process(pid).memory_full_info()
    return memory.rss / _MIB, getattr(memory, "pss", memory.rss) / _MIB


async def measure(devices: int, duration_s: float) -> dict[str, Any]:
    """Run monitors of idle devices that are online, and measure them for `duration_s`."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        broker = await stack.enter_async_context(EmbeddedBroker())
        connection = await stack.enter_async_context(Connection.open(broker.settings))
        names = [f"device{number}" for number in range(devices)]
        for name in names:
            presence = Presence(device=name, state=State.ONLINE, boot_id="benchmark")
            await connection.publish(topics.presence(name), presence.encode(), retain=True)
        options = ("--broker", broker.settings.address, "--data-dir", folder)
        processes = [await _start(_MONITOR, "monitor", "--device", name, *options) for name in names]
        try:
            await asyncio.sleep(_WARM_UP_S)
            watched = [psutil.Process(process.pid) for process in processes]
            before_s = [sum(process.cpu_times()[:2]) for process in watched]
            began_s = time.perf_counter()
            await asyncio.sleep(duration_s)
            elapsed_s = time.perf_counter() - began_s
            shares = [
                100 * (sum(process.cpu_times()[:2]) - earlier_s) / elapsed_s
                for process, earlier_s in zip(watched, before_s, strict=True)
            ]
            memory = [_memory_mib(process.pid) for process in watched]
            loaded = sorted({name for process in watched for name in _HEAVY if _has_loaded(process, name)})
        finally:
            await _stop(processes)
    return {
        "devices": devices,
        "seconds": round(elapsed_s, 1),
        "monitor_resident_mib": round(statistics.median(resident for resident, _ in memory), 1),
        "monitor_proportional_mib": round(statistics.median(share for _, share in memory), 1),
        "interpreter_resident_mib": round(await _resident_mib(_BARE), 1),
        "bus_client_resident_mib": round(await _resident_mib(_BUS), 1),
        "cpu_percent_of_one_core": round(statistics.median(shares), 2),
        "heavy_libraries_mapped": loaded,
    }


def _has_loaded(process: psutil.Process, library: str) -> bool:
    return any(f"/{library}/" in region.path for region in process.memory_maps())


def headline(results: Mapping[str, Any]) -> str:
    """Summarise the results in one line."""
    return (
        f"an idle monitor holds {results['monitor_proportional_mib']:.0f} MiB ({results['monitor_resident_mib']:.0f} "
        f"with what others share, a bare interpreter {results['interpreter_resident_mib']:.0f}) and takes "
        f"{results['cpu_percent_of_one_core']:.2f} % of a core"
    )


def main() -> None:
    """Measure, print, write."""
    parser = argument_parser("monitor_footprint", __doc__, quick=f"{QUICK_SECONDS:g} seconds")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="duration (default: %(default)s)")
    parser.add_argument("--devices", type=int, default=3, help="number of monitors (default: %(default)s)")
    options = parser.parse_args()
    seconds = QUICK_SECONDS if options.quick else options.seconds
    results = asyncio.run(measure(options.devices, seconds))
    console().print(results)
    console().print(headline(results))
    write(options.out, {"headline": headline(results), **results})


if __name__ == "__main__":
    main()
