"""Two processes of one name: the broker lets each throw the other out for ever, unless one of them stops."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from shared.bus import topics
from shared.bus.connection import Connection, unique_client_id
from shared.bus.settings import BusSettings
from shared.messages.base import MessageError
from shared.messages.devices import Presence, ServicePresence, State
from shared.service_runtime import InputError

LOGGER = logging.getLogger(__name__)

NEWCOMER_PATIENCE: Final = 3
"""How often a newcomer hears of the process that was there before it stops."""
EQUAL_PATIENCE: Final = 10
"""The same for processes of which none was clearly there before; the one whose boot id is the larger stops."""
_WATCHED_S: Final = 60.0


class DuplicateDetector:
    """Counts how often other processes of this one's name say that they are there. Pure.

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
        """Take a process's word that it is there; say whether this one has to leave the name to it."""
        if boot_id == self._boot_id:
            self._newcomer = False
            return False
        if self._newcomer:
            self._earlier.add(boot_id)
        times = self._heard[boot_id] = self._heard.get(boot_id, 0) + 1
        if boot_id in self._earlier:
            return times >= NEWCOMER_PATIENCE
        return times >= EQUAL_PATIENCE and self._boot_id > boot_id


@dataclass(frozen=True, slots=True)
class NameClaim:
    """A name that a process will take on the bus.

    Attributes:
        presence: what the process says when it is there.
        name: whose client ids are taken.
        topic: where everybody of this name says so.
        taken: the complaint if another process has the name, with what to do.
    """

    presence: Presence | ServicePresence
    name: str
    topic: str
    taken: str

    @classmethod
    def of_device(cls, presence: Presence) -> "NameClaim":
        """Return the claim of an executor."""
        taken = (
            f"another executor is device {presence.device} already: stop it, or give this one a name of its own, "
            "--device"
        )
        return cls(presence, presence.device, topics.presence(presence.device), taken)

    @classmethod
    def of_service(cls, presence: ServicePresence, advice: str) -> "NameClaim":
        """Return the claim of a planner, a collector or a monitor; `advice` says how to give it another name."""
        taken = f"another {presence.role} is called {presence.name} already: stop it, or {advice}"
        return cls(presence, presence.name, topics.service_presence(presence.name), taken)


@contextlib.asynccontextmanager
async def hold_name(settings: BusSettings, claim: NameClaim, connect_timeout_s: float | None) -> AsyncIterator[None]:
    """Take a name for the time of the block; for the first minute, leave it again to whoever has it already.

    It is listened for others on a connection that nobody throws out. A process should connect under its name only
    within the block, when all that others say will be heard.

    Args:
        settings: where the broker is.
        claim: the name, and who takes it.
        connect_timeout_s: how long the broker may take to appear; None for no limit.

    Raises:
        InputError: another process has the name; the block is cancelled.
        BusError: the broker is out of reach.
    """
    listening = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(_watch(settings, claim, listening, connect_timeout_s), name="watch the name")
            await listening.wait()
            yield
            watching.cancel()
    except BaseExceptionGroup as errors:
        if len(errors.exceptions) > 1:
            raise
        raise errors.exceptions[0] from None


async def _watch(
    settings: BusSettings, claim: NameClaim, listening: asyncio.Event, connect_timeout_s: float | None
) -> None:
    rivals = DuplicateDetector(claim.presence.boot_id)
    client_id = unique_client_id(f"segue-name-{claim.name}")
    async with Connection.open(settings, client_id=client_id, connect_timeout_s=connect_timeout_s) as connection:
        await connection.subscribe(claim.topic)
        listening.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WATCHED_S):
                async for received in connection:
                    seen = _read(claim, bytes(received.payload))
                    if seen is not None and seen.state is State.ONLINE and rivals.must_stop(seen.boot_id):
                        raise InputError(claim.taken)


def _read(claim: NameClaim, payload: bytes) -> Presence | ServicePresence | None:
    try:
        return type(claim.presence).decode(payload) if payload else None
    except MessageError as error:
        LOGGER.debug("a presence does not decode: %s", error)
        return None
