"""Harness for a fleet: receives all its messages, and acts as its planner, operator and applications."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from services.cli.render.fleet_view import FILTERS, FleetView
from services.cli.testbed.conditions import Conditions
from services.planner.problems.tiled_planning import TILE_OVERHEAD_MS, row_profile, row_tables
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.model_files.model_exchange import serve_models
from shared.bus.mqtt.properties import Properties
from shared.bus.settings import BusSettings
from shared.messages.control import COMMANDS, REPORTS, Prepare, ProfileModel, Ready, Rejected, segments_of
from shared.messages.devices import Profile
from shared.messages.events import Event, EventKind, Reroute
from shared.messages.models import Manifest
from shared.messages.requests import ACCEPT_PROPERTY, REQUEST_ID_PROPERTY, Outcome, OutcomeStatus
from shared.messages.streams import CommittedPlan, PlanRoute, StreamDeclaration

# Name of the model in planning problems.
MODEL: Final = "model"

_WAIT_S: Final = 60.0
# A source that has just subscribed may miss a request, so requests are repeated.
_REPEAT_S: Final = 2.0
_REPEATS: Final = 5
# Time for a profile before it is asked for again. A model takes seconds, on a busy machine more.
_PROFILE_S: Final = 10.0


class BenchmarkFailed(RuntimeError):
    """A request got no answer in time, or a device refused a command."""


@dataclass(slots=True)
class FleetHarness:
    """The messages received from a fleet with one stream; times are wall clock.

    Attributes:
        connection: receives all messages; publishes those of the benchmark.
        stream: name of the stream.
        view: devices, links, profiles and plans in force.
        reroutes: by epoch.
        switched_at_s: times at which sources reported that they had left a plan's route by themselves.
        prepared_at_s: time of the planner's first `Prepare`, by epoch.
        accept: content type of results; JSON if empty, which leaves large outputs out.
    """

    connection: Connection
    stream: str
    accept: str = ""
    view: FleetView = field(default_factory=FleetView)
    reroutes: dict[int, Reroute] = field(default_factory=dict)
    switched_at_s: list[float] = field(default_factory=list)
    prepared_at_s: dict[int, float] = field(default_factory=dict)
    _ready: set[tuple[str, int]] = field(default_factory=set)
    _outcomes: dict[str, Outcome] = field(default_factory=dict)
    _received: asyncio.Condition = field(default_factory=asyncio.Condition)
    _requests: int = 0
    _epoch: int = 0

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: BusSettings, stream: str, files: Mapping[str, Path] | None = None, *, accept: str = ""
    ) -> AsyncIterator["FleetHarness"]:
        """Subscribe to the fleet while the context lasts.

        Args:
            settings: address and credentials of the broker.
            stream: name of the stream.
            files: model files by SHA-256, served instead of a planner; none where a planner runs.
            accept: content type of results; JSON if empty, which leaves large outputs out.
        """
        async with (
            Connection.open(settings) as connection,
            Connection.open(settings) as library,
            asyncio.TaskGroup() as group,
        ):
            harness = cls(connection, stream, accept)
            for topic in (*FILTERS, topics.reports.any, topics.commands("+")):
                await connection.subscribe(topic)
            tasks = [group.create_task(harness._listen(), name="listen")]
            if files is not None:
                tasks.append(group.create_task(serve_models(library, "planner", files.get), name="serve models"))
            try:
                yield harness
            finally:
                for task in tasks:
                    task.cancel()

    async def until(self, condition: Callable[[], bool], what: str, timeout_s: float = _WAIT_S) -> None:
        """Wait until a condition on the received messages holds.

        Args:
            condition: evaluated after every message.
            what: names the condition in the error.
            timeout_s: longest wait.

        Raises:
            BenchmarkFailed: the condition does not hold in time.
        """
        try:
            async with asyncio.timeout(timeout_s), self._received:
                await self._received.wait_for(condition)
        except TimeoutError:
            raise BenchmarkFailed(f"{what}: not within {timeout_s:g} s") from None

    async def begin(self, manifest: Manifest, source: str, devices: Sequence[str]) -> None:
        """Act as the planner: wait for executors, let each in turn measure the model, and declare the stream."""
        await self.connection.publish(topics.manifest(manifest.model), manifest.encode(), retain=True)
        for name in devices:
            await self.until(partial(self.is_online, name), f"{name} is there")
            await self._profile(name, manifest)
        declaration = StreamDeclaration(stream=self.stream, model=manifest.model, source=source)
        await self.connection.publish(topics.stream(self.stream), declaration.encode(), retain=True)

    async def _profile(self, device: str, manifest: Manifest) -> None:
        """Ask for a profile until there is one: a device that has just connected may miss a command."""
        command = ProfileModel(manifest=manifest).encode()
        for _ in range(_REPEATS):
            await self.connection.publish(topics.commands(device), command)
            with contextlib.suppress(BenchmarkFailed):
                await self.until(partial(self._has_profile, device, manifest.model), "profile", _PROFILE_S)
                return
        await self.until(partial(self._has_profile, device, manifest.model), f"profile of {device}")

    def is_online(self, device: str) -> bool:
        """Return whether a device's executor is online."""
        seen = self.view.devices.get(device)
        return seen is not None and seen.is_online

    def profiles(self, manifest: Manifest) -> dict[str, Profile]:
        """Return the profiles of a model, by device."""
        known = {name: device.profiles.get(manifest.model) for name, device in self.view.devices.items()}
        return {name: profile for name, profile in known.items() if profile is not None}

    async def commit(
        self, manifest: Manifest, source: str, routes: Sequence[PlanRoute], *, max_in_flight: int = 1
    ) -> int:
        """Act as the planner: prepare routes on their devices and put them in force.

        Returns:
            The epoch of the plan.
        """
        plan = self.view.streams[self.stream].plan if self.stream in self.view.streams else None
        self._epoch = epoch = max(self._epoch, 0 if plan is None else plan.epoch) + 1
        held = segments_of(route.stages for route in routes)
        for device, segments in held.items():
            command = Prepare(stream=self.stream, epoch=epoch, manifest=manifest, segments=segments)
            await self.connection.publish(topics.commands(device), command.encode())
        await self.until(lambda: {(device, epoch) for device in held} <= self._ready, f"epoch {epoch} ready")
        committed = CommittedPlan(
            stream=self.stream,
            epoch=epoch,
            model=manifest.model,
            source=source,
            strategy="benchmark",
            routes=tuple(routes),
            max_in_flight=max_in_flight,
            committed_at_s=time.time(),
        )
        await self.connection.publish(topics.plan(self.stream), committed.encode(), retain=True)
        return epoch

    async def submit(self, payload: bytes) -> str:
        """Act as the application: submit a request and return its id."""
        self._requests += 1
        request_id = f"r{self._requests}"
        await self._publish(request_id, payload)
        return request_id

    async def outcome(self, request_id: str) -> Outcome:
        """Wait for the outcome of a request.

        Raises:
            BenchmarkFailed: there is none in time, or it is an error.
        """
        await self.until(lambda: request_id in self._outcomes, f"outcome of {request_id}")
        outcome = self._outcomes.pop(request_id)
        if outcome.status is not OutcomeStatus.OK:
            raise BenchmarkFailed(f"request {request_id}: {outcome.error}")
        return outcome

    async def ask(self, payload: bytes) -> Outcome:
        """Submit a request and wait for its outcome; repeat the request if its source may have missed it."""
        request_id = await self.submit(payload)
        for _ in range(_REPEATS):
            try:
                await self.until(lambda: request_id in self._outcomes, f"outcome of {request_id}", _REPEAT_S)
            except BenchmarkFailed:
                await self._publish(request_id, payload)
            else:
                break
        return await self.outcome(request_id)

    async def reach(self, payload: bytes, epoch: int) -> None:
        """Submit requests until one runs in this epoch, since a source applies a new plan to its next request."""
        while (await self.ask(payload)).epoch < epoch:
            pass

    def _has_profile(self, device: str, model: str) -> bool:
        return model in self.view.devices[device].profiles

    async def _publish(self, request_id: str, payload: bytes) -> None:
        accept = {ACCEPT_PROPERTY: self.accept} if self.accept else {}
        properties = Properties(user={REQUEST_ID_PROPERTY: request_id, **accept})
        await self.connection.publish(topics.requests(self.stream), payload, properties=properties)

    async def _listen(self) -> None:
        async for received in self.connection:
            async with self._received:
                self._record(received.topic, bytes(received.payload), time.time())
                self._received.notify_all()

    def _record(self, topic: str, payload: bytes, now_s: float) -> None:
        self.view.handle(topic, payload, now_s)
        match topic.split("/"):
            case ["devices", _, "commands"]:
                order = COMMANDS.decode(payload)
                if isinstance(order, Prepare):
                    self.prepared_at_s.setdefault(order.epoch, now_s)
            case ["devices", _, "reports"]:
                report = REPORTS.decode(payload)
                if isinstance(report, Ready):
                    self._ready.add((report.device, report.epoch))
                elif isinstance(report, Rejected):
                    raise BenchmarkFailed(f"{report.device} rejects: {report.reason}")
            case ["streams", self.stream, "results"]:
                outcome = Outcome.decode(payload)
                self._outcomes[outcome.request_id] = outcome
            case ["events"]:
                event = Event.decode(payload)
                if event.kind is EventKind.SWITCHED:
                    self.switched_at_s.append(now_s)
                elif event.kind is EventKind.REROUTE:
                    reroute = Reroute.model_validate(event.data)
                    self.reroutes.setdefault(reroute.epoch, reroute)


def problem_of(
    manifest: Manifest,
    profiles: Mapping[str, Profile],
    links: Sequence[Link],
    load: Mapping[str, float],
    source: str,
    input_bytes: float,
) -> Problem:
    """Return the planning problem of one stream whose feature maps travel raw.

    Args:
        manifest: of the model.
        profiles: by device.
        links: directed links between the devices.
        load: load factors by device; 1 where there is none.
        source: device of the stream's source.
        input_bytes: size of a request.
    """
    blocks = tuple(
        Block(
            block.name,
            block.output_bytes,
            block.flops,
            block.parameter_bytes,
            block.activation_bytes or None,
            rows=row_profile(block),
        )
        for block in manifest.blocks
    )
    devices = {
        name: Device(
            block_ms={MODEL: profile.block_ms},
            load_factor=load.get(name, 1.0),
            segment_overhead_ms=profile.segment_overhead_ms,
            row_ms={MODEL: row_tables(profile, manifest)},
            tile_overhead_ms=TILE_OVERHEAD_MS,
        )
        for name, profile in profiles.items()
    }
    stream = Stream(name="stream", model=MODEL, source=source)
    return Problem({MODEL: Model(input_bytes, blocks)}, devices, tuple(links), (stream,))


def true_links(conditions: Conditions) -> tuple[Link, ...]:
    """Return the links with their emulated bandwidth and latency."""
    return tuple(Link(*pair, link.bandwidth_mbps, link.latency_ms) for pair, link in conditions.links.items())
