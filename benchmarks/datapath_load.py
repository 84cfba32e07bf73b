"""A stream under load: its largest rate, and latency and processor time at a fixed rate. Used by `datapath`."""

import asyncio
import itertools
import os
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.fleet_harness import FleetHarness
from benchmarks.report import percentile, spread
from broker.process import BrokerProcess
from services.cli.support.manifest import Preset, build_manifest
from services.cli.testbed import command_lines
from services.cli.testbed.processes import Processes
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.mqtt.properties import Properties
from shared.bus.settings import BusSettings
from shared.messages.models import Manifest
from shared.messages.requests import REQUEST_ID_PROPERTY
from shared.messages.streams import PlanRoute, PlanStage
from shared.model.architectures import build
from shared.model.architectures.builder import GraphBuilder
from shared.model.onnx_file import write_onnx

IN_FLIGHT: Final = 16
RATE_HZ: Final = 100.0
_ANSWER_S: Final = 30.0
_WARM_UP_S: Final = 1.0
_SETTLE_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request.

    Attributes:
        total_ms: from the publication of the request to the outcome.
        outcome: the outcome, not decoded.
    """

    total_ms: float
    outcome: bytes


@dataclass(slots=True)
class StreamClient:
    """An application with one stream. It matches outcomes by their property and does not decode them."""

    connection: Connection
    stream: str
    _waiting: dict[str, asyncio.Future[tuple[float, bytes]]] = field(default_factory=dict)
    # Ids are new in every client: an outcome that is known already comes from the memory of the source.
    _prefix: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    _requests: int = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: BusSettings, stream: str) -> AsyncIterator["StreamClient"]:
        """Subscribe to the results while the context lasts."""
        async with Connection.open(settings) as connection, asyncio.TaskGroup() as group:
            client = cls(connection, stream)
            await connection.subscribe(topics.results(stream))
            listening = group.create_task(client._listen(), name="listen")
            try:
                yield client
            finally:
                listening.cancel()

    async def ask(self, payload: bytes) -> Answer:
        """Submit a request, and wait for its outcome."""
        self._requests += 1
        request_id = f"{self._prefix}-{self._requests}"
        self._waiting[request_id] = answered = asyncio.get_running_loop().create_future()
        started_s = time.monotonic()
        properties = Properties(user={REQUEST_ID_PROPERTY: request_id})
        topic = topics.requests(self.stream)
        await self.connection.publish(topic, payload, properties=properties, timeout_s=_ANSWER_S)
        try:
            async with asyncio.timeout(_ANSWER_S):
                answered_s, outcome = await answered
        except TimeoutError:
            late = f"request {request_id} of stream {self.stream} has no answer after {_ANSWER_S:g} s"
            raise RuntimeError(f"{late}; {len(self._waiting)} wait, as after a stall") from None
        return Answer(1000 * (answered_s - started_s), outcome)

    async def _listen(self) -> None:
        async for received in self.connection:
            now_s = time.monotonic()
            answered = self._waiting.pop(received.properties.user[REQUEST_ID_PROPERTY], None)
            if answered is not None and not answered.done():
                answered.set_result((now_s, bytes(received.payload)))


async def largest_rate_hz(client: StreamClient, payload: bytes, duration_s: float) -> float:
    """Keep requests under way for some time, and return the completions per second after a warm-up."""
    started_s = time.monotonic()
    completed = 0

    async def keep_asking() -> None:
        nonlocal completed
        while (now_s := time.monotonic() - started_s) < _WARM_UP_S + duration_s:
            await client.ask(payload)
            completed += now_s >= _WARM_UP_S

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(keep_asking())
    return completed / (time.monotonic() - started_s - _WARM_UP_S)


async def steady_ms(client: StreamClient, payload: bytes, rate_hz: float, duration_s: float) -> list[float]:
    """Submit requests at a fixed rate, whatever becomes of those before, and return their times in ms."""
    started_s = time.monotonic()
    async with asyncio.TaskGroup() as group:
        asked = []
        for number in range(round(rate_hz * duration_s)):
            await asyncio.sleep(started_s + number / rate_hz - time.monotonic())
            asked.append(group.create_task(client.ask(payload)))
    return [task.result().total_ms for task in asked]


async def serve_route(
    harness: FleetHarness, manifest: Manifest, devices: Sequence[str], cuts: Sequence[int], payload: bytes
) -> None:
    """Put a route over devices in force that is cut behind some blocks."""
    bounds = (0, *cuts, len(manifest.blocks))
    stages = tuple(
        PlanStage(start=start, stop=stop, device=device)
        for (start, stop), device in zip(itertools.pairwise(bounds), devices, strict=True)
    )
    await harness.begin(manifest, devices[0], devices)
    routes = [PlanRoute(stages=stages)]
    epoch = await harness.commit(manifest, devices[0], routes, max_in_flight=IN_FLIGHT)
    await harness.reach(payload, epoch)


def tiny_model(folder: Path) -> tuple[Manifest, Path]:
    """Write a model of three small convolutions."""
    path = folder / "tiny.onnx"
    write_onnx(build("tiny"), path)
    return build_manifest(path, preprocessing=Preset.TENSOR), path


async def measure_rates(
    settings: BusSettings, folder: Path, pairs: Mapping[str, tuple[str, str]], duration_s: float
) -> dict[str, float]:
    """Return the largest rates of a stream of the tiny model on one device, and on two by every way, by name.

    Args:
        settings: of the broker.
        folder: for the model.
        pairs: running executors, by way.
        duration_s: of each measurement.
    """
    manifest, path = tiny_model(folder)
    payload = bytes(manifest.blocks[0].output_bytes)
    middle = len(manifest.blocks) // 2
    layouts: dict[str, tuple[Sequence[str], Sequence[int]]] = {"one_device": (next(iter(pairs.values()))[:1], ())}
    layouts |= {f"two_devices_{way}": (devices, (middle,)) for way, devices in pairs.items()}
    rates: dict[str, float] = {}
    for name, (devices, cuts) in layouts.items():
        async with FleetHarness.open(settings, f"rate-{name}", {manifest.model: path}) as harness:
            await serve_route(harness, manifest, devices, cuts, payload)
        async with StreamClient.open(settings, f"rate-{name}") as client:
            rates[name] = round(await largest_rate_hz(client, payload, duration_s), 1)
    return rates


def three_stages(folder: Path) -> tuple[Manifest, Path, tuple[int, int]]:
    """Write a model of three cheap stages with 50 kB between them, and return its cuts as well."""
    b = GraphBuilder("three_stages", 1, (1, 1, 56, 56))
    wide = b.relu(b.conv(b.relu(b.conv(b.input, "expand", 4, 1)), "again", 4, 1))
    folder.mkdir(exist_ok=True)
    path = folder / "three_stages.onnx"
    write_onnx(b.finish(b.linear(b.flatten(b.global_pool(wide, "pool")), "fc", 10)), path)
    return build_manifest(path, preprocessing=Preset.TENSOR), path, (2, 3)


async def measure_fleet(broker: BrokerProcess, folder: Path, payload: bytes, duration_s: float) -> dict[str, Any]:
    """Measure a fleet of three devices with monitors and a collector, at a fixed rate.

    Returns:
        Milliseconds of processor time per request and process beyond those of the idle fleet, their sum, that of the
        client, and the latencies.
    """
    devices = ("source", "middle", "last")
    manifest, path, cuts = three_stages(folder)
    async with broker, Processes(folder, command_lines.environment(broker.settings.address)) as processes:
        await processes.start("collector", ("collector", "--data-dir", str(folder / "collector")))
        for device in devices:
            await processes.start(f"executor-{device}", ("executor", "--device", device, "--data-dir", str(folder)))
            await processes.start(f"monitor-{device}", ("monitor", "--device", device, "--data-dir", str(folder)))
        async with FleetHarness.open(broker.settings, "fleet", {manifest.model: path}) as harness:
            await serve_route(harness, manifest, devices, cuts, payload)
        watched = {name: processes.pid(name) for name in processes.names} | {"client": os.getpid()}
        if broker.pid is not None:
            watched["broker"] = broker.pid
        async with StreamClient.open(broker.settings, "fleet") as client:
            await steady_ms(client, payload, RATE_HZ, _SETTLE_S)
            await asyncio.sleep(_SETTLE_S)
            idle = await _shares_while(watched, asyncio.sleep(duration_s))
            times_ms: list[float] = []

            async def load() -> None:
                times_ms.extend(await steady_ms(client, payload, RATE_HZ, duration_s))

            busy = await _shares_while(watched, load())
    per_request_ms = {name: round(1000 * (busy[name] - idle[name]) / RATE_HZ, 3) for name in watched}
    client_ms = per_request_ms.pop("client")
    return {
        "cpu_ms": per_request_ms,
        "sum_ms": round(sum(per_request_ms.values()), 2),
        "client_ms": client_ms,
        "total_ms": spread(times_ms),
        "worst_ms": round(max(times_ms), 3),
    }


async def _shares_while(watched: Mapping[str, int], running: Any) -> dict[str, float]:
    """Return the processor time per second of processes, by name, while something runs."""
    before, started_s = _cpu_s(watched), time.monotonic()
    await running
    elapsed_s, after = time.monotonic() - started_s, _cpu_s(watched)
    return {name: (after[name] - before[name]) / elapsed_s for name in watched}


def _cpu_s(watched: Mapping[str, int]) -> dict[str, float]:
    """Return the processor time of processes and of their children, by name."""
    return {
        name: sum(
            _own_cpu_s(each) for each in (process, *(process.children(recursive=True) if name != "client" else ()))
        )
        for name, process in ((name, psutil.Process(pid)) for name, pid in watched.items())
    }


def _own_cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def timer_lateness_ms(duration_s: float = 2.0) -> dict[str, float]:
    """Return how late sleeps of a millisecond end: what other work on the machine does to every measured time."""
    late: list[float] = []
    ends_s = time.monotonic() + duration_s
    while (started_s := time.monotonic()) < ends_s:
        await asyncio.sleep(0.001)
        late.append(1000 * (time.monotonic() - started_s) - 1.0)
    return {**spread(late), "worst": round(percentile(late, 1.0), 3)}


def steady_row(way: str, times_ms: Iterable[float]) -> dict[str, Any]:
    """Return the latencies of one way at the fixed rate."""
    times = list(times_ms)
    return {"way": way, "requests": len(times), "total_ms": spread(times), "worst_ms": round(max(times), 3)}
