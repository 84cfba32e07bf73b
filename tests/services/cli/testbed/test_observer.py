"""The observer of a run on a real broker."""

import asyncio

from rich.console import Console

from services.cli.render.fleet_view import FleetView
from services.cli.support.fleet_operations import operator
from services.cli.testbed.observer import FleetObserver
from services.cli.testbed.run_reporter import LineReporter
from shared.bus import topics
from shared.bus.settings import BusSettings
from shared.messages.devices import Presence, State
from shared.messages.events import Event, EventKind, RerouteCause
from tests.support.run_records import LOCAL, REMOTE, reroute_record

WAIT_S = 20.0


async def test_it_updates_the_view_and_collects_each_reroute_of_its_stream_once(bus: BusSettings) -> None:
    console = Console(width=120, record=True, quiet=True)
    observer = FleetObserver(FleetView(), LineReporter(console), "s")
    reroute = reroute_record(2, 110.5, REMOTE, LOCAL, RerouteCause.LINK_CHANGED)
    of_other = reroute.model_copy(update={"stream": "t", "epoch": 9})
    async with operator(bus) as connection, operator(bus) as planner, observer.following(connection):
        for data in (reroute, reroute, of_other):
            event = Event(
                kind=EventKind.REROUTE,
                at_s=1.0,
                origin="planner",
                stream=data.stream,
                text="rerouted",
                data=data.model_dump(mode="json"),
            )
            await planner.publish(topics.events(), event.encode())
        await planner.publish(topics.events(), b"\xff malformed")
        await planner.publish(topics.presence("pi"), Presence(device="pi", state=State.ONLINE).encode())
        async with asyncio.timeout(WAIT_S):
            assert await observer.until(lambda view: "pi" in view.devices, WAIT_S)
    assert observer.reroutes == (reroute,)
    assert observer.view.undecodable == 1


async def test_a_condition_that_is_not_met_in_time_is_reported(bus: BusSettings) -> None:
    observer = FleetObserver(FleetView(), LineReporter(Console(quiet=True)), "s")
    assert not await observer.until(lambda view: bool(view.devices), timeout_s=0.05)
