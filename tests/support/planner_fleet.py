"""A small fleet for the planner's tests: publishes for executors, monitors and applications over a real bus."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.settings import BusSettings
from shared.messages.base import Message
from shared.messages.control import COMMANDS, Prepare, ProfileModel, Ready, Rejected, RejectionCause, Release
from shared.messages.devices import (
    Capabilities,
    LinkEstimate,
    Links,
    Presence,
    Profile,
    ServicePresence,
    State,
    Telemetry,
)
from shared.messages.events import Event, EventKind
from shared.messages.models import Manifest, ManifestBlock, Preprocessing, TensorDescription
from shared.messages.streams import CommittedPlan, StreamDeclaration, StreamStatus

TIMEOUT_S = 60.0
MODEL = "a" * 64

_Found = TypeVar("_Found")
_Command = TypeVar("_Command", ProfileModel, Prepare, Release)


def manifest_of(model: str = MODEL, name: str = "net", blocks: int = 5, **fields: object) -> Manifest:
    """Return a photograph classifier of `blocks` blocks, `prepare` included."""
    sizes = [600_000, *(400_000 // 2**index for index in range(blocks - 1))]
    return Manifest(
        model=model,
        name=name,
        size_bytes=fields.pop("size_bytes", 1000),
        inputs=(TensorDescription(name="x", shape=(1, 3, 224, 224), dtype="float32"),),
        outputs=(TensorDescription(name="y", shape=(1, 1000), dtype="float32"),),
        blocks=tuple(
            ManifestBlock(name=f"block{index}", output_bytes=size, parameter_bytes=1_000_000 if index else 0)
            for index, size in enumerate(sizes)
        ),
        preprocessing=Preprocessing(kind="image", height=224, width=224),
        **fields,
    )


@dataclass
class Watcher:
    """Record of everything that the planner and others publish, in order."""

    connection: Connection
    plans: list[CommittedPlan] = field(default_factory=list)
    statuses: list[StreamStatus] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    services: list[ServicePresence] = field(default_factory=list)
    manifests: list[Manifest] = field(default_factory=list)
    commands: list[tuple[str, ProfileModel | Prepare | Release]] = field(default_factory=list)
    order: list[object] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self) -> None:
        filters = (topics.plan.any, topics.status.any, topics.events(), topics.manifest.any, topics.commands("+"))
        for topic_filter in (*filters, topics.service_presence.any):
            await self.connection.subscribe(topic_filter)
        async for received in self.connection:
            if not received.payload:
                continue
            match received.topic.split("/"):
                case ["streams", _, "plan"]:
                    self._note(self.plans, CommittedPlan.decode(received.payload))
                case ["streams", _, "status"]:
                    self._note(self.statuses, StreamStatus.decode(received.payload))
                case ["events"]:
                    self._note(self.events, Event.decode(received.payload))
                case ["services", _, "presence"]:
                    self._note(self.services, ServicePresence.decode(received.payload))
                case ["models", _]:
                    self._note(self.manifests, Manifest.decode(received.payload))
                case ["devices", device, "commands"]:
                    self._note(self.commands, (device, COMMANDS.decode(received.payload)))
            async with self.changed:
                self.changed.notify_all()

    def _note(self, into: list[_Found], what: _Found) -> None:
        into.append(what)
        self.order.append(what)

    async def until(self, find: Callable[[], _Found | None], what: str = "") -> _Found:
        """Wait until `find` returns something."""
        try:
            async with asyncio.timeout(TIMEOUT_S), self.changed:
                while (found := find()) is None or found is False:
                    await self.changed.wait()
                return found
        except TimeoutError:
            raise AssertionError(f"not in time: {what}; last {self.statuses[-1:]} {self.events[-3:]}") from None

    async def planner(self) -> ServicePresence:
        """Wait until the planner is online."""
        return await self.until(
            lambda: next((each for each in self.services[-1:] if each.state is State.ONLINE), None), "planner"
        )

    async def plan(self, wanted: Callable[[CommittedPlan], bool] = lambda plan: True) -> CommittedPlan:
        return await self.until(lambda: next((plan for plan in self.plans if wanted(plan)), None), "plan")

    async def status(self, wanted: Callable[[StreamStatus], bool]) -> StreamStatus:
        return await self.until(lambda: next((each for each in self.statuses if wanted(each)), None), "status")

    async def plan_of(self, stream: str) -> CommittedPlan:
        return await self.plan(lambda plan: plan.stream == stream)

    async def judged(self, stream: str, revision: str) -> StreamStatus:
        """Wait until the policy with this revision was judged."""
        return await self.status(lambda status: (status.stream, status.policy_revision) == (stream, revision))

    async def command(self, device: str, kind: type[_Command]) -> _Command:
        """Wait until a device was sent a command of this kind."""
        return await self.until(
            lambda: next((said for to, said in self.commands if to == device and isinstance(said, kind)), None),
            kind.__name__,
        )

    async def event(self, kind: EventKind, wanted: Callable[[Event], bool] = lambda event: True) -> Event:
        return await self.until(
            lambda: next((each for each in self.events if each.kind is kind and wanted(each)), None), kind.value
        )


@dataclass
class Device:
    """Stand-in for an executor and its monitor."""

    connection: Connection
    name: str
    block_ms: tuple[float, ...]
    boot_id: str = "boot1"
    profiles: bool = True
    reject: Callable[[Prepare], Rejected | None] = lambda prepare: None
    silent: bool = False
    load_factor: float = 1.0
    link_mbps: dict[str, float] = field(default_factory=dict)
    commands: list[ProfileModel | Prepare | Release] = field(default_factory=list)

    def full(self, prepare: Prepare) -> Rejected:
        """Reject a plan, with a reason that names the device."""
        return rejection(prepare, self.name, reason=f"{self.name} is full")

    async def say(self, topic: str, message: Message, *, retain: bool = False) -> None:
        await self.connection.publish(topic, message.encode(), retain=retain)

    async def come(self, memory_bytes: int | None = None) -> None:
        presence = Presence(
            device=self.name,
            state=State.ONLINE,
            boot_id=self.boot_id,
            capabilities=Capabilities(memory_bytes=memory_bytes, power_active_w=5.0),
        )
        await self.say(topics.presence(self.name), presence, retain=True)
        await self.set_links(self.link_mbps)

    async def go(self) -> None:
        gone = Presence(device=self.name, state=State.OFFLINE, boot_id=self.boot_id)
        await self.say(topics.presence(self.name), gone, retain=True)

    async def set_load(self, load_factor: float) -> float:
        sent_at_s = time.time()
        telemetry = Telemetry(device=self.name, sent_at_s=sent_at_s, load_factor=load_factor)
        await self.say(topics.telemetry(self.name), telemetry)
        return sent_at_s

    async def set_links(self, mbps: Mapping[str, float]) -> float:
        sent_at_s = time.time()
        estimates = tuple(
            LinkEstimate(target=target, bandwidth_mbps=rate, latency_ms=2.0) for target, rate in mbps.items()
        )
        await self.say(
            topics.links(self.name), Links(device=self.name, sent_at_s=sent_at_s, links=estimates), retain=True
        )
        return sent_at_s

    async def profile(self, model: str) -> None:
        message = Profile(device=self.name, model=model, block_ms=self.block_ms)
        await self.say(topics.profiles(self.name, model), message, retain=True)

    async def obey(self, command: ProfileModel | Prepare | Release) -> None:
        self.commands.append(command)
        match command:
            case ProfileModel() if self.profiles:
                await self.profile(command.manifest.model)
            case Prepare() if not self.silent:
                answer = self.reject(command) or Ready(device=self.name, stream=command.stream, epoch=command.epoch)
                await self.say(topics.reports(self.name), answer)


def rejection(
    prepare: Prepare, device: str, cause: RejectionCause = RejectionCause.ERROR, reason: str = "it does not work"
) -> Rejected:
    return Rejected(device=device, stream=prepare.stream, epoch=prepare.epoch, cause=cause, reason=reason)


@dataclass
class Fleet:
    """A slow device with a camera, linked to a fast one, and a watcher of the bus."""

    settings: BusSettings
    connection: Connection
    watcher: Watcher
    devices: dict[str, Device]

    @property
    def pi(self) -> Device:
        return self.devices["pi"]

    @property
    def server(self) -> Device:
        return self.devices["server"]

    async def run(self) -> None:
        for name in self.devices:
            await self.connection.subscribe(topics.commands(name))
        async for received in self.connection:
            device = self.devices[received.topic.split("/")[1]]
            await device.obey(COMMANDS.decode(received.payload))

    async def come(self) -> None:
        for device in self.devices.values():
            await device.come()

    async def publish_manifest(self, manifest: Manifest) -> None:
        """Publish a manifest of a library elsewhere."""
        foreign = manifest.model_copy(update={"provider": "elsewhere"})
        await self.connection.publish(topics.manifest(manifest.model), foreign.encode(), retain=True)

    async def declare(self, stream: str = "camera", **fields: object) -> None:
        declaration = StreamDeclaration(**{"stream": stream, "model": "net", "source": "pi", **fields})
        await self.connection.publish(topics.stream(stream), declaration.encode(), retain=True)

    async def set_policy(self, document: bytes | str, stream: str = "camera") -> None:
        await self.connection.publish(topics.policy(stream), document, retain=True)


@asynccontextmanager
async def open_fleet(settings: BusSettings, mbps: float = 50.0) -> AsyncIterator[Fleet]:
    """Open a fleet of `pi` and `server`, both offline."""
    async with Connection.open(settings) as connection, Connection.open(settings) as watching:
        devices = {
            "pi": Device(connection, "pi", (5.0, 40.0, 40.0, 40.0, 40.0), link_mbps={"server": mbps}),
            "server": Device(connection, "server", (1.0, 5.0, 5.0, 5.0, 5.0), link_mbps={"pi": mbps}),
        }
        fleet = Fleet(settings, connection, Watcher(watching), devices)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(fleet.run(), name="fleet"), group.create_task(fleet.watcher.run(), name="watch")]
            try:
                yield fleet
            finally:
                for task in tasks:
                    task.cancel()
