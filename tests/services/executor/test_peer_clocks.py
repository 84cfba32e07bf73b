"""Times of requests on two devices, whose monotonic clocks tell nothing about each other."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from broker.embedded import EmbeddedBroker
from services.executor.outbox import Outbox
from services.executor.peer_clocks import PeerClocks, deadline_s, source_time_s
from shared.bus import topics
from shared.bus.connection import Connection
from shared.lane.lane_messages import RequestFacts
from shared.machine_identity import monotonic_clock_id
from shared.messages.devices import ClockExchange

AHEAD_S = 5000.0


def sent(
    accepted_s: float | None, sent_s: float | None, sender: str = "peer"
) -> tuple[str, float | None, float | None]:
    return sender, accepted_s, sent_s


def request(
    accepted_s: float | None, *, accepted_at_s: float = 1_700_000_000.0, deadline_at_s: float | None = None
) -> RequestFacts:
    return RequestFacts("r", 1, 0, accepted_at_s, accepted_at_s, deadline_at_s, accepted_s)


@dataclass(frozen=True)
class Bench:
    """This device's clocks, and the connection of a peer."""

    clocks: PeerClocks
    peer: Connection

    async def asked(self) -> ClockExchange:
        return ClockExchange.decode((await anext(self.peer)).payload)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedBroker())
        own = await stack.enter_async_context(Connection.open(broker.settings))
        peer = await stack.enter_async_context(Connection.open(broker.settings))
        await peer.subscribe(topics.clock("peer"))
        await stack.enter_async_context(asyncio.timeout(30))
        yield Bench(PeerClocks("me", Outbox("me", own)), peer)


def answer(question: ClockExchange) -> ClockExchange:
    """Answer as a peer whose clock is ahead."""
    now_s = time.monotonic() + AHEAD_S
    return ClockExchange(kind="answer", sender="peer", asked_s=question.asked_s, arrived_s=now_s, answered_s=now_s)


async def test_the_time_on_the_way_counts_once_the_clocks_were_compared(bench: Bench) -> None:
    await bench.clocks.refresh("peer")
    await bench.clocks.exchange(answer(await bench.asked()))
    now_s = time.monotonic()
    # Accepted 3 s ago, sent 2 s ago, and arrived now.
    accepted_s = bench.clocks.accepted_s(*sent(now_s + AHEAD_S - 3.0, now_s + AHEAD_S - 2.0), now_s)
    assert now_s - accepted_s == pytest.approx(3.0, abs=0.5)


async def test_devices_of_one_machine_share_a_clock_to_the_last_digit(bench: Bench) -> None:
    await bench.clocks.refresh("peer")
    said = answer(await bench.asked()).model_copy(update={"clock_id": monotonic_clock_id()})
    await bench.clocks.exchange(said)
    assert bench.clocks.accepted_s(*sent(47.0, 48.0), 50.0) == 47.0
    # Another machine under the same name: the exchange counts again.
    await bench.clocks.exchange(said.model_copy(update={"clock_id": "another"}))
    assert bench.clocks.accepted_s(*sent(47.0, 48.0), 50.0) != 47.0


async def test_before_that_it_counts_as_nothing_whatever_the_clocks_say(bench: Bench) -> None:
    assert bench.clocks.accepted_s(*sent(90_000.0, 90_001.0), 50.0) == 49.0
    assert bench.clocks.accepted_s(*sent(None, None), 50.0) == 50.0


async def test_nothing_arrives_before_it_was_sent(bench: Bench) -> None:
    await bench.clocks.refresh("peer")
    await bench.clocks.exchange(answer(await bench.asked()))
    now_s = time.monotonic()
    sent_later_s = now_s + AHEAD_S + 60.0
    assert bench.clocks.accepted_s(*sent(sent_later_s - 1.0, sent_later_s), now_s) == now_s - 1.0


async def test_an_own_request_needs_no_comparison(bench: Bench) -> None:
    assert bench.clocks.accepted_s(*sent(7.0, 8.0, sender="me"), 50.0) == 7.0


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.model_copy(update={"asked_s": said.asked_s - 1.0}),
        lambda said: said.model_copy(update={"sender": "stranger"}),
    ],
)
async def test_answers_to_other_questions_are_ignored(
    bench: Bench, change: Callable[[ClockExchange], ClockExchange]
) -> None:
    await bench.clocks.refresh("peer")
    await bench.clocks.exchange(change(answer(await bench.asked())))
    assert bench.clocks.accepted_s(*sent(90_000.0, 90_001.0), 50.0) == 49.0


async def test_a_question_is_answered_and_a_fresh_estimate_asks_nothing(bench: Bench) -> None:
    await bench.clocks.exchange(ClockExchange(kind="ask", sender="peer", asked_s=1.0))
    said = await bench.asked()
    assert (said.kind, said.sender, said.asked_s) == ("answer", "me", 1.0)
    assert 0.0 < said.arrived_s <= said.answered_s
    await bench.clocks.refresh("peer")
    await bench.clocks.exchange(answer(await bench.asked()))
    await bench.clocks.refresh("peer")
    await bench.clocks.refresh("me")
    await bench.clocks.exchange(ClockExchange(kind="ask", sender="peer", asked_s=2.0))
    assert (await bench.asked()).asked_s == 2.0


def test_times_are_on_the_clock_of_the_source() -> None:
    assert source_time_s(request(10.0), 12.5) == 1_700_000_002.5
    assert source_time_s(request(10.0), 9.0) == 1_700_000_000.0
    assert source_time_s(request(None), 9.0) == 1_700_000_000.0


def test_a_deadline_is_a_duration_since_the_acceptance() -> None:
    urgent = request(10.0, deadline_at_s=1_700_000_000.25)
    # Accepted later, by a source whose clock is an hour behind.
    patient = request(10.5, accepted_at_s=1_699_996_400.0, deadline_at_s=1_699_996_401.0)
    assert (deadline_s(urgent), deadline_s(patient)) == (10.25, 11.5)
    assert deadline_s(request(10.0)) is None
    assert deadline_s(request(None, deadline_at_s=1.0)) is None
