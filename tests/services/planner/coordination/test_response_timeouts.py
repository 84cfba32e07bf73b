from services.planner.coordination.response_timeouts import ANSWER_WITHIN_S, ResponseTimeouts


def test_who_says_nothing_is_given_up_once() -> None:
    timeouts = ResponseTimeouts()
    assert timeouts.due_at_s == float("inf")
    timeouts.expect("server", 10.0)
    timeouts.expect("server", 12.0)
    assert timeouts.due_at_s == 10.0 + ANSWER_WITHIN_S
    assert timeouts.take_due(10.0 + ANSWER_WITHIN_S - 0.1) == []
    assert timeouts.take_due(10.0 + ANSWER_WITHIN_S) == ["server"]
    assert timeouts.take_due(100.0) == []
    assert timeouts.due_at_s == float("inf")


def test_who_answers_owes_nothing_until_it_is_asked_again() -> None:
    timeouts = ResponseTimeouts()
    timeouts.expect("server", 10.0)
    timeouts.received("server")
    assert timeouts.take_due(100.0) == []
    timeouts.expect("server", 100.0)
    assert timeouts.due_at_s == 100.0 + ANSWER_WITHIN_S
