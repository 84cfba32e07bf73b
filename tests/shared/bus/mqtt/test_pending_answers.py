"""Futures of the broker's answers, and their packet identifiers."""

import mqtt5
import pytest

from shared.bus.errors import SessionLost
from shared.bus.mqtt.pending_answers import PendingAnswers

SUCCESS = mqtt5.PubAckReasonCode.SUCCESS


async def test_an_answer_resolves_its_future_and_frees_its_identifier() -> None:
    answers = PendingAnswers()
    first, second = answers.new_packet_id(), answers.new_packet_id()
    assert first != second
    future = answers.expect(first, 5.0)
    answers.resolve(second, SUCCESS)
    assert not future.done()
    answers.resolve(first, SUCCESS)
    assert not (await future).is_failure
    # The broker may answer again, or an identifier that is not used.
    answers.resolve(first, SUCCESS)


async def test_an_identifier_is_not_used_again_before_its_answer() -> None:
    answers = PendingAnswers()
    taken = answers.new_packet_id()
    # A waiter that has given up frees nothing.
    answers.expect(taken, 0.0).cancel()
    assert taken not in {answers.new_packet_id() for _ in range(65_534)}
    answers.resolve(taken, SUCCESS)
    assert taken in {answers.new_packet_id() for _ in range(65_535)}


async def test_the_time_of_a_debt_is_that_of_the_first_question_since_there_was_none() -> None:
    answers = PendingAnswers()
    assert answers.owed_since_s() is None
    first, second = answers.new_packet_id(), answers.new_packet_id()
    answers.expect(first, 1.0)
    answers.expect(second, 2.0)
    assert answers.owed_since_s() == 1.0
    answers.resolve(first, SUCCESS)
    answers.not_sent(second)
    assert answers.owed_since_s() is None


async def test_the_end_of_the_connection_fails_every_future() -> None:
    answers = PendingAnswers()
    futures = [answers.expect(answers.new_packet_id(), 0.0) for _ in range(3)]
    answers.resolve(1, SUCCESS)
    answers.fail()
    assert not futures[0].result().is_failure
    for future in futures[1:]:
        with pytest.raises(SessionLost):
            future.result()
