"""Rights of accounts. tests/broker/test_access_files.py asks a real broker about each role and topic."""

from collections.abc import Mapping

import pytest

from services.collector.inbound import CONTROL, DURABLE, REQUESTS
from services.monitor.inbound import control_filters
from services.planner.inbound import SUBSCRIPTIONS
from shared.bus import topics
from shared.bus.account_rights import Account, filters_to_publish, filters_to_receive
from shared.bus.roles import Reach, Role
from tests.support.shared_paths import REPOSITORY


def test_an_application_has_its_streams_and_its_replies() -> None:
    bell = Account("bell", Role.APPLICATION, ("door", "yard"))
    assert filters_to_publish(bell) == ("streams/door/requests", "streams/yard/requests")
    assert set(filters_to_receive(bell)) == {
        *(f"streams/{stream}{kind}" for stream in ("door", "yard") for kind in ("", "/status", "/results", "/outputs")),
        "replies/bell/#",
    }


def test_an_application_without_streams_may_send_nothing() -> None:
    assert filters_to_publish(Account("bell", Role.APPLICATION)) == ()


def test_a_viewer_publishes_nothing_and_sees_no_photograph_and_no_result() -> None:
    viewer = Account("v", Role.VIEWER)
    assert filters_to_publish(viewer) == ()
    kinds = {each.split("/")[-1] for each in filters_to_receive(viewer)}
    assert not kinds & {"requests", "results", "outputs", "inbox", "#"}


def test_services_subscribe_to_what_their_role_may_receive() -> None:
    """A subscription that a role lacks would be silent on Mosquitto."""
    planner = filters_to_receive(Account("planner", Role.PLANNER))
    assert set(SUBSCRIPTIONS) <= set(planner)
    collector = filters_to_receive(Account("collector", Role.COLLECTOR))
    assert {*DURABLE, *CONTROL, REQUESTS} <= set(collector)
    device = filters_to_receive(Account("pi", Role.DEVICE, ("door",)))
    assert set(control_filters("pi", emulated=True)) <= set(device)
    assert {topics.probes("pi"), topics.inbox("pi"), topics.requests("door"), topics.model_chunks("+", "pi")} <= set(
        device
    )


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("a/b", Role.DEVICE),
        ("+", Role.VIEWER),
        ("monitor-pi", Role.COLLECTOR),
        ("x" * 57, Role.DEVICE),
        ("", Role.DEVICE),
    ],
)
def test_names_that_reach_others_are_refused(name: str, role: Role) -> None:
    with pytest.raises(ValueError, match=r"is no name|those of monitors|too long"):
        Account(name, role)
    with pytest.raises(ValueError, match="is no name"):
        Account("bell", Role.APPLICATION, ("door/+",))


def test_the_documented_table_is_that_of_the_declarations() -> None:
    def cell(roles: Mapping[Role, Reach]) -> str:
        return ", ".join(
            f"{role.value} (own)" if roles[role] is Reach.OWN else role.value for role in Role if role in roles
        )

    rows = [
        f"| `{topic.template}{'/#' if topic is topics.replies else ''}` | {cell(topic.publishers)} | "
        f"{cell(topic.subscribers)} |"
        for topic in topics.ALL_TOPICS
    ]
    page = (REPOSITORY / "docs" / "access-rights.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in page if line.startswith("| `")] == rows
