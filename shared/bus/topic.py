"""A topic of the bus as one value: its levels, quality of service, direction and purpose."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Generic, ParamSpec

from shared.bus.roles import Reach, Role

_Levels = ParamSpec("_Levels")


class Topic(Generic[_Levels]):
    """One topic, or one per device, model or stream. Call it with the names of its levels for the topic itself.

    Made by `defined`, from a function that joins the levels. Immutable by convention.

    Attributes:
        name: the function's name.
        sender: who publishes on it.
        receivers: who subscribes to it.
        publishers: the roles whose accounts may publish on it, and for which names.
        subscribers: the roles whose accounts may receive from it, and for which names.
        summary: what its messages are for.
        qos: quality of service of its messages, 0 or 1.
        retained: the broker keeps the newest message for later subscribers.
        parameters: names of the variable levels.

    Example:
        >>> from shared.bus import topics
        >>> topics.profiles("pi", "0a1b")
        'devices/pi/profiles/0a1b'
        >>> topics.profiles.any, topics.profiles.template
        ('devices/+/profiles/+', 'devices/{device}/profiles/{model}')
    """

    def __init__(
        self,
        levels: Callable[_Levels, str],
        *,
        sender: str,
        receivers: str,
        publishers: Mapping[Role, Reach],
        subscribers: Mapping[Role, Reach],
        summary: str,
        qos: int,
        retained: bool,
    ) -> None:
        self.__doc__ = levels.__doc__
        self._levels = levels
        self.name = levels.__name__
        self.sender = sender
        self.receivers = receivers
        self.publishers = MappingProxyType(publishers)
        self.subscribers = MappingProxyType(subscribers)
        self.summary = summary
        self.qos = qos
        self.retained = retained
        self.parameters = tuple(inspect.signature(levels).parameters)

    def __call__(self, *args: _Levels.args, **kwargs: _Levels.kwargs) -> str:
        """Return the topic of these names, below the root."""
        return self._levels(*args, **kwargs)

    def __repr__(self) -> str:
        return f"Topic({self.template!r})"

    @property
    def any(self) -> str:
        """The topic filter that matches the topic for all names."""
        return self._joined("+" for _ in self.parameters)

    @property
    def template(self) -> str:
        """The topic with the names of its variable levels in braces."""
        return self._joined(f"{{{parameter}}}" for parameter in self.parameters)

    def _joined(self, names: Iterable[str]) -> str:
        levels: Callable[..., str] = self._levels
        return levels(*names)


def defined(
    *,
    sender: str,
    receivers: str,
    publishers: Mapping[Role, Reach],
    subscribers: Mapping[Role, Reach],
    summary: str,
    qos: int = 1,
    retained: bool = False,
) -> Callable[[Callable[_Levels, str]], Topic[_Levels]]:
    """Make a topic of a function that takes the names of its variable levels and returns it.

    Args:
        sender: who publishes on it.
        receivers: who subscribes to it.
        publishers: the roles whose accounts may publish on it, and for which names.
        subscribers: the roles whose accounts may receive from it, and for which names.
        summary: what its messages are for, a sentence.
        qos: quality of service of its messages. 0 is for samples that the next one replaces.
        retained: the broker keeps the newest message for later subscribers.
    """
    return lambda levels: Topic(
        levels,
        sender=sender,
        receivers=receivers,
        publishers=publishers,
        subscribers=subscribers,
        summary=summary,
        qos=qos,
        retained=retained,
    )
