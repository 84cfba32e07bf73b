"""What must cross the bridge between a site and the rest of a fleet, derived from what the topics state about roles.

A topic crosses from a side if an account there may publish on it and one on the other side may receive it. Planner,
collectors, operators and viewers are at the fleet's first broker. Sites form a star around it, so that no message can
come back: a bridge sends nothing of what it received (no local, MQTT 5.0, 3.8.3.1).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Final

from broker.fleet_record import FleetRecord
from shared.bus import topics
from shared.bus.account_rights import whole_filter
from shared.bus.roles import Reach, Role
from shared.bus.topic import Topic

_ANY: Final = "+"
# Collectors receive requests only to count those without outcome (`--watch-requests`): no reason to send photographs
# across.
_NOT_FOR: Final[Mapping[str, Role]] = {topics.requests.name: Role.COLLECTOR}


class Direction(StrEnum):
    """Where messages of a topic go, as Mosquitto calls it at the site."""

    OUT = "out"
    """From the site to the rest of the fleet."""
    IN = "in"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class BridgeTopic:
    """A topic that crosses.

    Attributes:
        topic_filter: below the root.
        direction: where its messages go.
        qos: quality of service on the bridge. Messages of 0 do not wait while it is cut.
    """

    topic_filter: str
    direction: Direction
    qos: int


def bridge_topics(record: FleetRecord, site: str) -> tuple[BridgeTopic, ...]:
    """Return what crosses the bridge of a site. No two filters match the same topic."""
    if record.site(site).is_twin:
        return (BridgeTopic("#", Direction.BOTH, 1),)
    sides = _Sides(record, site)
    found: list[BridgeTopic] = []
    for topic in topics.ALL_TOPICS:
        levels: Topic[...] = topic
        for names in product(*(sides.names_of(topic, parameter) for parameter in topic.parameters)):
            direction = sides.direction(topic, dict(zip(topic.parameters, names, strict=True)))
            if direction is not None:
                found.append(BridgeTopic(whole_filter(topic, levels(*names)), direction, topic.qos))
    return tuple(found)


class _Sides:
    """Who is at a site, and who is elsewhere."""

    def __init__(self, record: FleetRecord, site: str) -> None:
        self._record = record
        accounts = record.accounts
        self._is_here = {each.name: each.site == site for each in accounts}
        self._devices = [each.name for each in accounts if each.role is Role.DEVICE]
        self._applications = [each for each in accounts if each.role is Role.APPLICATION]
        self._services = [each for each in accounts if each.role in (Role.PLANNER, Role.COLLECTOR)]

    def names_of(self, topic: Topic[...], parameter: str) -> tuple[str, ...]:
        """Return the names of a variable level whose messages may go different ways; a wildcard if all go the same."""
        reaches = {**topic.publishers, **topic.subscribers}
        depends = any(
            roles.get(role) is Reach.OWN
            for roles in (topic.publishers, topic.subscribers)
            for role in (Role.DEVICE, Role.APPLICATION)
        )
        if not depends or not reaches:
            return (_ANY,)
        match parameter:
            case "device" | "receiver":
                return tuple(self._devices)
            case "name":
                return (*map(topics.monitor_name, self._devices), *(each.name for each in self._services))
            case "stream":
                return tuple(sorted(self._record.sources))
            case "application":
                return tuple(each.name for each in self._applications)
            case _:
                return (_ANY,)

    def direction(self, topic: Topic[...], names: Mapping[str, str]) -> Direction | None:
        """Return where messages of a topic must go; None if they stay where they are."""
        left_out = _NOT_FOR.get(topic.name)
        receivers = {role: reach for role, reach in topic.subscribers.items() if role is not left_out}
        goes_out = self._is_any(topic.publishers, names, here=True) and self._is_any(receivers, names, here=False)
        comes_in = self._is_any(topic.publishers, names, here=False) and self._is_any(receivers, names, here=True)
        if goes_out:
            return Direction.BOTH if comes_in else Direction.OUT
        return Direction.IN if comes_in else None

    def _is_any(self, roles: Mapping[Role, Reach], names: Mapping[str, str], here: bool) -> bool:
        """Return whether an account with one of these rights is at the site, or elsewhere."""
        return any(here in self._places(role, reach, names) for role, reach in roles.items())

    def _places(self, role: Role, reach: Reach, names: Mapping[str, str]) -> set[bool]:
        match role:
            case Role.DEVICE:
                owners = self._devices if reach is Reach.ANY else list(self._owners(names))
            case Role.APPLICATION:
                owners = [each.name for each in self._applications if _is_own(each.name, each.streams, names)]
            case _:
                # A service's own presence is published by the service of this name alone.
                named = names.get("name", _ANY)
                is_other = reach is Reach.OWN and named != _ANY and named not in self._names_with(role)
                return set() if is_other else {False}
        return {self._is_here[owner] for owner in owners}

    def _owners(self, names: Mapping[str, str]) -> Iterator[str]:
        """Yield the device to which the names in a topic belong."""
        for parameter, name in names.items():
            owner = self._record.sources.get(name) if parameter == "stream" else name
            if parameter == "name":
                owner = name.removeprefix(topics.MONITOR_PREFIX)
            if owner in self._devices:
                yield owner

    def _names_with(self, role: Role) -> list[str]:
        return [each.name for each in self._services if each.role is role]


def _is_own(application: str, streams: tuple[str, ...], names: Mapping[str, str]) -> bool:
    return names.get("application") == application or names.get("stream") in streams
