from services.planner.coordination.response_timeouts import ANSWER_WITHIN_S, Silence


def test_who_says_nothing_is_given_up_once() -> None:
    silence = Silence()
    assert silence.due_at_s == float("inf")
    silence.asked("server", 10.0)
    silence.asked("server", 12.0)
    assert silence.due_at_s == 10.0 + ANSWER_WITHIN_S
    assert silence.take_due(10.0 + ANSWER_WITHIN_S - 0.1) == []
    assert silence.take_due(10.0 + ANSWER_WITHIN_S) == ["server"]
    assert silence.take_due(100.0) == []
    assert silence.due_at_s == float("inf")


def test_who_answers_owes_nothing_until_it_is_asked_again() -> None:
    silence = Silence()
    silence.asked("server", 10.0)
    silence.heard("server")
    assert silence.take_due(100.0) == []
    silence.asked("server", 100.0)
    assert silence.due_at_s == 100.0 + ANSWER_WITHIN_S
