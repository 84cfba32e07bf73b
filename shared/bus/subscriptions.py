"""Topic filters that a connection remembers, and requests again on every new session."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from shared.bus.access_rights import MissingRights
from shared.bus.errors import AccessRefused, SessionLost, SubscriptionFailed
from shared.bus.session import MqttSession

_LOGGER = logging.getLogger(__name__)


class Subscriptions:
    """The topic filters of one connection, each with its quality of service.

    Args:
        root: topic in front of every filter.
        missing_rights: takes the refusals.
        connected_session: waits for a session on which the filters have been requested, and returns it.
    """

    def __init__(
        self, root: str, missing_rights: MissingRights, connected_session: Callable[[], Awaitable[MqttSession]]
    ) -> None:
        self._root = root
        self._missing_rights = missing_rights
        self._connected_session = connected_session
        self._qos: dict[str, int] = {}

    async def add(self, topic_filter: str, qos: int, timeout_s: float) -> None:
        """Remember a filter, and wait until the broker has confirmed it.

        Args:
            topic_filter: below the root.
            qos: 0 or 1.
            timeout_s: bound on the whole call.

        Raises:
            SubscriptionFailed: no SUBACK in time. The filter stays.
            AccessRefused: the broker does not allow it. The filter is forgotten.
        """
        self._qos[topic_filter] = qos
        whole = self._whole(topic_filter)
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    session = await self._connected_session()
                    if whole in session.subscribed:
                        return
                    # A session lost meanwhile is followed by one that requests the remembered filters by itself.
                    try:
                        await session.request_subscription(whole, qos)
                    except SessionLost:
                        await asyncio.sleep(0)
        except TimeoutError:
            raise SubscriptionFailed(topic_filter, f"not confirmed within {timeout_s:g} s") from None
        except AccessRefused:
            self._missing_rights.note("read", whole)
            # A repeated request would be refused after every reconnect, with an error in the log each time.
            self._qos.pop(topic_filter, None)
            raise

    async def remove(self, topic_filter: str, session: MqttSession | None) -> None:
        """Forget a filter, and tell the broker if there is a session."""
        if self._qos.pop(topic_filter, None) is None or session is None:
            return
        try:
            await session.cancel_subscription(self._whole(topic_filter))
        except SessionLost:
            _LOGGER.debug("connection lost while unsubscribing from %s", topic_filter)

    async def restore(self, session: MqttSession) -> None:
        """Request every filter on a new session. A refusal is logged.

        Raises:
            SessionLost: the session ended meanwhile.
        """
        for topic_filter, qos in tuple(self._qos.items()):
            try:
                await session.request_subscription(self._whole(topic_filter), qos)
            except AccessRefused as error:
                _LOGGER.error("%s", error)

    def _whole(self, topic_filter: str) -> str:
        return f"{self._root}/{topic_filter}"
