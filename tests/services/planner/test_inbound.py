"""Messages to the planner, decoded at the boundary."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.planner.inbound import SUBSCRIPTIONS, PolicyDocument, decode
from services.planner.problems.snapshot import ModelWithdrawn
from shared.bus import topics
from shared.messages.base import Message, MessageError
from shared.messages.calibration import Calibration
from shared.messages.control import Ready
from shared.messages.explanations import Question
from shared.messages.models import Offer
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage, StreamUsage
from tests.support.planner_fleet import MODEL, manifest_of
from tests.support.planner_world import declaration, link, load, presence, profile

READY = Ready(device="pi", stream="camera", epoch=3)
ROUTE = PlanRoute(stages=(PlanStage(start=0, stop=1, device="pi"),))
PLAN = CommittedPlan(stream="camera", epoch=1, model=MODEL, source="pi", strategy="auto", routes=(ROUTE,))
HEARD: list[tuple[str, Message]] = [
    (topics.presence("pi"), presence("pi")),
    (topics.telemetry("pi"), load("pi", 2.0)),
    (topics.links("pi"), link("pi", "server", 5.0)),
    (topics.profiles("pi", MODEL), profile("pi", (1.0,))),
    (topics.reports("pi"), READY),
    (topics.manifest(MODEL), manifest_of()),
    (topics.offer(MODEL), Offer(manifest=manifest_of(), provider="cli")),
    (topics.calibration(MODEL), Calibration(model=MODEL, samples=1)),
    (topics.stream("camera"), declaration()),
    (topics.plan("camera"), PLAN),
    (topics.usage("camera"), StreamUsage(stream="camera", input_bytes=5)),
    (topics.questions("camera"), Question(stream="camera", asker="me")),
]


@pytest.mark.parametrize(("topic", "message"), HEARD, ids=[topic for topic, _ in HEARD])
def test_every_message_is_read_from_its_topic(topic: str, message: Message) -> None:
    assert decode(topic, message.encode()) == message
    assert decode(topic, message.encode_json()) == message


@pytest.mark.parametrize(("topic", "message"), HEARD, ids=[topic for topic, _ in HEARD])
def test_a_message_must_name_the_sender_of_its_topic(topic: str, message: Message) -> None:
    other = topic.replace("pi", "server").replace("camera", "other").replace(MODEL, "b" * 64)
    with pytest.raises(MessageError, match="is not the topic's"):
        decode(other, message.encode())


def test_every_topic_is_subscribed() -> None:
    filters = [each.split("/") for each in SUBSCRIPTIONS]
    for topic in [*(topic for topic, _ in HEARD), topics.policy("camera")]:
        levels = topic.split("/")
        assert any(
            len(each) == len(levels) and all(f in ("+", t) for f, t in zip(each, levels, strict=True))
            for each in filters
        )


def test_cleared_messages() -> None:
    assert decode(topics.manifest(MODEL), b"") == ModelWithdrawn(MODEL)
    assert decode(topics.policy("camera"), b"") == PolicyDocument("camera", b"")
    withdrawn = decode(topics.stream("camera"), b"")
    assert withdrawn == declaration(model="", source="none")
    for topic in ("presence", "links"):
        assert decode(f"devices/pi/{topic}", b"") is None
    for topic in (
        topics.profiles("pi", MODEL),
        topics.plan("camera"),
        topics.usage("camera"),
        topics.calibration(MODEL),
    ):
        assert decode(topic, b"") is None


@pytest.mark.parametrize("topic", ["devices/pi/other", "streams/+bad/policy", "x", f"models/{MODEL}/chunks"])
def test_unknown_topics_are_refused(topic: str) -> None:
    with pytest.raises(MessageError):
        decode(topic, READY.encode())


@given(st.sampled_from([topic for topic, _ in HEARD]), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(topic: str, payload: bytes) -> None:
    reason = "read"
    try:
        decode(topic, payload)
    except MessageError as error:
        reason = str(error)
    assert reason
