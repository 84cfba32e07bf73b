"""Policies of the command line, and those in payloads of the bus."""

import json

import msgpack
from typer.testing import CliRunner

from services.cli.commands.policy_commands import published_policy
from services.cli.support.lazy_groups import Entry, lazy_app
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.settings import BusSettings
from shared.exit_status import ExitStatus, InputError
from shared.messages.devices import ServicePresence, State
from shared.policy import Policy, policy_document
from tests.support.segue_command import SegueOnBus


def test_bounds_given_as_options_are_checked_before_anything_is_published() -> None:
    app = lazy_app([Entry("set", "services.cli.commands.policy_commands:set_policy_command", "")])
    bounds = ["--codec", "auto", "--min-top1-agreement", "2", "--max-relative-error", "-1"]
    refused = CliRunner().invoke(app, ["set", "door", *bounds])
    assert isinstance(refused.exception, InputError)
    assert "min_top1_agreement: Input should be less than or equal to 1" in str(refused.exception)
    assert "max_relative_error" in str(refused.exception)
    assert "codec" not in str(refused.exception)


def test_a_policy_on_the_bus_is_json_or_msgpack_and_loses_its_revision() -> None:
    document = {"objective": "energy", "revision": "1"}
    for payload in (json.dumps(document).encode(), msgpack.packb(document)):
        assert published_policy(payload) == {"objective": "energy"}
    assert published_policy(None) == policy_document(Policy())


async def test_a_policy_needs_a_planner_and_a_stream(segue_on_bus: SegueOnBus) -> None:
    silent = await segue_on_bus("policy", "set", "door", "--deadline-ms", "5", "--timeout-s", "0.2")
    assert silent.returncode == ExitStatus.OUT_OF_REACH
    assert "no planner answers the policy of stream door within 0.2 s" in silent.stderr
    # The policy stays on the bus without an answer.
    shown = json.loads((await segue_on_bus("policy", "show", "door", "--json")).stdout)
    assert shown == {"policy": {"deadline_ms": 5.0}, "status": None}
    unknown = await segue_on_bus("policy", "show", "window")
    assert unknown.returncode == ExitStatus.INPUT_WRONG
    assert "there is neither a stream nor a policy window" in unknown.stderr


async def test_a_planner_that_cannot_write_its_disk_is_named(segue_on_bus: SegueOnBus, bus: BusSettings) -> None:
    trouble = "no plan, policy or model changes: the disk is full: /data"
    presence = ServicePresence(name="planner", role="planner", state=State.ONLINE, trouble=trouble)
    async with Connection.open(bus) as connection:
        await connection.publish(topics.service_presence("planner"), presence.encode(), retain=True)
    silent = await segue_on_bus("policy", "set", "door", "--deadline-ms", "5", "--timeout-s", "0.2")
    assert silent.returncode == ExitStatus.OUT_OF_REACH
    assert trouble in silent.stderr
    listed = await segue_on_bus("doctor", "--listen-s", "0.5")
    # Lines are wrapped where the terminal is narrow.
    assert "the disk is full: /data" in " ".join(listed.stdout.split())
