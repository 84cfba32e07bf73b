"""Every topic of the bus, as other programs see it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus import topics
from shared.bus.topics import is_name

SPELLED = {
    "devices/{device}/presence": (1, True),
    "services/{name}/presence": (1, True),
    "devices/{device}/telemetry": (0, False),
    "devices/{device}/links": (1, True),
    "devices/{device}/profiles/{model}": (1, True),
    "devices/{device}/observations": (0, False),
    "devices/{device}/receipts": (0, False),
    "devices/{device}/clock": (0, False),
    "devices/{device}/probes": (0, False),
    "devices/{device}/direct_probes": (0, False),
    "devices/{device}/emulation": (1, True),
    "devices/{device}/commands": (1, False),
    "devices/{device}/reports": (1, False),
    "devices/{device}/inbox": (1, False),
    "devices/{device}/outcomes": (1, False),
    "devices/{device}/outcome_chunks": (1, False),
    "models/{model}": (1, True),
    "models/{model}/calibration": (1, True),
    "models/{model}/versions/{version}": (1, True),
    "models/{model}/shadow": (0, False),
    "models/{model}/offer": (1, False),
    "models/{model}/pulls/{provider}": (1, False),
    "models/{model}/chunks/{receiver}": (1, False),
    "streams/{stream}": (1, True),
    "streams/{stream}/policy": (1, True),
    "streams/{stream}/plan": (1, True),
    "streams/{stream}/status": (1, True),
    "streams/{stream}/usage": (1, True),
    "streams/{stream}/alternatives": (1, True),
    "streams/{stream}/questions": (1, False),
    "streams/{stream}/explanations/{asker}": (1, False),
    "streams/{stream}/requests": (1, False),
    "streams/{stream}/results": (1, False),
    "streams/{stream}/outputs": (1, False),
    "replies/{application}": (1, False),
    "collector/confirmations": (1, False),
    "events": (1, False),
}


def test_the_topics_are_those_that_other_programs_use() -> None:
    """Accounts, access rules and applications depend on them: a change is a new version of the root."""
    assert {topic.template: (topic.qos, topic.retained) for topic in topics.ALL_TOPICS} == SPELLED


def test_no_two_topics_can_meet() -> None:
    filters = [topic.any for topic in topics.ALL_TOPICS]
    assert len(set(filters)) == len(filters)


@given(st.text(max_size=70))
def test_no_name_reaches_another_topic(text: str) -> None:
    if is_name(text):
        assert 1 <= len(text) <= 64
        assert topics.presence(text).split("/") == ["devices", text, "presence"]
        assert not set("/+#$\0") & set(text)


def test_a_newline_at_the_end_is_no_part_of_a_name() -> None:
    assert is_name("pi")
    assert not is_name("pi\n")


def test_subscriptions_match_all_names_in_the_topic_s_quality_of_service() -> None:
    assert topics.subscriptions(topics.telemetry, topics.model_chunks, topics.events) == {
        "devices/+/telemetry": 0,
        "models/+/chunks/+": 1,
        "events": 1,
    }


@pytest.mark.parametrize(
    "text",
    [
        "segue/v1/streams/door/results",
        "segue/v1/replies/me",
        "segue/v1/replies/me/answers/7",
        "segue/v1/replies/" + "/".join("a" * 8),
    ],
)
def test_where_results_may_be_asked_for(text: str) -> None:
    assert topics.is_response_topic(text, "segue/v1", "door")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "segue/v1/replies/",
        "segue/v1/replies/a//b",
        "segue/v1/replies/+",
        "segue/v1/replies/a/#",
        "segue/v1/replies/über",
        "segue/v1/replies/a b",
        "segue/v1/replies/a\n",
        "segue/v1/replies/" + "/".join("a" * 9),
        "a/" * 201 + "x",
        "$SYS/broker",
        "segue/v1/streams/other/results",
        "segue/v1/streams/door/plan",
        "segue/v1/devices/pi/commands",
        "other/replies/me",
    ],
)
def test_where_results_may_not_be_asked_for(text: str) -> None:
    assert not topics.is_response_topic(text, "segue/v1", "door")
