"""Acknowledgements leave in the order in which the messages came."""

import random

from hypothesis import given
from hypothesis import strategies as st

from shared.bus.mqtt.acknowledgements import AcknowledgementOrder


def test_an_early_acknowledgement_waits_for_those_before_it() -> None:
    order = AcknowledgementOrder()
    for packet_id in (7, 3, 9):
        order.received(packet_id)
    assert order.acknowledge(9) == []
    assert order.acknowledge(7) == [7]
    assert order.acknowledge(3) == [3, 9]
    assert len(order) == 0


def test_repeated_and_unknown_acknowledgements_do_nothing() -> None:
    order = AcknowledgementOrder()
    order.received(1)
    assert order.acknowledge(2) == []
    assert order.acknowledge(1) == [1]
    assert order.acknowledge(1) == []


def test_a_packet_id_may_come_back_after_its_acknowledgement() -> None:
    order = AcknowledgementOrder()
    order.received(1)
    order.acknowledge(1)
    order.received(1)
    assert order.acknowledge(1) == [1]


@given(st.integers(1, 40), st.randoms(use_true_random=False))
def test_whatever_the_order_of_work_all_leave_in_the_order_of_arrival(count: int, rng: random.Random) -> None:
    order = AcknowledgementOrder()
    for packet_id in range(count):
        order.received(packet_id)
    finished = list(range(count))
    rng.shuffle(finished)
    left = [ready for packet_id in finished for ready in order.acknowledge(packet_id)]
    assert left == list(range(count))
