"""The rules by which one of two processes of one name stops, and the watch that applies them."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.embedded import EmbeddedBroker
from shared.bus import topics
from shared.bus.connection import Connection
from shared.duplicate_names import (
    PEER_OBSERVATIONS,
    PREDECESSOR_OBSERVATIONS,
    DuplicateDetector,
    NameClaim,
    hold_name,
)
from shared.exit_status import InputError
from shared.messages.devices import Presence, ServicePresence, State


def observed(detector: DuplicateDetector, boot_id: str, times: int) -> list[bool]:
    return [detector.observe(boot_id) for _ in range(times)]


def test_a_newcomer_leaves_the_name_to_its_predecessor() -> None:
    newcomer = DuplicateDetector("b")
    assert newcomer.observe("a") is False
    assert newcomer.observe("b") is False
    assert observed(newcomer, "a", PREDECESSOR_OBSERVATIONS - 1)[-1] is True


def test_the_older_process_outlasts_a_newcomer() -> None:
    for own, other in (("a", "b"), ("b", "a")):
        incumbent = DuplicateDetector(own)
        incumbent.observe(own)
        assert not any(observed(incumbent, other, PREDECESSOR_OBSERVATIONS + 1))


def test_what_the_broker_retains_of_an_earlier_start_is_no_duplicate() -> None:
    restarted = DuplicateDetector("b")
    assert not restarted.observe("a")
    assert not any(observed(restarted, "b", 20))
    assert not any(restarted.observe(f"c{number}") for number in range(20))


def test_of_two_that_came_together_exactly_one_stops() -> None:
    stopped = []
    for own, other in (("a", "b"), ("b", "a")):
        detector = DuplicateDetector(own)
        detector.observe(own)
        stopped.append(observed(detector, other, PEER_OBSERVATIONS)[-1])
    assert stopped == [False, True]


@given(st.integers(0, 1), st.booleans())
def test_whoever_came_first_one_of_two_that_alternate_stops(seen_from: int, smaller_first: bool) -> None:
    """Each takes the client id from the other in turn; the newcomer subscribes before or after the first message."""
    names = ("a", "b") if smaller_first else ("b", "a")
    messages = [names[number % 2] for number in range(4 * PEER_OBSERVATIONS)]
    older, newcomer = DuplicateDetector(messages[0]), DuplicateDetector(messages[1])
    stopped = []
    for number, boot_id in enumerate(messages):
        if older.observe(boot_id):
            stopped.append("older")
        if number >= seen_from and newcomer.observe(boot_id):
            stopped.append("newcomer")
        if stopped:
            break
    assert len(stopped) == 1


async def test_a_name_in_use_cancels_the_block_with_advice() -> None:
    mine = Presence(device="pi", state=State.ONLINE, boot_id="mine")
    other = Presence(device="pi", state=State.ONLINE, boot_id="other")

    async def hold_beside(rival: Connection) -> None:
        async with hold_name(rival.settings, NameClaim.of_device(mine), 10.0):
            for _ in range(PREDECESSOR_OBSERVATIONS):
                await rival.publish(topics.presence("pi"), other.encode(), retain=True)
            await asyncio.Event().wait()

    async with asyncio.timeout(30), EmbeddedBroker() as broker, Connection.open(broker.settings) as rival:
        await rival.publish(topics.presence("pi"), b"\xff no presence")
        with pytest.raises(InputError, match=r"another executor is device pi already: stop it, or .*--device"):
            await hold_beside(rival)


async def test_a_free_name_can_be_held() -> None:
    presence = ServicePresence(name="planner", role="planner", state=State.ONLINE, boot_id="mine")
    claim = NameClaim.of_service(presence, "take another")
    assert claim.complaint == "another planner is called planner already: stop it, or take another"
    async with (
        asyncio.timeout(30),
        EmbeddedBroker() as broker,
        Connection.open(broker.settings) as connection,
        hold_name(broker.settings, claim, 10.0),
    ):
        for _ in range(2 * PEER_OBSERVATIONS):
            await connection.publish(claim.topic, presence.encode(), retain=True)


@pytest.mark.parametrize("forged", [b"", b"\xff garbage", b'{"name": "collector", "state": "\\u001b[31m"}'])
async def test_a_presence_that_nobody_can_read_is_replaced(forged: bytes) -> None:
    mine = ServicePresence(name="collector", role="collector", state=State.ONLINE, boot_id="mine")
    claim = NameClaim.of_service(mine, "give it another name")
    async with EmbeddedBroker() as broker, asyncio.timeout(30):
        async with (
            hold_name(broker.settings, claim, 10.0),
            Connection.open(broker.settings) as attacker,
        ):
            await attacker.subscribe(claim.topic)
            for payload in (mine.encode(), forged):
                await attacker.publish(claim.topic, payload, retain=True)
            heard = [bytes((await anext(attacker)).payload) for _ in range(3)]
        assert heard == [mine.encode(), forged, mine.encode()]
