"""Retained messages that services ignore, at a real broker, each with the command that clears it."""

import shlex
import subprocess

import pytest

from services.cli.support.fleet_operations import operator
from services.cli.support.retained_messages import RetainedMessages, clearing_command, read_retained
from shared.bus import topics
from shared.bus.connection import Properties
from shared.bus.settings import BusSettings
from shared.messages.alternatives import Alternatives
from shared.messages.devices import Presence, ServicePresence, State
from shared.messages.streams import StreamDeclaration, StreamUsage
from shared.signatures import SIGNATURE_PROPERTY, SigningKey

KEY = SigningKey(bytes(range(32)))
MODEL = "ab" * 32
PLANNER = ServicePresence(name="planner", role="planner", state=State.ONLINE, public_key=KEY.public)
GOOD = {
    topics.presence("pi"): Presence(device="pi", state=State.ONLINE).encode(),
    topics.service_presence("planner"): PLANNER.encode(),
    topics.stream("door"): StreamDeclaration(stream="door", model="net", source="pi").encode(),
    topics.policy("door"): b'{"objective": "latency"}',
    topics.usage("door"): StreamUsage(stream="door", input_bytes=5).encode(),
}
FAULTY = {
    "devices/tv/presence": (GOOD[topics.presence("pi")], "device 'pi' is not the topic's"),
    "devices/x/presence": (b"garbage", "neither msgpack nor JSON"),
    "devices/pi/emulation": (b"\xff", "a message is a map"),
    "devices/pi/commands": (b"{}", "must not be retained"),
    "streams/door/requests": (bytes(200_000), "must not be retained"),
    "streams/door/policy": (b'{"objective": "fun"}', "objective"),
    "streams/door/nonsense": (b"x", "no such topic"),
    "streams/böse/plan": (b"x", "is no name"),
    "replies/app/a/b": (b"x", "must not be retained"),
    f"models/{MODEL}/calibration": (b"[]", "neither"),
    "models/short": (b"x", "a message is a map"),
    "anything": (b"x", "no such topic"),
}


async def retain(bus: BusSettings, messages: dict[str, bytes]) -> None:
    async with operator(bus) as connection:
        for topic, payload in messages.items():
            await connection.publish(topic, payload, retain=True)


async def test_faults_are_found_on_every_topic_and_good_messages_are_none(bus: BusSettings) -> None:
    await retain(bus, GOOD)
    assert list((await read_retained(bus)).faults()) == []
    await retain(bus, {topic: payload for topic, (payload, _) in FAULTY.items()})
    found = dict((await read_retained(bus)).faults())
    assert found.keys() == FAULTY.keys()
    for topic, (_, reason) in FAULTY.items():
        assert reason in found[topic], topic


async def test_a_plan_of_nobody_and_one_of_another_key_are_found(bus: BusSettings) -> None:
    await retain(bus, GOOD)
    topic = topics.alternatives("door")
    payload = Alternatives(stream="door", epoch=1).encode()

    async def reason(key: SigningKey | None) -> list[str]:
        whole = f"{bus.root}/{topic}"
        user = {} if key is None else {SIGNATURE_PROPERTY: key.sign(whole, payload, 1)}
        async with operator(bus) as connection:
            await connection.publish(topic, payload, retain=True, properties=Properties(user=user))
        return [reason for _, reason in (await read_retained(bus)).faults()]

    other = SigningKey.generate()
    assert await reason(None) == ["the planner has not signed it"]
    assert await reason(other) == [f"key {other.public} has signed it, which is no planner's here"]
    assert await reason(KEY) == []


async def test_messages_of_a_stream_that_is_not_declared_are_strays(bus: BusSettings) -> None:
    usage = StreamUsage(stream="gone", input_bytes=5).encode()
    await retain(bus, {**GOOD, topics.usage("gone"): usage, topics.policy("gone"): b"garbage"})
    found = await read_retained(bus)
    assert list(found.strays()) == [("streams/gone/usage", "no stream gone is declared")]
    assert [topic for topic, _ in found.faults()] == ["streams/gone/policy"]


@pytest.mark.parametrize(
    "topic", ["streams/door/plan", "streams/a b/plan", "it's", "a\nb", "böse", "a\x1b[31m", "$(id)"]
)
def test_the_command_reaches_the_topic_through_a_shell(topic: str) -> None:
    settings = BusSettings(host="hub", port=1884, root="home/v1", username="me", password="secret", tls_ca="/c a.pem")
    command = clearing_command(settings, topic)
    assert command.isprintable()
    assert "secret" not in command
    script = command.replace("mosquitto_pub", "printf '%s\\0'", 1)
    words = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout.decode().split("\0")
    assert words[-2] == f"home/v1/{topic}"
    assert words[:8] == ["-V", "5", "-h", "hub", "-p", "1884", "-u", "me"]
    assert "/c a.pem" in words


def test_nothing_retained_is_no_fault() -> None:
    empty = RetainedMessages("segue/v1")
    assert (list(empty.faults()), list(empty.strays())) == ([], [])
    assert shlex.split(clearing_command(BusSettings(), "a"))[-1] == "segue/v1/a"
