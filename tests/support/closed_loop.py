"""A planner's core in a loop with a simulated fleet: loads, delays of monitors and of preparations, latencies.

There is no real time: a minute takes as long as the planning in it.
"""

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from planning.strategies import strategies
from services.planner.coordination.coordinator import Coordinator
from services.planner.coordination.effects import Effect
from services.planner.decisions.committed_routes import joint_cost
from services.planner.decisions.cost_history import key_of
from services.planner.problems.problem_from_snapshot import Circumstances, build_problem
from services.planner.problems.snapshot import Change
from shared.messages.control import Prepare, Ready
from shared.messages.devices import LinkEstimate, Links
from shared.messages.events import EventKind
from shared.messages.streams import MAX_LATENCIES, DeviceTime, MeasuredLatencies, PlanRoute, StreamUsage
from tests.support.planner_bench import Bench, commands, events
from tests.support.planner_fleet import manifest_of
from tests.support.planner_world import after, declaration, load, presence, profile, route

STEP_S = 0.1
BLOCKS = 5

# A quantity over time.
Wave = Callable[[float], float]


def constant(value: float) -> Wave:
    return lambda _: value


def square(period_s: float, low: float, high: float) -> Wave:
    return lambda at_s: high if at_s % period_s < period_s / 2 else low


@dataclass
class Loop:
    """Devices that compute, links between all of them, and one planner.

    Attributes:
        idle_ms: time of the whole model on each idle device.
        load: true load factor of each device over time; 1 if it is missing.
        mbps: true bandwidth of every link over time.
        monitor_s: delay of a monitor's message after a change, on average.
        prepare_s: time from a command until a device is ready.
        rate_hz: requests per second of every stream.
        hidden: how much slower a device really is than profiles, loads and the cost model say.
        noise: relative spread of latencies, uniform.
        latencies_ms: of the requests of each stream, so far.
    """

    idle_ms: Mapping[str, float]
    streams: Mapping[str, str]
    load: Mapping[str, Wave] = field(default_factory=dict)
    mbps: Wave = field(default_factory=lambda: constant(200.0))
    monitor_s: float = 0.7
    prepare_s: float = 0.4
    rate_hz: float = 8.0
    hidden: Mapping[str, float] = field(default_factory=dict)
    noise: float = 0.0
    seed: int = 0
    bench: Bench = field(default_factory=lambda: Bench(Coordinator("planner", strategies().keys(), 0.0)))
    latencies_ms: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.began_s = self.bench.now_s
        self._random = random.Random(self.seed)
        self._pending: list[tuple[float, object]] = []
        self._heard: dict[str, float] = {}
        self._true_ms: dict[object, float] = {}
        self._unreported: dict[tuple[str, int], list[float]] = {}
        self._report_s = 0.0
        self.bench.hear(manifest_of())
        for name, whole_ms in self.idle_ms.items():
            self.bench.hear(presence(name), profile(name, (whole_ms / BLOCKS,) * BLOCKS))
        self._publish_links()
        for stream, source in self.streams.items():
            self.bench.hear(declaration(stream, source=source))
            self.bench.hear(StreamUsage(stream=stream, input_bytes=12_000, rate_hz=self.rate_hz))
            self.latencies_ms[stream] = []
        self.bench.obey()

    @property
    def reroutes(self) -> int:
        """Number of reroutes since the first plans."""
        return len(self.reasons) - len(self.streams)

    @property
    def reasons(self) -> list[str]:
        """Reasons of all reroutes, the first plans included."""
        return [each.text for each in events(self.bench.effects) if each.kind is EventKind.REROUTE]

    def devices(self, stream: str) -> tuple[str, ...]:
        """Return the devices on which a stream computes now."""
        plan = self.bench.core.streams[stream].epochs.committed
        return () if plan is None else tuple(dict.fromkeys(stage.device for stage in plan.routes[0].stages))

    def fixed_ms(self, stream: str, device: str, for_s: float) -> float:
        """Return the mean latency of a stream that always computes on one device."""
        routes = (route((0, BLOCKS, device)),)
        return statistics.mean(self.true_ms(stream, routes, number * STEP_S) for number in range(int(for_s / STEP_S)))

    def true_ms(self, stream: str, routes: Sequence[PlanRoute], now_s: float, others: Sequence[str] = ()) -> float:
        """Return the latency of a request at one time, by the cost model in the true state of the fleet.

        Args:
            stream: of the request.
            routes: of the stream.
            now_s: seconds since the beginning.
            others: the devices on which other streams compute. Each slows the device down by 1 / (1 - its share).
        """
        loads = tuple(self.load.get(device, constant(1.0))(now_s) for device in self.idle_ms)
        key = (stream, key_of({stream: routes}), loads, self.mbps(now_s), tuple(others))
        if key not in self._true_ms:
            messages: list[Change] = [load(device, factor) for device, factor in zip(self.idle_ms, loads, strict=True)]
            snapshot = after(
                self.bench.core.snapshot, *messages, *self._links(self.mbps(now_s)), now_s=self.bench.now_s
            )
            shares: dict[str, float] = {}
            for device, factor in zip(self.idle_ms, loads, strict=True):
                shares[device] = others.count(device) * self.rate_hz * factor * self.idle_ms[device] / 1000
            problem = build_problem(snapshot, (stream,), Circumstances(self.bench.now_s, {}, shares))
            self._true_ms[key] = joint_cost(problem, {stream: routes})
        return self._true_ms[key]

    def run(self, for_s: float) -> None:
        """Let time pass."""
        end_s = self.bench.now_s + for_s
        requests = 0.0
        while self.bench.now_s < end_s:
            self.bench.now_s += STEP_S
            now_s = self.bench.now_s - self.began_s
            self._sense(now_s)
            due = [message for at_s, message in self._pending if at_s <= self.bench.now_s]
            self._pending = [each for each in self._pending if each[0] > self.bench.now_s]
            effects: list[Effect] = []
            for message in due:
                effects += self.bench.hear(message)  # type: ignore[arg-type]
            effects += self.bench.take(self.bench.core.tick(self.bench.now_s)) + self.bench.plan()
            for device, command in commands(effects):
                if isinstance(command, Prepare):
                    ready = Ready(device=device, stream=command.stream, epoch=command.epoch)
                    self._pending.append((self.bench.now_s + self.prepare_s, ready))
            requests += STEP_S * self.rate_hz
            while requests >= 1:
                requests -= 1
                self._request(now_s)

    def _request(self, now_s: float) -> None:
        plans = {stream: self.bench.core.streams[stream].epochs.committed for stream in self.streams}
        for stream, plan in plans.items():
            assert plan is not None
            others = [self.devices(other)[-1] for other in self.streams if other != stream]
            latency_ms = self.true_ms(stream, plan.routes, now_s, others)
            latency_ms *= max(self.hidden.get(device, 1.0) for device in self.devices(stream))
            latency_ms *= self._random.uniform(1 - self.noise, 1 + self.noise)
            self.latencies_ms[stream].append(latency_ms)
            self._unreported.setdefault((stream, plan.epoch), []).append(latency_ms)
        if now_s >= self._report_s:
            self._report_s = now_s + 1.0
            self._report()

    def _report(self) -> None:
        """Publish what the sources have measured in the last second."""
        for (stream, epoch), latencies_ms in self._unreported.items():
            devices = self.devices(stream)
            times = tuple(DeviceTime(device=device, took_ms=median(latencies_ms)) for device in devices)
            measured = MeasuredLatencies(epoch=epoch, latencies_ms=tuple(latencies_ms[-MAX_LATENCIES:]), devices=times)
            usage = StreamUsage(stream=stream, input_bytes=12_000, rate_hz=self.rate_hz, measured=measured)
            self._pending.append((self.bench.now_s, usage))
        self._unreported.clear()

    def _sense(self, now_s: float) -> None:
        """Publish a load that has changed, after the monitor's delay."""
        for device, wave in self.load.items():
            factor = wave(now_s)
            if self._heard.get(device) != factor:
                self._heard[device] = factor
                delay_s = self.monitor_s * self._random.uniform(0.7, 1.3)
                self._pending.append((self.bench.now_s + delay_s, load(device, factor)))
        rate = self.mbps(now_s)
        if self._heard.get("links") != rate:
            self._heard["links"] = rate
            self._pending += [(self.bench.now_s + self.monitor_s, each) for each in self._links(rate)]

    def _publish_links(self) -> None:
        rate = self.mbps(0.0)
        self._heard["links"] = rate
        self.bench.hear(*self._links(rate))

    def _links(self, rate: float) -> list[Links]:
        return [
            Links(
                device=name,
                sent_at_s=self.bench.now_s,
                links=tuple(
                    LinkEstimate(target=other, bandwidth_mbps=rate, latency_ms=1.0)
                    for other in self.idle_ms
                    if other != name
                ),
            )
            for name in self.idle_ms
        ]
