"""Topics and topic filters: which ones the embedded broker can serve, and how many."""

import pytest

from broker.topic_quota import TopicQuota


@pytest.mark.parametrize("topic", ["a", "/", "a/über", "a b", "x" * 4096, "a/" * 199 + "a"])
def test_a_topic_that_can_be_served_has_no_fault(topic: str) -> None:
    assert TopicQuota().topic_fault(topic) == ""


@pytest.mark.parametrize(
    ("topic", "fault"),
    [
        ("", "empty"),
        ("a/+", "wildcards"),
        ("über", "not ASCII"),
        ("$SYS/a", "begins with $"),
        ("x" * 4097, "more than 4096 bytes"),
        ("ü".rjust(4096, "x"), "more than 4096 bytes"),
        ("a/" * 200 + "a", "200 levels"),
    ],
)
def test_the_fault_of_a_topic_is_named(topic: str, fault: str) -> None:
    assert fault in TopicQuota().topic_fault(topic)


@pytest.mark.parametrize("topic_filter", ["#", "+", "+/+", "a/+/b/#", "/#", "über/+"])
def test_a_filter_that_can_be_served_has_no_fault(topic_filter: str) -> None:
    assert TopicQuota().filter_fault(topic_filter, 1) == ""


@pytest.mark.parametrize("topic_filter", ["", "#/a", "a#", "a+/b", "a/+b", "$share/g/a"])
def test_a_filter_that_is_none_or_shared_has_a_fault(topic_filter: str) -> None:
    assert "filter" in TopicQuota().filter_fault(topic_filter, 1)


def test_quality_of_service_2_is_not_served() -> None:
    assert TopicQuota().filter_fault("a", 2) == "quality of service 2"


def test_topics_and_filters_share_the_quota_and_refused_ones_do_not_count() -> None:
    quota = TopicQuota(limit=2)
    assert quota.filter_fault("a/b", 0) == quota.topic_fault("a/b") == ""
    assert quota.topic_fault("über")
    assert quota.filter_fault("#", 1) == ""
    assert quota.topic_fault("c") == "a new topic beyond 2"
    assert quota.topic_fault("a/b") == ""
