"""Publications that the planner's owners return."""

import logging

import pytest

from services.planner.coordination.effects import Publish, announcement, cleared, command, retained
from shared.bus import topics
from shared.messages.events import Event, EventKind
from shared.messages.explanations import Question

QUESTION = Question(stream="camera", asker="me")


def test_only_states_are_retained() -> None:
    assert retained("topic", QUESTION) == Publish("topic", QUESTION.encode(), retain=True)
    assert command("topic", QUESTION) == Publish("topic", QUESTION.encode(), retain=False)
    assert cleared("topic") == Publish("topic", b"", retain=True)


def test_an_announcement_is_logged_and_names_its_origin(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        publish = announcement("planner", EventKind.DEVICE_LOST, "device pi is gone", 9.0, device="pi")
    event = Event.decode(publish.payload)
    assert (publish.topic, publish.retain) == (topics.events(), False)
    assert (event.kind, event.at_s, event.origin, event.device) == (EventKind.DEVICE_LOST, 9.0, "planner", "pi")
    assert caplog.messages == ["device pi is gone"]
