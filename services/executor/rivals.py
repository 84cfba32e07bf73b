"""Two executors of one name: the broker lets each throw the other out for ever, unless one of them stops."""

import asyncio
import contextlib
import logging
from typing import Final

from shared.bus import topics
from shared.bus.connection import Connection, unique_client_id
from shared.bus.settings import BusSettings
from shared.messages.base import MessageError
from shared.messages.devices import Presence, State
from shared.service import InputError

LOGGER = logging.getLogger(__name__)

NEWCOMER_PATIENCE: Final = 3
"""How often a newcomer hears of the executor that was there before it stops."""
EQUAL_PATIENCE: Final = 10
"""The same for executors of which none was clearly there before; the one whose boot id is the larger stops."""
_WATCHED_S: Final = 60.0


class Rivals:
    """Counts how often other executors of this one's name say that they are there. Pure.

    A process that is gone is heard once at most, from what the broker keeps of it. One that is alive is heard whenever
    it has come back and thrown this one out. Who heard the other before hearing itself came later.
    """

    def __init__(self, boot_id: str) -> None:
        """Know only the own boot id."""
        self._boot_id = boot_id
        self._newcomer = True
        self._earlier: set[str] = set()
        self._heard: dict[str, int] = {}

    def must_stop(self, boot_id: str) -> bool:
        """Take an executor's word that it is there; say whether this one has to leave the name to it."""
        if boot_id == self._boot_id:
            self._newcomer = False
            return False
        if self._newcomer:
            self._earlier.add(boot_id)
        times = self._heard[boot_id] = self._heard.get(boot_id, 0) + 1
        if boot_id in self._earlier:
            return times >= NEWCOMER_PATIENCE
        return times >= EQUAL_PATIENCE and self._boot_id > boot_id


async def leave_to_rival(
    settings: BusSettings, presence: Presence, listening: asyncio.Event, connect_timeout_s: float | None
) -> None:
    """Listen for another executor of this name for the first minute, on a connection that nobody throws out.

    Args:
        settings: where the broker is.
        presence: this executor's.
        listening: set once everything will be heard; this executor should connect under its name only then.
        connect_timeout_s: how long the broker may take to appear; None for no limit.

    Raises:
        InputError: another executor has the name.
        BusError: the broker is out of reach.
    """
    rivals = Rivals(presence.boot_id)
    client_id = unique_client_id(f"segue-name-{presence.device}")
    async with Connection.open(settings, client_id=client_id, connect_timeout_s=connect_timeout_s) as connection:
        await connection.subscribe(topics.presence(presence.device))
        listening.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WATCHED_S):
                async for received in connection:
                    seen = _read(bytes(received.payload))
                    if seen is not None and seen.state is State.ONLINE and rivals.must_stop(seen.boot_id):
                        raise InputError(
                            f"another executor is device {presence.device} already: stop it, or give this one a name "
                            "of its own, --device"
                        )


def _read(payload: bytes) -> Presence | None:
    try:
        return Presence.decode(payload) if payload else None
    except MessageError as error:
        LOGGER.debug("a presence does not decode: %s", error)
        return None
