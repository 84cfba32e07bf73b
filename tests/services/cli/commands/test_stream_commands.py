"""`segue stream add`, `list` and `remove` on a broker without a planner."""

import json

from services.cli.support.fleet_operations import declaration_of, operator
from shared.bus import topics
from shared.bus.settings import BusSettings
from shared.exit_status import ExitStatus
from shared.messages.devices import Presence, ServicePresence, State
from tests.support.segue_command import SegueOnBus


async def test_a_stream_is_declared_listed_and_withdrawn(bus: BusSettings, segue_on_bus: SegueOnBus) -> None:
    options = ("--model", "m", "--source", "pi", "--jobs", "3", "--no-wait")
    added = await segue_on_bus("stream", "add", "door", *options)
    assert (added.returncode, added.stdout) == (0, ""), added.stderr
    async with operator(bus) as connection:
        declaration = await declaration_of(connection, "door")
    assert declaration is not None
    assert (declaration.model, declaration.source, declaration.jobs) == ("m", "pi", 3)

    (listed,) = json.loads((await segue_on_bus("stream", "list", "--json")).stdout)
    assert (listed["stream"], listed["status"], listed["plan"]) == ("door", None, None)
    shown = await segue_on_bus("stream", "list")
    assert "unknown" in shown.stdout

    removed = await segue_on_bus("stream", "remove", "door")
    assert removed.returncode == 0, removed.stderr
    assert json.loads((await segue_on_bus("stream", "list", "--json")).stdout) == []
    again = await segue_on_bus("stream", "remove", "door")
    assert again.returncode == ExitStatus.INPUT_WRONG
    assert "there is no stream door" in again.stderr


async def test_a_model_that_is_not_there_is_refused(segue_on_bus: SegueOnBus) -> None:
    refused = await segue_on_bus("stream", "add", "door", "--model", "m", "--source", "pi")
    assert refused.returncode == ExitStatus.INPUT_WRONG
    assert "the fleet has no model m, it has none: segue model add" in refused.stderr


async def test_a_silent_planner_is_out_of_reach(segue_on_bus: SegueOnBus) -> None:
    options = ("--model", "m", "--source", "pi", "--wait", "--timeout-s", "0.2")
    silent = await segue_on_bus("stream", "add", "door", *options)
    assert silent.returncode == ExitStatus.OUT_OF_REACH
    assert "no planner takes stream door within 0.2 s" in silent.stderr


async def test_what_keeps_a_source_or_a_service_from_its_work_is_listed(
    bus: BusSettings, segue_on_bus: SegueOnBus
) -> None:
    await segue_on_bus("stream", "add", "door", "--model", "m", "--source", "pi", "--no-wait")
    source = Presence(device="pi", state=State.ONLINE, trouble="requests wait in the broker: the disk is full: /data")
    service = ServicePresence(name="store", role="collector", state=State.ONLINE, trouble="the disk is read-only: /db")
    async with operator(bus) as connection:
        await connection.publish(topics.presence("pi"), source.encode(), retain=True)
        await connection.publish(topics.service_presence("store"), service.encode(), retain=True)
    (listed,) = json.loads((await segue_on_bus("stream", "list", "--json")).stdout)
    assert listed["troubles"] == [f"pi: {source.trouble}", f"store: {service.trouble}"]
    (device,) = json.loads((await segue_on_bus("device", "list", "--json")).stdout)
    assert device["presence"]["trouble"] == source.trouble
