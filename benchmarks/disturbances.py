"""Bad moments of a fleet: kills, sleeps, a silent broker, clocks that step, disks that fail, hostile messages."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from services.cli.testbed.command_lines import COLLECTOR, PLANNER
from shared.bus.errors import BusError
from shared.exit_status import ExitStatus
from tests.support.hostile_messages import HostileMessage, hostile_messages, names_in_topics
from tests.support.small_disks import SmallDisk
from tests.support.stepped_clock import SteppedClock
from tests.support.whole_fleet import BROKER, CAMERA, EVERYTHING, HELPER, WholeFleet

_DOWN_S = (0.0, 3.0)
_PARTS_AT_ONCE = (1, 1, 1, 2, 2, 3)
_SHORT_S = (0.5, 6.0)
# A sleep that outlasts every keep-alive, once in so many.
_LONG_S = 60.0
_ONE_IN = 12
_OFFSETS_S = (3600.0, -3600.0, 300.0, -300.0, 86_400.0, 0.0)
_HOSTILE_AT_ONCE = (5, 40)
_PER_CLASS = 12
# Which kind comes next: kills are the most frequent.
WEIGHTS: Mapping[str, int] = {
    "kill": 6,
    "terminate": 2,
    "sleep": 3,
    "stall": 2,
    "clock": 4,
    "full": 2,
    "read-only": 1,
    "hostile": 3,
}
# Executors share the folder of their data.
EXECUTORS_FOLDER = "executors"


def stream_name(number: int) -> str:
    """Return the name of a round's stream; all are equally long."""
    return f"round{number:04}"


@dataclass(slots=True)
class Disturbances:
    """Chooses and performs bad moments, one after the other.

    Attributes:
        fleet: the victim.
        chance: decides what happens, and when.
        clocks: of the services, by process; empty if none can be set.
        disks: under the services' data, by folder; empty if none can be mounted.
        kinds: of bad moments that may come.
        stream: the stream that hostile messages concern.
        counts: bad moments so far, by kind.
        ended: processes that ended without being killed or stopped.
        unreachable: services that ended because the broker did not answer at their start.
    """

    fleet: WholeFleet
    chance: random.Random
    clocks: Mapping[str, SteppedClock]
    disks: Mapping[str, SmallDisk]
    kinds: Collection[str] = tuple(WEIGHTS)
    stream: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    ended: list[str] = field(default_factory=list)
    unreachable: int = 0
    _hostile: Iterator[HostileMessage] = field(default=iter(()), init=False)

    async def prepare(self) -> None:
        """Make the hostile messages, which takes seconds."""
        model = self.fleet.workload.manifest.model
        names = names_in_topics(model, stream=stream_name(0), source=CAMERA, device=HELPER)
        messages = await asyncio.to_thread(lambda: list(hostile_messages(names, _PER_CLASS)))
        self.chance.shuffle(messages)
        self._hostile = itertools.cycle(messages)

    async def strike(self) -> str:
        """Let one bad moment happen, and end it; return its kind."""
        kinds = [kind for kind in WEIGHTS if kind in self.kinds and self._is_possible(kind)]
        (kind,) = self.chance.choices(kinds, [WEIGHTS[kind] for kind in kinds])
        match kind:
            case "kill":
                await self._kill()
            case "terminate":
                await self._terminate()
            case "sleep":
                await self._sleep()
            case "stall":
                await self._stall()
            case "clock":
                self._step_clock()
            case "full":
                await self._fill_disk()
            case "read-only":
                await self._fail_disk()
            case "hostile":
                await self._forge()
        self.counts[kind] += 1
        await self.restart_ended()
        return kind

    async def restart_ended(self) -> None:
        """Note processes that ended by themselves, and start them again as an operator does."""
        while (died := self.fleet.processes.died()) is not None:
            if died.status == ExitStatus.OUT_OF_REACH:
                # A service that starts while the broker is silent says so and ends; whoever started it tries again.
                self.unreachable += 1
            else:
                self.ended.append(str(died))
            await self.fleet.processes.restart(died.name)

    def put_clocks_right(self) -> None:
        """Set all clocks to this machine's."""
        for clock in self.clocks.values():
            clock.step(0.0)

    def _is_possible(self, kind: str) -> bool:
        if kind == "clock":
            return bool(self.clocks)
        return bool(self.disks) or kind not in ("full", "read-only")

    def _services(self) -> tuple[str, ...]:
        return tuple(part for part in EVERYTHING if part != BROKER)

    def _pause_s(self) -> float:
        return _LONG_S if self.chance.randrange(_ONE_IN) == 0 else self.chance.uniform(*_SHORT_S)

    async def _kill(self) -> None:
        victims = self.chance.sample(EVERYTHING, self.chance.choice(_PARTS_AT_ONCE))
        await self.restart_ended()
        await self.fleet.kill(*victims)
        await asyncio.sleep(self.chance.uniform(*_DOWN_S))
        await self.fleet.restart(*victims)

    async def _terminate(self) -> None:
        victim = self.chance.choice(self._services())
        await self.restart_ended()
        await self.fleet.processes.stop(victim)
        await asyncio.sleep(self.chance.uniform(*_DOWN_S))
        await self.fleet.restart(victim)

    async def _sleep(self) -> None:
        sleepers = self.chance.sample(self._services(), self.chance.choice(_PARTS_AT_ONCE))
        await self.restart_ended()
        for sleeper in sleepers:
            self.fleet.processes.suspend(sleeper)
        await asyncio.sleep(self._pause_s())
        for sleeper in sleepers:
            self.fleet.processes.resume(sleeper)

    async def _stall(self) -> None:
        self.fleet.broker.suspend()
        await asyncio.sleep(self._pause_s())
        self.fleet.broker.resume()

    def _step_clock(self) -> None:
        clock = self.clocks[self.chance.choice(sorted(self.clocks))]
        if self.chance.randrange(4) == 0:
            clock.step_to_1970()
        else:
            clock.step(self.chance.choice(_OFFSETS_S))

    async def _fill_disk(self) -> None:
        disk = self.disks[self.chance.choice(sorted(self.disks))]
        await disk.fill()
        await asyncio.sleep(2 * self.chance.uniform(*_SHORT_S))
        await disk.empty()

    async def _fail_disk(self) -> None:
        """Turn a disk read-only, and after a while do what an operator does: stop, check the disk, start again."""
        folder = self.chance.choice(sorted(self.disks))
        disk, users = self.disks[folder], self._users(folder)
        await disk.fail()
        await asyncio.sleep(self.chance.uniform(*_SHORT_S))
        await self.restart_ended()
        await asyncio.gather(*(self.fleet.processes.stop(user) for user in users))
        await disk.repair()
        await self.fleet.restart(*users)

    def _users(self, folder: str) -> Sequence[str]:
        if folder == EXECUTORS_FOLDER:
            return [part for part in self._services() if part.startswith("executor")]
        return [{COLLECTOR: COLLECTOR, PLANNER: PLANNER}[folder]]

    async def _forge(self) -> None:
        # Names of streams are equally long, so that the message around one stays what it is.
        named, stream = stream_name(0), self.stream
        for _ in range(self.chance.randint(*_HOSTILE_AT_ONCE)):
            message = next(self._hostile)
            topic = message.topic.replace(named, stream)
            payload = message.payload.replace(named.encode(), stream.encode())
            try:
                await self.fleet.control.publish(topic, payload, retain=message.retain)
            except BusError:
                # The broker is away.
                return
