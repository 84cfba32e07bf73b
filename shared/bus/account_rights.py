"""Rights of an account, derived from what the topics state about roles.

A right is a topic filter, on which an account may publish, or from which it may receive. What no filter matches is
refused. `broker.access_files` writes rights in Mosquitto's format.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from shared.bus import topics
from shared.bus.roles import Reach, Role
from shared.bus.topic import Topic


@dataclass(frozen=True, slots=True)
class Account:
    """An account of a fleet.

    Attributes:
        name: user name. A device, planner or collector has the same name on the bus.
        role: what its holder is.
        streams: of an application, the streams to which it sends requests. Of a device, those whose source it is.

    Raises:
        ValueError: the name or a stream is no name, or the name is that of a device's monitor.
    """

    name: str
    role: Role
    streams: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for text in (self.name, *self.streams):
            if not topics.is_name(text):
                raise ValueError(
                    f"{text!r} is no name: 1 to 64 letters, digits, '_', '.', '-', the first a letter or digit"
                )
        if self.name.startswith(topics.MONITOR_PREFIX):
            raise ValueError(f"{self.name!r}: names that begin with {topics.MONITOR_PREFIX!r} are those of monitors")
        if self.role is Role.DEVICE and not topics.is_name(topics.monitor_name(self.name)):
            raise ValueError(f"{self.name!r} is too long for a device: 56 characters at most")


def filters_to_publish(account: Account) -> tuple[str, ...]:
    """Return the filters of topics on which an account may publish, below the root."""
    return tuple(_filters(account, {topic: topic.publishers for topic in topics.ALL_TOPICS}))


def filters_to_receive(account: Account) -> tuple[str, ...]:
    """Return the filters of topics whose messages an account may receive, below the root."""
    return tuple(_filters(account, {topic: topic.subscribers for topic in topics.ALL_TOPICS}))


def _filters(account: Account, roles_of: Mapping[Topic[...], Mapping[Role, Reach]]) -> Iterator[str]:
    for topic, roles in roles_of.items():
        reach = roles.get(account.role)
        if reach is Reach.ANY:
            yield whole_filter(topic, topic.any)
        elif reach is Reach.OWN:
            levels: Topic[...] = topic
            for names in product(*(_own_names(account, parameter) for parameter in topic.parameters)):
                yield whole_filter(topic, levels(*names))


def _own_names(account: Account, parameter: str) -> tuple[str, ...]:
    match parameter:
        case "stream":
            return account.streams
        case "name" if account.role is Role.DEVICE:
            return (topics.monitor_name(account.name),)
        case "device" | "name" | "application" | "provider" | "receiver" | "asker":
            return (account.name,)
        case _:
            # Models and their versions belong to no account.
            return ("+",)


def whole_filter(topic: Topic[...], topic_filter: str) -> str:
    """Return a filter of a topic with what may follow it: response topics have further levels."""
    # `name/#` matches `name` as well (MQTT 5.0, 4.7.1.2).
    return f"{topic_filter}/#" if topic is topics.replies else topic_filter
