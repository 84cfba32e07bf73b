"""Pauses grow and are spread; refusals are told from broken connections."""

import random

from shared.bus.backoff import Backoff
from shared.bus.errors import AccessRefused, BrokerUnreachable

CERTAIN = AccessRefused("mqtt://h", "Not authorized")
HANG_UP = AccessRefused("mqtt://h", "it hung up", is_certain=False)
UNREACHABLE = BrokerUnreachable("mqtt://h", "timed out")


def pauses(backoff: Backoff, count: int) -> list[float]:
    rng = random.Random(1)
    return [backoff.next_pause_s(rng) for _ in range(count)]


def test_pauses_double_up_to_the_longest_with_jitter() -> None:
    bounds = (0.1, 0.2, 0.4, 0.8, 1.0, 1.0)
    for pause_s, bound_s in zip(pauses(Backoff(0.1, 1.0), len(bounds)), bounds, strict=True):
        assert bound_s / 2 <= pause_s <= bound_s


def test_a_night_without_a_broker_overflows_nothing() -> None:
    assert max(pauses(Backoff(0.1, 5.0), 5000)) <= 5.0


def test_only_a_connection_that_lasted_makes_pauses_short_again() -> None:
    backoff = Backoff(0.1, 100.0)
    pauses(backoff, 5)
    backoff.connection_ended(0.5)
    assert pauses(backoff, 1)[0] > 1.0
    backoff.connection_ended(60.0)
    assert pauses(backoff, 1)[0] <= 0.1


def test_a_refusal_with_a_reason_is_final_and_hang_ups_are_if_they_repeat() -> None:
    backoff = Backoff(0.1, 1.0)
    assert backoff.attempt_failed(CERTAIN)
    assert [Backoff(0.1, 1.0).attempt_failed(error) for error in (UNREACHABLE, HANG_UP)] == [False, False]
    backoff = Backoff(0.1, 1.0)
    errors = (HANG_UP, HANG_UP, UNREACHABLE, HANG_UP, HANG_UP, HANG_UP)
    assert [backoff.attempt_failed(error) for error in errors] == [False] * 5 + [True]
