"""Detects two processes that use one name on the bus, and stops exactly one of them.

A process publishes its presence with its boot id, which is new at every start. When it observes the presence of another
process under its name, it publishes its own again, because the other one has replaced it. This module observes the boot
ids on a connection with an identifier of its own, and decides:

1. A boot id that was observed before this process' own is that of a predecessor. Its process may be dead: the broker
   retains the last presence. A retained message comes once, a living predecessor answers the presence of this process
   each time. After `PREDECESSOR_OBSERVATIONS` this process stops.
2. A boot id that was first observed after this process' own is that of a peer. Usually it is a newcomer, which stops by
   rule 1. If both subscribed before either published, each is the other's peer. After `PEER_OBSERVATIONS` the process
   with the larger boot id stops.

`PEER_OBSERVATIONS` exceeds `PREDECESSOR_OBSERVATIONS` so far that a newcomer stops before the older process could.
After a minute a process does not stop any more: it is the predecessor of every later one.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from shared.bus import topics
from shared.bus.connection import Connection, unique_client_id
from shared.bus.errors import BusError
from shared.bus.settings import BusSettings
from shared.exit_status import InputError
from shared.messages.base import MessageError
from shared.messages.devices import Presence, ServicePresence, State

_LOGGER = logging.getLogger(__name__)

# Observations that prove a predecessor alive: its retained presence alone is observed fewer times.
PREDECESSOR_OBSERVATIONS: Final = 3
# Observations of a peer after which the process with the larger boot id stops.
PEER_OBSERVATIONS: Final = 10
_WATCH_S: Final = 60.0
# Between two answers, so that a flood of presences is not answered by another one.
_ANSWER_PAUSE_S: Final = 0.1


class DuplicateDetector:
    """Counts the boot ids that are published under one name, and applies the rules of this module.

    Invariants. A boot id is a predecessor's or a peer's from its first observation on. Of two living processes that
    observe the same messages at most one stops.
    """

    def __init__(self, boot_id: str) -> None:
        """Start with nothing observed.

        Args:
            boot_id: of this process.
        """
        self._boot_id = boot_id
        self._own_observed = False
        self._predecessors: set[str] = set()
        self._observations: Counter[str] = Counter()

    @property
    def is_established(self) -> bool:
        """True if this process has published its presence."""
        return self._own_observed

    def observe(self, boot_id: str) -> bool:
        """Count the boot id of a presence that says "online", and return whether this process must stop."""
        if boot_id == self._boot_id:
            self._own_observed = True
            return False
        if not self._own_observed:
            self._predecessors.add(boot_id)
        self._observations[boot_id] += 1
        if boot_id in self._predecessors:
            return self._observations[boot_id] >= PREDECESSOR_OBSERVATIONS
        return self._observations[boot_id] >= PEER_OBSERVATIONS and self._boot_id > boot_id


@dataclass(frozen=True, slots=True)
class NameClaim:
    """A name that a process is about to use on the bus.

    Attributes:
        presence: what the process publishes when it is online.
        name: the name; client identifiers are made of it.
        topic: where every process of this name publishes its presence.
        complaint: error text if another process has the name, with advice.
    """

    presence: Presence | ServicePresence
    name: str
    topic: str
    complaint: str

    @classmethod
    def of_device(cls, presence: Presence) -> "NameClaim":
        """Return the claim of an executor."""
        complaint = (
            f"another executor is device {presence.device} already: stop it, or give this one a name of its own, "
            "--device"
        )
        return cls(presence, presence.device, topics.presence(presence.device), complaint)

    @classmethod
    def of_service(cls, presence: ServicePresence, advice: str) -> "NameClaim":
        """Return the claim of a planner, a collector or a monitor.

        Args:
            presence: of the service.
            advice: how to give it another name, as the end of a sentence.
        """
        complaint = f"another {presence.role} is called {presence.name} already: stop it, or {advice}"
        return cls(presence, presence.name, topics.service_presence(presence.name), complaint)


@contextlib.asynccontextmanager
async def hold_name(
    settings: BusSettings,
    claim: NameClaim,
    connect_timeout_s: float | None,
    present: Callable[[], Presence | ServicePresence] | None = None,
) -> AsyncIterator[None]:
    """Use a name for the time of the block; for the first minute, give it up if another process has it.

    Connect under the name within the block only: the detector must be subscribed before this process publishes.

    Args:
        settings: where the broker is.
        claim: the name, and who uses it.
        connect_timeout_s: bound on the first connection; None to wait until there is a broker.
        present: returns the presence while online, if it changes; None for that of the claim.

    Raises:
        InputError: another process has the name. The block is cancelled.
        BusError: the broker is out of reach.
    """
    subscribed = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            watching = _watch(settings, claim, present or (lambda: claim.presence), subscribed, connect_timeout_s)
            watch = group.create_task(watching, name="watch the name")
            # If the watch fails before it has subscribed, the group cancels this wait.
            await subscribed.wait()
            yield
            watch.cancel()
    except BaseExceptionGroup as errors:
        if len(errors.exceptions) > 1:
            raise
        raise errors.exceptions[0] from None


async def _watch(
    settings: BusSettings,
    claim: NameClaim,
    present: Callable[[], Presence | ServicePresence],
    subscribed: asyncio.Event,
    connect_timeout_s: float | None,
) -> None:
    detector = DuplicateDetector(claim.presence.boot_id)
    client_id = unique_client_id(f"segue-name-{claim.name}")
    async with Connection.open(settings, client_id=client_id, connect_timeout_s=connect_timeout_s) as connection:
        await connection.subscribe(claim.topic)
        subscribed.set()
        end_s = time.monotonic() + _WATCH_S
        async for received in connection:
            other = _read(claim, bytes(received.payload))
            if other is None:
                # Cleared, or not a presence: the broker would keep it in the place of this process' own.
                if detector.is_established:
                    await _answer(connection, claim.topic, present())
                continue
            if other.boot_id == claim.presence.boot_id and other.state is not State.ONLINE:
                continue
            is_online = other.state is State.ONLINE
            if is_online and time.monotonic() < end_s and detector.observe(other.boot_id):
                raise InputError(claim.complaint)
            if other.boot_id != claim.presence.boot_id and detector.is_established:
                await _answer(connection, claim.topic, present())


async def _answer(connection: Connection, topic: str, presence: Presence | ServicePresence) -> None:
    """Publish this process' presence, which another one has replaced; not more often than the pause allows."""
    try:
        await connection.publish(topic, presence.encode(), retain=True)
    except BusError as error:
        _LOGGER.warning("%s", error)
    await asyncio.sleep(_ANSWER_PAUSE_S)


def _read(claim: NameClaim, payload: bytes) -> Presence | ServicePresence | None:
    try:
        return type(claim.presence).decode(payload) if payload else None
    except MessageError as error:
        _LOGGER.debug("dropped a presence on %s: %s", claim.topic, error)
        return None
