"""What crosses the bridge of a site, spelled for every topic."""

import pytest

from broker.bridge_topics import bridge_topics
from broker.fleet_record import FleetRecord, SiteRecord
from shared.bus import topics
from shared.bus.roles import Role

HASH = "$7$101$AAAA$AAAA"
# By topic, with the members of the fleet below: what the site sends and receives.
SPELLED = {
    "devices/cam/presence": "both",
    "devices/helper/presence": "in",
    "devices/cam/telemetry": "out",
    "devices/cam/links": "both",
    "devices/cam/profiles/+": "both",
    "devices/cam/receipts": "in",
    "devices/helper/receipts": "out",
    "devices/cam/clock": "in",
    "devices/helper/clock": "out",
    "devices/cam/probes": "in",
    "devices/helper/probes": "out",
    "devices/cam/emulation": "in",
    "devices/cam/commands": "in",
    "devices/cam/reports": "out",
    "devices/cam/inbox": "in",
    "devices/helper/inbox": "out",
    "devices/cam/outcomes": "in",
    "devices/helper/outcomes": "out",
    "devices/cam/outcome_chunks": "in",
    "devices/helper/outcome_chunks": "out",
    "models/+": "in",
    "models/+/versions/+": "in",
    "models/+/shadow": "out",
    "models/+/pulls/+": "out",
    "models/+/chunks/cam": "in",
    "streams/door": "in",
    "streams/yard": "in",
    "streams/+/plan": "in",
    "streams/yard/status": "in",
    "streams/door/usage": "out",
    "streams/+/alternatives": "in",
    # door begins at the site, and chime rings there for yard: their requests and results go where they are needed.
    "streams/door/requests": "in",
    "streams/yard/requests": "out",
    "streams/door/results": "out",
    "streams/yard/results": "in",
    "streams/door/outputs": "out",
    "streams/yard/outputs": "in",
    "services/monitor-cam/presence": "both",
    "services/monitor-helper/presence": "in",
    "services/planner/presence": "in",
    "services/collector/presence": "in",
    "replies/bell/#": "out",
    "replies/chime/#": "in",
    "collector/confirmations": "in",
    "events": "out",
}


@pytest.fixture
def record() -> FleetRecord:
    """The camera at the site, the helper and the rest at the first broker; an application on each side."""
    fleet = FleetRecord(hosts=("127.0.0.1",), planner_key="ab" * 32)
    fleet = fleet.with_site(SiteRecord(name="barn", hosts=("127.0.0.1",), bridge_hash=HASH))
    for role in (Role.PLANNER, Role.COLLECTOR, Role.OPERATOR, Role.VIEWER):
        fleet = fleet.with_account(role.value, role, HASH)
    fleet = fleet.with_account("cam", Role.DEVICE, HASH, site="barn").with_account("helper", Role.DEVICE, HASH)
    fleet = fleet.with_stream("door", "cam").with_stream("yard", "helper")
    fleet = fleet.with_account("bell", Role.APPLICATION, HASH, ("door",))
    return fleet.with_account("chime", Role.APPLICATION, HASH, ("yard",), site="barn")


def test_only_what_must_cross_crosses(record: FleetRecord) -> None:
    assert {each.topic_filter: str(each.direction) for each in bridge_topics(record, "barn")} == SPELLED


def test_messages_that_must_not_wait_have_no_quality_of_service(record: FleetRecord) -> None:
    qos = {each.topic_filter: each.qos for each in bridge_topics(record, "barn")}
    assert (qos["devices/cam/telemetry"], qos["devices/helper/probes"], qos["devices/helper/inbox"]) == (0, 0, 1)


def test_no_filter_matches_what_another_one_matches(record: FleetRecord) -> None:
    def overlaps(one: str, other: str) -> bool:
        pairs = zip(one.split("/"), other.split("/"), strict=False)
        return one.count("/") == other.count("/") and all("+" in pair or pair[0] == pair[1] for pair in pairs)

    filters = [each.topic_filter for each in bridge_topics(record, "barn")]
    assert [(a, b) for a in filters for b in filters if a != b and overlaps(a, b)] == []


def test_a_site_without_members_sends_and_receives_nothing(record: FleetRecord) -> None:
    empty = record.with_site(SiteRecord(name="empty", hosts=("127.0.0.1",), bridge_hash=HASH))
    assert bridge_topics(empty, "empty") == ()


def test_two_sites_reach_each_other_through_the_first_broker(record: FleetRecord) -> None:
    third = record.with_site(SiteRecord(name="mill", hosts=("127.0.0.1",), bridge_hash=HASH))
    third = third.with_account("saw", Role.DEVICE, HASH, site="mill")
    barn = {each.topic_filter: str(each.direction) for each in bridge_topics(third, "barn")}
    mill = {each.topic_filter: str(each.direction) for each in bridge_topics(third, "mill")}
    assert (barn["devices/saw/inbox"], mill["devices/saw/inbox"]) == ("out", "in")
    assert (barn["devices/cam/presence"], mill["devices/cam/presence"]) == ("both", "in")


def test_everything_crosses_to_a_twin(record: FleetRecord) -> None:
    twin = record.with_site(SiteRecord(name="b", hosts=("127.0.0.1",), bridge_hash=HASH, is_twin=True))
    assert [(each.topic_filter, str(each.direction)) for each in bridge_topics(twin, "b")] == [("#", "both")]


def test_what_stays_at_its_device_never_crosses(record: FleetRecord) -> None:
    found = {each.topic_filter for each in bridge_topics(record, "barn")}
    for topic in (topics.observations, topics.direct_probes):
        assert not {topic("cam"), topic("helper"), topic.any} & found
