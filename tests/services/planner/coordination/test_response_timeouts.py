from services.planner.coordination.response_timeouts import ANSWER_WITHIN_S, ResponseTimeouts


def test_a_silent_device_times_out_once() -> None:
    timeouts = ResponseTimeouts()
    assert timeouts.due_at_s == float("inf")
    timeouts.expect("server", 10.0)
    timeouts.expect("server", 12.0)
    assert timeouts.due_at_s == 10.0 + ANSWER_WITHIN_S
    assert timeouts.take_due(10.0 + ANSWER_WITHIN_S - 0.1) == []
    assert timeouts.take_due(10.0 + ANSWER_WITHIN_S) == ["server"]
    assert timeouts.take_due(100.0) == []
    assert timeouts.due_at_s == float("inf")


def test_a_device_that_answers_owes_nothing_until_the_next_command() -> None:
    timeouts = ResponseTimeouts()
    timeouts.expect("server", 10.0)
    timeouts.received("server")
    assert timeouts.take_due(100.0) == []
    timeouts.expect("server", 100.0)
    assert timeouts.due_at_s == 100.0 + ANSWER_WITHIN_S
