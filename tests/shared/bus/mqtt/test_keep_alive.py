"""When a silent broker is asked, and when it is given up."""

from shared.bus.mqtt.keep_alive import KeepAlive, KeepAliveAction


def test_silence_of_either_side_is_asked_about_and_an_answer_begins_anew() -> None:
    state = KeepAlive(interval_s=10.0, sent_at_s=100.0, received_at_s=104.0)
    assert state.step(105.0) == (KeepAliveAction.WAIT, 110.0)
    state.sent_at_s = 108.0
    # The broker has sent nothing since 104.
    assert state.step(110.0) == (KeepAliveAction.WAIT, 114.0)
    assert state.step(114.0) == (KeepAliveAction.PING, 124.0)
    state.sent_at_s = state.received_at_s = 115.0
    state.answered()
    assert state.step(124.0) == (KeepAliveAction.WAIT, 125.0)


def test_a_broker_without_an_answer_is_given_up_after_the_interval() -> None:
    state = KeepAlive(interval_s=10.0, sent_at_s=100.0, received_at_s=100.0)
    assert state.step(110.0) == (KeepAliveAction.PING, 120.0)
    # What is sent meanwhile is no answer.
    state.sent_at_s = 119.0
    assert state.step(119.0) == (KeepAliveAction.WAIT, 120.0)
    assert state.step(120.0) == (KeepAliveAction.GIVE_UP, 120.0)
