"""Which transport is in force between two devices, and with which estimate."""

from typing import Any

import pytest

from services.planner.problems.snapshot import DeviceState, LinkState
from services.planner.problems.transports import carrier_in_force, links_in_force
from shared.transport_mode import Carrier, TransportMode

MQTT, AUTO, DIRECT = ("mqtt",), ("direct", "mqtt"), ("direct",)
SLOW, FAST = LinkState(10.0, 2.0, 0.0), LinkState(30.0, 0.5, 0.0)


def device(transports: tuple[str, ...], **links: Any) -> DeviceState:
    return DeviceState(online=True, transports=transports, **links)


@pytest.mark.parametrize(
    ("source", "target", "mode", "expected"),
    [
        (MQTT, MQTT, None, Carrier.MQTT),
        (AUTO, AUTO, None, Carrier.DIRECT),
        (AUTO, MQTT, None, Carrier.MQTT),
        (MQTT, AUTO, None, Carrier.MQTT),
        (DIRECT, DIRECT, None, Carrier.DIRECT),
        (DIRECT, MQTT, None, None),
        (AUTO, AUTO, TransportMode.MQTT, Carrier.MQTT),
        (DIRECT, DIRECT, TransportMode.AUTO, Carrier.DIRECT),
        (AUTO, AUTO, TransportMode.DIRECT, Carrier.DIRECT),
        (AUTO, MQTT, TransportMode.DIRECT, None),
        (("carrier pigeon",), AUTO, None, None),
    ],
)
def test_the_carrier_follows_from_policy_and_devices(
    source: tuple[str, ...], target: tuple[str, ...], mode: TransportMode | None, expected: Carrier | None
) -> None:
    assert carrier_in_force(device(source), device(target), mode) is expected


def test_each_link_has_the_estimate_of_its_transport() -> None:
    online = {
        "a": device(AUTO, links={"b": SLOW, "c": SLOW, "gone": SLOW}, direct_links={"b": FAST}),
        "b": device(AUTO, links={"a": SLOW}, direct_links={"c": FAST}),
        "c": device(MQTT),
    }
    # The way from b to c is known for a transport that c does not offer.
    assert list(links_in_force(online, None)) == [("a", "b", FAST), ("a", "c", SLOW), ("b", "a", SLOW)]
    assert list(links_in_force(online, TransportMode.MQTT)) == [("a", "b", SLOW), ("a", "c", SLOW), ("b", "a", SLOW)]
    # Before anything has travelled directly, the way through the broker is the best guess.
    assert list(links_in_force(online, TransportMode.DIRECT)) == [("a", "b", FAST), ("b", "a", SLOW)]


def test_the_broker_stands_in_for_a_direct_way_that_is_down() -> None:
    down = LinkState(0.0, 0.5, 0.0)
    online = {"a": device(AUTO, links={"b": SLOW}, direct_links={"b": down}), "b": device(AUTO)}
    assert list(links_in_force(online, None)) == [("a", "b", SLOW)]
    assert list(links_in_force(online, TransportMode.AUTO)) == [("a", "b", SLOW)]
    assert list(links_in_force(online, TransportMode.DIRECT)) == [("a", "b", down)]
    assert carrier_in_force(online["a"], online["b"], None, down) is Carrier.MQTT
    only = {"a": device(DIRECT, links={"b": SLOW}, direct_links={"b": down}), "b": device(DIRECT)}
    assert list(links_in_force(only, None)) == [("a", "b", down)]
