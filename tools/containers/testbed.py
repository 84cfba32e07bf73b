"""`make testbed`: what a fleet in containers does when links, power, disks or clocks fail.

The uplink of the camera sinks, a link is cut, the power of a device is pulled, a disk is full, and a clock jumps.

Photographs are sent without a pause. For each disturbance it prints when the route changed, and how many photographs
were answered, with their latencies. It fails if one is lost or ends with an error, or if a dead device is not avoided.
"""

import asyncio
import contextlib
import shutil
import statistics
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from shared.bus import topics
from shared.bus.connection import Connection
from shared.client import Client, ClientTimeout
from shared.enrolment import settings_from
from shared.messages.requests import OutcomeStatus
from shared.messages.streams import CommittedPlan, route_text
from tests.support.stepped_clock import SteppedClock, can_step_clocks
from tools.containers.build_images import REPOSITORY, STORAGE
from tools.containers.container_engine import CommandFailed, ContainerEngine, Skipped, reported_end, say
from tools.containers.disturbances import (
    Disturbance,
    cut_link,
    full_disk,
    make_small_disk,
    pulled_power,
    sinking_link,
    stepped_clock,
)
from tools.containers.trial_fleet import DEVICES, IMAGE_USER, TrialFleet, trial_fleet
from tools.containers.try_deployment import LIMITS, set_up

# The camera is slow enough that the whole model is quicker elsewhere over a good link, and here over a sinking one.
_LIMITS: Final = {**LIMITS, "camera": {"EXECUTOR_CPUS": "0.25", "EXECUTOR_MEMORY": "400m"}}
_STREAM: Final = "door"
_WAY_OUT_S: Final = 60.0
_CALM_S: Final = 8.0
_REQUEST_S: Final = 120.0
# So slow that three devices on two busy cores keep up.
_PAUSE_S: Final = 1.0
_DISK_MIB: Final = 96
_STEP_S: Final = 3600.0
_Check = Callable[[], bool]


@dataclass
class Observed:
    """What was seen so far.

    Attributes:
        answers: when each photograph was sent, on the monotonic clock, and its latency in ms.
        faults: of photographs without a result.
        plans: when each plan came, and the devices of its routes.
        changed: set when a plan comes.
    """

    answers: list[tuple[float, float]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    plans: list[tuple[float, str]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def route(self) -> str:
        """The route in force, as text."""
        return self.plans[-1][1] if self.plans else ""


async def disturb(fleet: TrialFleet, disk: Path | None, clock: SteppedClock | None) -> None:
    """Run every disturbance.

    Args:
        fleet: with a stream that is planned.
        disk: small file system of the camera; None where none can be made.
        clock: of the camera's executor; None where it is this machine's.

    Raises:
        CommandFailed: a photograph was lost, or a device was not avoided.
    """
    account = str(fleet.account_file("operator"))
    seen = Observed()
    async with _load(account, fleet.photograph, seen), _plans(account, seen):
        await _until(lambda: bool(seen.plans), seen, "the first plan")
        say(f"          route: {seen.route}")
        await asyncio.sleep(_CALM_S)
        _report("undisturbed", seen, time.monotonic() - _CALM_S)
        await _one(sinking_link(fleet, "camera", 1.0), seen, begins_on="camera")
        for make in (cut_link, pulled_power):
            # One that is on the route, so that something has to happen.
            await _one(make(fleet, _helper_in(seen.route)), seen)
        if disk is None:
            say("          no full disk: this machine cannot mount a file system of its own")
        else:
            await _one(full_disk("camera", disk), seen, keeps_route=True)
        if clock is None:
            say("          no clock that jumps: this machine has no C compiler")
        else:
            for offset_s in (_STEP_S, None):
                await _one(stepped_clock("camera", clock, offset_s), seen, keeps_route=True)
    if seen.faults:
        raise CommandFailed(f"{len(seen.faults)} photographs have no result: {seen.faults[:3]}")
    say(f"          {len(seen.answers)} photographs sent, {len(seen.answers)} answered")


async def _one(disturbance: Disturbance, seen: Observed, *, begins_on: str = "", keeps_route: bool = False) -> None:
    """Begin a disturbance, wait for the route that it needs, and end it.

    Args:
        disturbance: what happens. Its device may have to be avoided.
        seen: what was seen so far.
        begins_on: device that has to compute first; empty for any.
        keeps_route: whether the fleet may keep its route.
    """
    begun_s = time.monotonic()
    await asyncio.to_thread(disturbance.begin)
    try:
        if disturbance.avoided is not None:
            await _until(lambda: str(disturbance.avoided) not in seen.route, seen, f"{disturbance.what}: a way round")
        elif keeps_route:
            await asyncio.sleep(_CALM_S)
        else:
            await _until(lambda: seen.route.startswith(f"{begins_on}["), seen, f"{disturbance.what}: {begins_on} first")
        changed = [at_s for at_s, _ in seen.plans if at_s > begun_s]
        after = f"{changed[-1] - begun_s:.1f} s later: {seen.route}" if changed else f"route kept: {seen.route}"
        say(f"          {disturbance.what}; {after}")
        await asyncio.sleep(_CALM_S)
    finally:
        await asyncio.to_thread(disturbance.end)
    ended_s = time.monotonic()
    await asyncio.sleep(2 * _CALM_S)
    back = [at_s for at_s, _ in seen.plans if at_s > ended_s]
    after = f"{back[-1] - ended_s:.1f} s after its end: {seen.route}" if back else f"route kept: {seen.route}"
    _report(f"  {after}", seen, begun_s)


def _report(what: str, seen: Observed, since_s: float) -> None:
    ms = sorted(latency_ms for at_s, latency_ms in seen.answers if at_s >= since_s)
    figures = f"median {statistics.median(ms):.0f} ms, worst {ms[-1]:.0f} ms" if ms else "none came back yet"
    say(f"          {what}; {len(ms)} photographs, {figures}")


def _helper_in(route: str) -> str:
    """Return a device of a route that is not the source, or the helper if there is none."""
    return next((device for device in DEVICES if device != "camera" and device in route), "helper")


async def _until(is_so: _Check, seen: Observed, what: str) -> None:
    try:
        async with asyncio.timeout(_WAY_OUT_S):
            while True:
                seen.changed.clear()
                if is_so():
                    return
                await seen.changed.wait()
    except TimeoutError:
        raise CommandFailed(f"{what}: not within {_WAY_OUT_S:g} s; route {seen.route}") from None


@contextlib.asynccontextmanager
async def _load(account: str, photograph: Path, seen: Observed) -> AsyncIterator[None]:
    """Send photographs for the time of the block, and wait for all answers at its end."""
    payload = await asyncio.to_thread(photograph.read_bytes)
    stopping = asyncio.Event()

    async def one(client: Client) -> None:
        begun_s = time.monotonic()
        try:
            outcome = await client.submit(_STREAM, payload, timeout_s=_REQUEST_S)
        except ClientTimeout as error:
            seen.faults.append(str(error))
            return
        seen.answers.append((begun_s, 1000 * (time.monotonic() - begun_s)))
        if outcome.status is not OutcomeStatus.OK:
            seen.faults.append(f"{outcome.cause}: {outcome.error}")

    async def send() -> None:
        async with Client.open(account) as client, asyncio.TaskGroup() as group:
            while not stopping.is_set():
                group.create_task(one(client), name="photograph")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_PAUSE_S):
                        await stopping.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(send(), name="photographs")
        yield
        stopping.set()


@contextlib.asynccontextmanager
async def _plans(account: str, seen: Observed) -> AsyncIterator[None]:
    """Note every plan for the time of the block."""
    async with Connection.open(settings_from(account)) as connection, asyncio.TaskGroup() as group:

        async def listen() -> None:
            async for received in connection:
                plan = CommittedPlan.decode(received.payload)
                seen.plans.append((time.monotonic(), " | ".join(map(route_text, plan.routes))))
                seen.changed.set()

        await connection.subscribe(topics.plan(_STREAM))
        listening = group.create_task(listen(), name="plans")
        yield
        listening.cancel()


@contextlib.contextmanager
def _small_disk(engine: ContainerEngine, fleet: TrialFleet) -> Iterator[Path | None]:
    """Make the volume of the camera a small file system for the time of the block, if that can be done here."""
    image, folder = fleet.folder / "disk.img", fleet.folder / "disk"
    try:
        make_small_disk(image, folder, _DISK_MIB, IMAGE_USER)
    except (subprocess.CalledProcessError, FileNotFoundError):
        yield None
        return
    options = (word for option in ("type=none", "o=bind", f"device={folder}") for word in ("--opt", option))
    try:
        engine.run("volume", "create", *options, "camera_device")
        yield folder
    finally:
        fleet.remove_containers()
        subprocess.run(("umount", "--lazy", str(folder)), check=False, capture_output=True)


def main() -> None:
    """Run it; exit status 0 also where it is skipped."""
    with reported_end():
        engine = ContainerEngine(STORAGE)
        if missing := [name for name in ("tc", "nsenter") if shutil.which(name) is None]:
            raise Skipped(f"{', '.join(missing)} is not installed: apt-get install iproute2 util-linux")
        with (
            trial_fleet(engine, REPOSITORY / "build" / "testbed", _LIMITS) as fleet,
            _small_disk(engine, fleet) as disk,
        ):
            clock = fleet.give_clock("camera") if can_step_clocks() else None
            set_up(fleet)
            asyncio.run(disturb(fleet, disk, clock))


if __name__ == "__main__":
    main()
